/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Entry points that share linear memory between processes. The memory of a device lies in a file
 * that the server keeps (memory.c): to open an allocation of another process is to map its pages,
 * and with them, as on the real driver, what else lies in these.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client.h"
#include "context.h"
#include "entry.h"
#include "memory.h"

#define IPC_MAGIC UINT64_C(0x6d65676963706973)

/* What a CUipcMemHandle holds. */
struct ipc_handle {
	uint64_t magic, block_id;
	uint64_t size; /* as asked for */
	int32_t pid;
	uint8_t uuid[16]; /* of the device: machines are told apart by theirs */
};

static void drop(uint64_t block_id)
{
	const struct wire_request request = {.kind = WIRE_BLOCK_DROP, .block = {.id = block_id}};

	client_tell(&request);
}

CUresult cuIpcGetMemHandle(CUipcMemHandle *pHandle, CUdeviceptr dptr)
{
	struct ipc_handle ipc = {.magic = IPC_MAGIC, .pid = getpid()};
	struct memory memory;
	CUcontext ctx;

	ENTER(cuIpcGetMemHandle);
	if (!pHandle)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult result = context_current_home(&ctx);

	if (result == CUDA_SUCCESS)
		result = memory_share(dptr, &memory);
	if (result != CUDA_SUCCESS)
		return result;
	ipc.block_id = memory.block_id;
	ipc.size = memory.size;
	memcpy(ipc.uuid, memory.device->info->uuid, sizeof(ipc.uuid));
	_Static_assert(sizeof(ipc) <= sizeof(*pHandle), "it fits into the handle");
	*pHandle = (CUipcMemHandle){0};
	memcpy(pHandle, &ipc, sizeof(ipc));
	return CUDA_SUCCESS;
}

static struct device *find_device(const uint8_t uuid[16])
{
	for (int i = 0; i < devices_count(); i++) {
		if (memcmp(device_of(i)->info->uuid, uuid, 16) == 0)
			return device_of(i);
	}
	return NULL;
}

/* Returns where the pages with the block's bytes are mapped, or 0. */
static uintptr_t map_pages(const struct wire_reply *block)
{
	const struct wire_request request = {
		.kind = WIRE_BLOCK_FILE, .block = {.id = block->block.id}};
	const uint64_t in_page = block->block.offset % (uint64_t)sysconf(_SC_PAGESIZE);
	struct wire_reply reply;
	int fd;

	if (!client_ask_fd(&request, &reply, &fd) || fd < 0)
		return 0;
	const size_t size = in_page + block->block_bytes;
	void *start = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		(off_t)(block->block.offset - in_page));

	close(fd);
	if (start == MAP_FAILED)
		return 0;
	madvise(start, size, MADV_DONTDUMP);
	madvise(start, size, MADV_DONTFORK);
	return (uintptr_t)start + in_page;
}

/* `block` brought a reference, which becomes the memory's. */
static CUresult import(CUcontext ctx, struct device *device, const struct wire_reply *block,
	size_t size, CUdeviceptr *ret_address)
{
	const uintptr_t address = map_pages(block);
	const struct memory memory = {
		.range = {.base = address, .size = block->block_bytes},
		.size = size,
		.kind = MEMORY_IMPORTED,
		.ctx = ctx,
		.device = device,
		.block_id = block->block.id,
		.opened = 1,
	};

	if (!address || !memory_add(&memory))
		return CUDA_ERROR_MAP_FAILED;
	*ret_address = address;
	return CUDA_SUCCESS;
}

static CUresult open_block(CUcontext ctx, struct device *device, const struct ipc_handle *ipc,
	CUdeviceptr *ret_address)
{
	const struct wire_request request = {
		.kind = WIRE_BLOCK_REFER, .block = {.id = ipc->block_id}};
	struct wire_reply reply;
	const CUdeviceptr known = memory_open_again(ctx, ipc->block_id);

	if (known) {
		*ret_address = known;
		return CUDA_SUCCESS;
	}
	if (!client_ask(&request, &reply) || reply.status != WIRE_OK)
		return CUDA_ERROR_MAP_FAILED;
	const CUresult result = import(ctx, device, &reply, ipc->size, ret_address);

	if (result != CUDA_SUCCESS)
		drop(ipc->block_id);
	return result;
}

static CUresult open_handle(CUdeviceptr *ret_address, const CUipcMemHandle *handle, unsigned flags)
{
	struct ipc_handle ipc;
	CUcontext ctx;

	if (!ret_address || flags != CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = context_current_home(&ctx);

	if (result != CUDA_SUCCESS)
		return result;
	memcpy(&ipc, handle, sizeof(ipc));
	struct device *device = ipc.magic == IPC_MAGIC ? find_device(ipc.uuid) : NULL;

	if (!device)
		return CUDA_ERROR_INVALID_HANDLE;
	/* Not in the process that has the memory. */
	if (ipc.pid == getpid())
		return CUDA_ERROR_INVALID_CONTEXT;
	return open_block(ctx, device, &ipc, ret_address);
}

CUresult cuIpcOpenMemHandle(CUdeviceptr *pdptr, CUipcMemHandle handle, unsigned int Flags)
{
	ENTER(cuIpcOpenMemHandle);
	return open_handle(pdptr, &handle, Flags);
}

CUresult cuIpcOpenMemHandle_v2(CUdeviceptr *pdptr, CUipcMemHandle handle, unsigned int Flags)
{
	ENTER(cuIpcOpenMemHandle_v2);
	return open_handle(pdptr, &handle, Flags);
}

CUresult cuIpcCloseMemHandle(CUdeviceptr dptr)
{
	struct memory memory;
	CUcontext ctx;

	ENTER(cuIpcCloseMemHandle);
	CUresult result = context_current_home(&ctx);

	if (result != CUDA_SUCCESS)
		return result;
	if (!memory_find(dptr, &memory) || memory.kind != MEMORY_IMPORTED)
		return CUDA_ERROR_INVALID_VALUE;
	result = context_wait(memory.ctx);
	if (result == CUDA_SUCCESS && !memory_close(dptr))
		result = CUDA_ERROR_INVALID_VALUE;
	return result;
}
