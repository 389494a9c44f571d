/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_holder SOCKET
 *
 * Does what it is told on stdin, one command a line, and answers with one line each: a process that
 * hands memory out and is handed memory, linear by handles in hexadecimal digits, physical by
 * descriptors over the socket. It has one piece of each kind at a time.
 *
 *   alloc MIB    free     linear memory
 *   handle                of that
 *   open HEX     close    what another's handle stands for
 *   create MIB   drop     physical memory, mapped
 *   export                sends a descriptor of that
 *   import MIB   anew MIB receives one, imports and maps it, to be dropped as well; anew: opens the
 *                         descriptor's file once more, and imports that
 *   write TEXT   read     at the start of what came last
 *   used                  bytes of the slice
 *   reset                 the context ends, and another begins
 */
#include "client.h"
#include "fds.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FD_TYPE   CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR
#define MAX_LINE  200
#define MAX_TEXT  20
#define HEX_CHARS (2 * sizeof(CUipcMemHandle))

static struct functions cu;
static int socket_fd;
static CUcontext context;
static CUdeviceptr linear, opened, newest;

static struct {
	CUmemGenericAllocationHandle handle;
	CUdeviceptr address;
	size_t bytes;
} physical;

static const CUmemAllocationProp exportable = {
	.type = CU_MEM_ALLOCATION_TYPE_PINNED,
	.requestedHandleTypes = FD_TYPE,
	.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0},
};

static void tell_handle(void)
{
	CUipcMemHandle handle;
	char text[HEX_CHARS + 1];

	must(cu.cuIpcGetMemHandle(&handle, linear), "cuIpcGetMemHandle");
	for (size_t i = 0; i < sizeof(handle); i++)
		snprintf(text + 2 * i, 3, "%02x", ((const unsigned char *)&handle)[i]);
	say("handle %s", text);
}

static CUresult open_handle(const char *text)
{
	CUipcMemHandle handle;

	must_be(strlen(text) == HEX_CHARS, "a handle");
	for (size_t i = 0; i < sizeof(handle); i++) {
		char digits[3] = {text[2 * i], text[2 * i + 1], '\0'};
		((unsigned char *)&handle)[i] = (unsigned char)strtoul(digits, NULL, 16);
	}
	CUresult res =
		cu.cuIpcOpenMemHandle_v2(&opened, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
	newest = opened;
	return res;
}

/* What has a handle; without one where it cannot be mapped. */
static CUresult map(size_t bytes)
{
	const CUmemAccessDesc desc = {
		.location = exportable.location, .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};

	physical.bytes = bytes;
	must(cu.cuMemAddressReserve(&physical.address, bytes, 0, 0, 0), "cuMemAddressReserve");
	CUresult res = cu.cuMemMap(physical.address, bytes, 0, physical.handle, 0);
	if (res != CUDA_SUCCESS) {
		must(cu.cuMemRelease(physical.handle), "cuMemRelease");
		return res;
	}
	must(cu.cuMemSetAccess(physical.address, bytes, &desc, 1), "cuMemSetAccess");
	newest = physical.address;
	return res;
}

static CUresult create(size_t mib)
{
	CUresult res = cu.cuMemCreate(&physical.handle, mib * MIB, &exportable, 0);

	return res == CUDA_SUCCESS ? map(mib * MIB) : res;
}

static CUresult drop(void)
{
	CUresult res = cu.cuMemUnmap(physical.address, physical.bytes);

	return res == CUDA_SUCCESS ? cu.cuMemRelease(physical.handle) : res;
}

static CUresult export_physical(void)
{
	int fd;

	CUresult res = cu.cuMemExportToShareableHandle(&fd, physical.handle, FD_TYPE, 0);
	if (res == CUDA_SUCCESS) {
		send_fd(socket_fd, fd);
		close(fd);
	}
	return res;
}

static int open_anew(int fd)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int other = open(path, O_RDWR);
	must_be(other >= 0, "the file once more");
	close(fd);
	return other;
}

static CUresult import(size_t mib, bool is_anew)
{
	int fd = receive_fd(socket_fd);

	if (is_anew)
		fd = open_anew(fd);
	CUresult res =
		cu.cuMemImportFromShareableHandle(&physical.handle, (void *)(intptr_t)fd, FD_TYPE);
	close(fd);
	return res == CUDA_SUCCESS ? map(mib * MIB) : res;
}

static CUresult write_text(const char *given)
{
	char text[MAX_TEXT] = "";

	snprintf(text, sizeof(text), "%s", given);
	return cu.cuMemcpyHtoD_v2(newest, text, sizeof(text));
}

static void read_text(void)
{
	char text[MAX_TEXT] = "";

	CUresult res = cu.cuMemcpyDtoH_v2(text, newest, sizeof(text));
	say("read %d %s", (int)res, text);
}

static CUresult reset(void)
{
	CUresult res = cu.cuCtxDestroy_v2(context);

	return res == CUDA_SUCCESS ? cu.cuCtxCreate_v2(&context, 0, 0) : res;
}

/* The commands that answer with a result alone. */
static CUresult perform(const char *word, const char *rest)
{
	size_t number = strtoul(rest, NULL, 10);

	if (strcmp(word, "alloc") == 0) {
		CUresult res = cu.cuMemAlloc_v2(&linear, number * MIB);
		newest = linear;
		return res;
	}
	if (strcmp(word, "free") == 0)
		return cu.cuMemFree_v2(linear);
	if (strcmp(word, "open") == 0)
		return open_handle(rest);
	if (strcmp(word, "close") == 0)
		return cu.cuIpcCloseMemHandle(opened);
	if (strcmp(word, "create") == 0)
		return create(number);
	if (strcmp(word, "drop") == 0)
		return drop();
	if (strcmp(word, "export") == 0)
		return export_physical();
	if (strcmp(word, "import") == 0 || strcmp(word, "anew") == 0)
		return import(number, strcmp(word, "anew") == 0);
	if (strcmp(word, "write") == 0)
		return write_text(rest);
	must_be(strcmp(word, "reset") == 0, word);
	return reset();
}

static void obey(char *line)
{
	char *rest = line + strcspn(line, " ");

	if (*rest != '\0')
		*rest++ = '\0';
	if (strcmp(line, "handle") == 0)
		tell_handle();
	else if (strcmp(line, "read") == 0)
		read_text();
	else if (strcmp(line, "used") == 0)
		say("used %llu", used_bytes(0));
	else
		say("%s %d", line, (int)perform(line, rest));
}

int main(int argc, char *argv[])
{
	char line[MAX_LINE];

	functions_from_link(&cu);
	socket_fd = (int)argument(argc, argv, 1, 0);
	must(cu.cuInit(0), "cuInit");
	must(cu.cuCtxCreate_v2(&context, 0, 0), "cuCtxCreate");
	say("ready");
	while (fgets(line, sizeof(line), stdin) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		obey(line);
	}
	return 0;
}
