/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * External memory: what somebody else allocated, by a file descriptor. Any file serves as that
 * memory, a memfd for example, and its bytes are shared. It takes nothing of the device: whoever
 * allocated it has paid.
 */
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "array.h"
#include "context.h"
#include "entry.h"
#include "memory.h"

struct CUextMemory_st {
	struct handle handle;
	int fd; /* owned */
	uint64_t size;
};

CUresult cuImportExternalMemory(
	CUexternalMemory *extMem_out, const CUDA_EXTERNAL_MEMORY_HANDLE_DESC *memHandleDesc)
{
	struct stat info;
	CUcontext ctx;

	ENTER(cuImportExternalMemory);
	if (!extMem_out || !memHandleDesc || memHandleDesc->size == 0 ||
		memHandleDesc->type != CU_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = context_current_home(&ctx);

	if (result != CUDA_SUCCESS)
		return result;
	if (fstat(memHandleDesc->handle.fd, &info) != 0)
		return CUDA_ERROR_INVALID_HANDLE;
	if ((uint64_t)info.st_size < memHandleDesc->size)
		return CUDA_ERROR_INVALID_VALUE;
	CUexternalMemory external = handle_create(HANDLE_EXTERNAL, sizeof(*external));

	if (!external)
		return CUDA_ERROR_OPERATING_SYSTEM;
	/* From here on the descriptor is ours. */
	external->fd = memHandleDesc->handle.fd;
	external->size = memHandleDesc->size;
	*extMem_out = external;
	return CUDA_SUCCESS;
}

CUresult cuDestroyExternalMemory(CUexternalMemory extMem)
{
	ENTER(cuDestroyExternalMemory);
	if (!handle_is(extMem, HANDLE_EXTERNAL))
		return CUDA_ERROR_INVALID_HANDLE;
	close(extMem->fd);
	handle_recycle(&extMem->handle, HANDLE_EXTERNAL);
	return CUDA_SUCCESS;
}

/* Mappings live on without the object they were made of. */
static CUresult map(CUexternalMemory external, uint64_t offset, uint64_t size, CUcontext ctx,
	CUdeviceptr *ret_address)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (size == 0 || offset % page != 0 || offset > external->size ||
		size > external->size - offset)
		return CUDA_ERROR_INVALID_VALUE;
	void *ptr =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, external->fd, (off_t)offset);

	if (ptr == MAP_FAILED)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = memory_add_host(ctx, MEMORY_EXTERNAL, ptr, size, 0);

	if (result == CUDA_SUCCESS)
		*ret_address = (uintptr_t)ptr;
	else
		munmap(ptr, size);
	return result;
}

CUresult cuExternalMemoryGetMappedBuffer(CUdeviceptr *devPtr, CUexternalMemory extMem,
	const CUDA_EXTERNAL_MEMORY_BUFFER_DESC *bufferDesc)
{
	CUcontext ctx;

	ENTER(cuExternalMemoryGetMappedBuffer);
	if (!handle_is(extMem, HANDLE_EXTERNAL))
		return CUDA_ERROR_INVALID_HANDLE;
	if (!devPtr || !bufferDesc || bufferDesc->flags)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = context_current_home(&ctx);

	if (result != CUDA_SUCCESS)
		return result;
	return map(extMem, bufferDesc->offset, bufferDesc->size, ctx, devPtr);
}

CUresult cuExternalMemoryGetMappedMipmappedArray(CUmipmappedArray *mipmap, CUexternalMemory extMem,
	const CUDA_EXTERNAL_MEMORY_MIPMAPPED_ARRAY_DESC *mipmapDesc)
{
	CUcontext ctx;

	ENTER(cuExternalMemoryGetMappedMipmappedArray);
	if (!handle_is(extMem, HANDLE_EXTERNAL))
		return CUDA_ERROR_INVALID_HANDLE;
	if (!mipmap || !mipmapDesc || mipmapDesc->numLevels == 0 ||
		array_check(&mipmapDesc->arrayDesc) != CUDA_SUCCESS ||
		mipmapDesc->numLevels > array_max_levels(&mipmapDesc->arrayDesc))
		return CUDA_ERROR_INVALID_VALUE;
	CUresult result = context_current_home(&ctx);

	if (result != CUDA_SUCCESS)
		return result;
	CUmipmappedArray made = handle_create(HANDLE_MIPMAP, sizeof(*made));

	if (!made)
		return CUDA_ERROR_OUT_OF_MEMORY;
	made->description = mipmapDesc->arrayDesc;
	made->levels = mipmapDesc->numLevels;
	made->memory = (struct array_memory){.ctx = ctx, .ctx_id = ctx->id};
	result = map(extMem, mipmapDesc->offset,
		array_bytes(&mipmapDesc->arrayDesc, mipmapDesc->numLevels), ctx,
		&made->memory.base);
	if (result == CUDA_SUCCESS)
		*mipmap = made;
	else
		handle_recycle(&made->handle, HANDLE_MIPMAP);
	return result;
}
