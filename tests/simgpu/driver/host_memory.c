/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Entry points of page-locked host memory. It is ordinary memory; CUDA only knows of it.
 */
#include <string.h>
#include <sys/mman.h>

#include "capture.h"
#include "context.h"
#include "entry.h"
#include "memory.h"

#define HOST_ALLOC_FLAGS \
	(CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED)
#define HOST_REGISTER_FLAGS \
	(CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP | CU_MEMHOSTREGISTER_READ_ONLY)

static CUresult allocate(void **ret_ptr, size_t size, unsigned flags)
{
	CUcontext ctx;

	if (!ret_ptr || size == 0 || (flags & ~(unsigned)HOST_ALLOC_FLAGS))
		return CUDA_ERROR_INVALID_VALUE;
	CUresult result = context_current_home(&ctx);

	if (result == CUDA_SUCCESS)
		result = capture_check_unsafe();
	if (result != CUDA_SUCCESS)
		return result;
	void *ptr = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (ptr == MAP_FAILED)
		return CUDA_ERROR_OUT_OF_MEMORY;
	result = memory_add_host(ctx, MEMORY_HOST, ptr, size, flags);
	if (result == CUDA_SUCCESS)
		*ret_ptr = ptr;
	else
		munmap(ptr, size);
	return result;
}

CUresult cuMemHostAlloc(void **pp, size_t bytesize, unsigned int Flags)
{
	ENTER(cuMemHostAlloc);
	return allocate(pp, bytesize, Flags);
}

CUresult cuMemAllocHost_v2(void **pp, size_t bytesize)
{
	ENTER(cuMemAllocHost_v2);
	return allocate(pp, bytesize, CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP);
}

CUresult cuMemAllocHost(void **pp, unsigned int bytesize)
{
	ENTER(cuMemAllocHost);
	return allocate(pp, bytesize, CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP);
}

CUresult cuMemFreeHost(void *p)
{
	struct memory memory;
	size_t size;

	ENTER(cuMemFreeHost);
	if (!p)
		return CUDA_SUCCESS;
	if (!memory_find((uintptr_t)p, &memory) || memory.kind != MEMORY_HOST ||
		memory.range.base != (uintptr_t)p)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult result = capture_check_unsafe();

	if (result == CUDA_SUCCESS)
		result = context_wait(memory.ctx);
	if (result == CUDA_SUCCESS && memory_remove_host(MEMORY_HOST, p, &size))
		munmap(p, size);
	return result;
}

static CUresult register_memory(void *p, size_t size, unsigned flags)
{
	CUcontext ctx;

	if (!p || size == 0 || (flags & ~(unsigned)HOST_REGISTER_FLAGS))
		return CUDA_ERROR_INVALID_VALUE;
	CUresult result = context_current_home(&ctx);

	if (result == CUDA_SUCCESS)
		result = capture_check_unsafe();
	if (result != CUDA_SUCCESS)
		return result;
	return memory_add_host(ctx, MEMORY_REGISTERED, p, size, flags);
}

CUresult cuMemHostRegister(void *p, size_t bytesize, unsigned int Flags)
{
	ENTER(cuMemHostRegister);
	return register_memory(p, bytesize, Flags);
}

CUresult cuMemHostRegister_v2(void *p, size_t bytesize, unsigned int Flags)
{
	ENTER(cuMemHostRegister_v2);
	return register_memory(p, bytesize, Flags);
}

CUresult cuMemHostUnregister(void *p)
{
	struct memory memory;
	size_t size;

	ENTER(cuMemHostUnregister);
	if (!p)
		return CUDA_ERROR_INVALID_VALUE;
	if (!memory_find((uintptr_t)p, &memory) || memory.kind != MEMORY_REGISTERED)
		return CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
	CUresult result = capture_check_unsafe();

	if (result == CUDA_SUCCESS)
		result = context_wait(memory.ctx);
	if (result == CUDA_SUCCESS && !memory_remove_host(MEMORY_REGISTERED, p, &size))
		result = CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
	return result;
}

static bool find_host(void *p, struct memory *ret_memory)
{
	return memory_find((uintptr_t)p, ret_memory) &&
	       (ret_memory->kind == MEMORY_HOST || ret_memory->kind == MEMORY_REGISTERED);
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *pdptr, void *p, unsigned int Flags)
{
	struct memory memory;

	ENTER(cuMemHostGetDevicePointer_v2);
	if (!pdptr || Flags || !find_host(p, &memory))
		return CUDA_ERROR_INVALID_VALUE;
	*pdptr = (uintptr_t)p;
	return CUDA_SUCCESS;
}

/* Host memory lies above 4 GiB. */
CUresult cuMemHostGetDevicePointer(CUdeviceptr_v1 *pdptr, void *p, unsigned int Flags)
{
	struct memory memory;

	ENTER(cuMemHostGetDevicePointer);
	if (!pdptr || Flags || !find_host(p, &memory) || (uintptr_t)p > UINT32_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	*pdptr = (CUdeviceptr_v1)(uintptr_t)p;
	return CUDA_SUCCESS;
}

CUresult cuMemHostGetFlags(unsigned int *pFlags, void *p)
{
	struct memory memory;

	ENTER(cuMemHostGetFlags);
	if (!pFlags || !find_host(p, &memory))
		return CUDA_ERROR_INVALID_VALUE;
	*pFlags = memory.flags;
	return CUDA_SUCCESS;
}
