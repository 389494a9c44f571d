/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_sharing WHAT QUOTA
 *
 * Memory that two processes share, each under a quota of QUOTA bytes of its own. A child allocates
 * and hands it out, this process opens it.
 */
#include "client.h"
#include "fds.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define UNIT      (2 * MIB)
#define SIZE      (8 * UNIT)
#define UNTOUCHED ((CUdeviceptr)0x5a5a5a5a5a5a5a5a)
#define FD_TYPE   CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR

static struct functions cu;
static uint64_t quota;
static CUcontext context;
static const char text[] = "what is shared";

static const CUmemAllocationProp exportable = {
	.type = CU_MEM_ALLOCATION_TYPE_PINNED,
	.requestedHandleTypes = FD_TYPE,
	.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0},
};

static void open_context(void)
{
	must(cu.cuInit(0), "cuInit");
	must(cu.cuCtxCreate_v2(&context, 0, 0), "cuCtxCreate");
}

static CUdeviceptr reserve(void)
{
	CUdeviceptr address;

	must(cu.cuMemAddressReserve(&address, SIZE, 0, 0, 0), "cuMemAddressReserve");
	return address;
}

static CUresult map(CUdeviceptr address, CUmemGenericAllocationHandle handle, size_t size)
{
	const CUmemAccessDesc desc = {
		.location = exportable.location, .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
	CUresult res = cu.cuMemMap(address, size, 0, handle, 0);

	if (res == CUDA_SUCCESS)
		must(cu.cuMemSetAccess(address, size, &desc, 1), "cuMemSetAccess");
	return res;
}

/* Until the other process says something or is gone. */
static void wait_for_other(int socket_fd)
{
	char byte;

	(void)!read(socket_fd, &byte, 1);
}

static void check_data(CUdeviceptr address)
{
	char seen[sizeof(text)] = "";

	must(cu.cuMemcpyDtoH_v2(seen, address, sizeof(seen)), "copy");
	say("data %s", strcmp(seen, text) == 0 ? "same" : "different");
}

/* The child: physical memory, mapped and released, held by its mapping and the descriptor. */
static void give_physical(int socket_fd)
{
	CUmemGenericAllocationHandle handle;
	CUdeviceptr address = reserve();
	int fd;

	must(cu.cuMemCreate(&handle, SIZE, &exportable, 0), "cuMemCreate");
	must(map(address, handle, SIZE), "cuMemMap");
	must(cu.cuMemcpyHtoD_v2(address, text, sizeof(text)), "copy");
	must(cu.cuMemExportToShareableHandle(&fd, handle, FD_TYPE, 0), "export");
	must(cu.cuMemRelease(handle), "release");
	send_fd(socket_fd, fd);
	close(fd);
	wait_for_other(socket_fd);
}

static CUresult import(int socket_fd, CUmemGenericAllocationHandle *ret_handle)
{
	int fd = receive_fd(socket_fd);
	CUresult res = cu.cuMemImportFromShareableHandle(ret_handle, (void *)(intptr_t)fd, FD_TYPE);

	close(fd);
	return res;
}

static void take_physical(int socket_fd, pid_t child)
{
	CUmemGenericAllocationHandle handle;
	CUdeviceptr address = reserve(), again = reserve();

	(void)child;
	CUresult res = import(socket_fd, &handle);
	say("imported %d %llu", (int)res, used_bytes(0));
	res = map(address, handle, SIZE);
	say("mapped %d %llu", (int)res, used_bytes(0));
	check_data(address);
	res = map(again, handle, SIZE);
	say("mapped_again %d %llu", (int)res, used_bytes(0));
	say("no_room %d", (int)cu.cuMemCreate(&(CUmemGenericAllocationHandle){0},
				  quota - SIZE + UNIT, &exportable, 0));
	res = cu.cuMemRelease(handle);
	say("released %d %llu", (int)res, used_bytes(0));
	must(cu.cuMemUnmap(again, SIZE), "unmap");
	res = cu.cuMemUnmap(address, SIZE);
	say("unmapped %d %llu", (int)res, used_bytes(0));
}

/* Kills the child, and has its memory alone. */
static void inherit_physical(int socket_fd, pid_t child)
{
	CUmemGenericAllocationHandle handle;
	CUdeviceptr address = reserve();

	must(import(socket_fd, &handle), "import");
	must(map(address, handle, SIZE), "cuMemMap");
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	wait_for_test("parent_dead");
	check_data(address);
	must(cu.cuMemUnmap(address, SIZE), "unmap");
	must(cu.cuMemRelease(handle), "release");
}

static void own(void)
{
	CUmemGenericAllocationHandle handle, imported;
	CUdeviceptr address, again;
	int fd;

	must(cu.cuMemAddressReserve(&address, quota, 0, 0, 0), "cuMemAddressReserve");
	must(cu.cuMemAddressReserve(&again, quota, 0, 0, 0), "cuMemAddressReserve");
	must(cu.cuMemCreate(&handle, quota, &exportable, 0), "cuMemCreate");
	must(map(address, handle, quota), "cuMemMap");
	must(cu.cuMemExportToShareableHandle(&fd, handle, FD_TYPE, 0), "export");
	wait_for_test("exported");
	must(cu.cuMemImportFromShareableHandle(&imported, (void *)(intptr_t)fd, FD_TYPE), "import");
	close(fd);
	wait_for_test("imported");
	must(map(again, imported, quota), "cuMemMap");
	wait_for_test("mapped_both");
	must(cu.cuMemUnmap(address, quota), "unmap");
	must(cu.cuMemRelease(handle), "release");
	wait_for_test("original_gone");
	must(cu.cuMemUnmap(again, quota), "unmap");
	must(cu.cuMemRelease(imported), "release");
	wait_for_test("gone");
}

/* The child: a small and a large allocation. */
static void give_linear(int socket_fd)
{
	CUipcMemHandle handles[2];
	CUdeviceptr small, large;

	must(cu.cuMemAlloc_v2(&small, SIZE), "alloc");
	must(cu.cuMemAlloc_v2(&large, quota - SIZE), "alloc");
	must(cu.cuMemcpyHtoD_v2(small, text, sizeof(text)), "copy");
	must(cu.cuIpcGetMemHandle(&handles[0], small), "cuIpcGetMemHandle");
	must(cu.cuIpcGetMemHandle(&handles[1], large), "cuIpcGetMemHandle");
	must_be(write(socket_fd, handles, sizeof(handles)) == sizeof(handles), "write");
	wait_for_other(socket_fd);
	must(cu.cuMemFree_v2(small), "free");
	must(cu.cuMemFree_v2(large), "free");
}

static CUresult open_linear(CUdeviceptr *ret_address, const CUipcMemHandle *handle)
{
	return cu.cuIpcOpenMemHandle_v2(ret_address, *handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
}

static void open_too_much(const CUipcMemHandle *handle)
{
	CUdeviceptr own_memory, address = UNTOUCHED;

	must(cu.cuMemAlloc_v2(&own_memory, SIZE + 1), "alloc");
	CUresult res = open_linear(&address, handle);
	say("over %d %s", (int)res, address == UNTOUCHED ? "untouched" : "set");
	must(cu.cuMemFree_v2(own_memory), "free");
}

static void take_linear(int socket_fd, pid_t child)
{
	CUdeviceptr address = UNTOUCHED, again = UNTOUCHED;
	CUipcMemHandle handles[2];

	(void)child;
	must_be(read(socket_fd, handles, sizeof(handles)) == sizeof(handles), "read");
	CUresult res = open_linear(&address, &handles[0]);
	say("opened %d %llu %s", (int)res, used_bytes(0),
		address == UNTOUCHED ? "untouched" : "set");
	check_data(address);
	res = open_linear(&again, &handles[0]);
	say("opened_again %d %llu %s", (int)res, used_bytes(0),
		again == address ? "same" : "other");
	say("no_room %d", (int)cu.cuMemAlloc_v2(&again, quota - SIZE + 1));
	res = cu.cuIpcCloseMemHandle(address);
	say("closed_once %d %llu", (int)res, used_bytes(0));
	res = cu.cuIpcCloseMemHandle(address);
	say("closed %d %llu", (int)res, used_bytes(0));
	res = cu.cuIpcCloseMemHandle(address);
	say("closed_thrice %d %llu", (int)res, used_bytes(0));
	open_too_much(&handles[1]);

	must(open_linear(&address, &handles[0]), "open");
	must(cu.cuCtxDestroy_v2(context), "cuCtxDestroy");
	say("after_context %llu", used_bytes(0));
	must(cu.cuCtxCreate_v2(&context, 0, 0), "cuCtxCreate");
	res = open_linear(&address, &handles[0]);
	say("in_new_context %d %llu", (int)res, used_bytes(0));
	must(cu.cuIpcCloseMemHandle(address), "close");
}

/* CUDA does not work after a fork, so the child comes first. */
static void with_child(void (*give)(int), void (*take)(int, pid_t))
{
	int sockets[2];

	must_be(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0, "socketpair");
	pid_t child = fork();
	must_be(child >= 0, "fork");
	close(sockets[child == 0 ? 0 : 1]);
	open_context();
	if (child == 0) {
		give(sockets[1]);
		_exit(0);
	}
	take(sockets[0], child);
	close(sockets[0]);
	waitpid(child, NULL, 0);
	wait_for_test("end");
}

int main(int argc, char *argv[])
{
	const char *what = argc > 1 ? argv[1] : "";

	functions_from_link(&cu);
	quota = argument(argc, argv, 2, 0);
	if (strcmp(what, "physical") == 0)
		with_child(give_physical, take_physical);
	if (strcmp(what, "orphan") == 0)
		with_child(give_physical, inherit_physical);
	if (strcmp(what, "ipc") == 0)
		with_child(give_linear, take_linear);
	if (strcmp(what, "own") == 0) {
		open_context();
		own();
	}
	return 0;
}
