/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Entry points of device and managed memory.
 */
#include "capture.h"
#include "client.h"
#include "context.h"
#include "entry.h"
#include "graph_memory.h"
#include "memory.h"
#include "null.h"
#include "pool.h"
#include "stream.h"
#include "work.h"

#define PITCH_ALIGN 512u

static CUresult allocate(
	CUdeviceptr *ret_address, enum memory_kind kind, size_t size, unsigned flags, bool low)
{
	CUdeviceptr address;
	CUcontext ctx;

	if (!ret_address)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult result = context_current_home(&ctx);

	if (result == CUDA_SUCCESS)
		result = capture_check_unsafe();
	if (result == CUDA_SUCCESS)
		result = memory_reserve(ctx, kind, size, flags, low, &address);
	if (result == CUDA_SUCCESS)
		*ret_address = address;
	return result;
}

CUresult cuMemAlloc_v2(CUdeviceptr *dptr, size_t bytesize)
{
	ENTER_OR_NULL(cuMemAlloc_v2, null_alloc(dptr, bytesize));
	return allocate(dptr, MEMORY_DEVICE, bytesize, 0, false);
}

static CUresult allocate_low(CUdeviceptr_v1 *ret_address, size_t size)
{
	CUdeviceptr address;

	if (!ret_address)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = allocate(&address, MEMORY_DEVICE, size, 0, true);

	if (result == CUDA_SUCCESS)
		*ret_address = (CUdeviceptr_v1)address;
	return result;
}

CUresult cuMemAlloc(CUdeviceptr_v1 *dptr, unsigned int bytesize)
{
	ENTER(cuMemAlloc);
	return allocate_low(dptr, bytesize);
}

/* Returns whether the arguments make sense; *ret_pitch is set then. */
static bool find_pitch(size_t width, size_t height, unsigned element_bytes, size_t *ret_pitch)
{
	const bool is_element = element_bytes == 4 || element_bytes == 8 || element_bytes == 16;

	*ret_pitch = (width + PITCH_ALIGN - 1) / PITCH_ALIGN * PITCH_ALIGN;
	return width && height && is_element && *ret_pitch >= width &&
	       height <= SIZE_MAX / *ret_pitch;
}

CUresult cuMemAllocPitch_v2(CUdeviceptr *dptr, size_t *pPitch, size_t WidthInBytes, size_t Height,
	unsigned int ElementSizeBytes)
{
	size_t pitch;

	ENTER_OR_NULL(cuMemAllocPitch_v2, null_alloc_pitch(dptr, pPitch, WidthInBytes, Height));
	if (!pPitch || !find_pitch(WidthInBytes, Height, ElementSizeBytes, &pitch))
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = allocate(dptr, MEMORY_DEVICE, pitch * Height, 0, false);

	if (result == CUDA_SUCCESS)
		*pPitch = pitch;
	return result;
}

CUresult cuMemAllocPitch(CUdeviceptr_v1 *dptr, unsigned int *pPitch, unsigned int WidthInBytes,
	unsigned int Height, unsigned int ElementSizeBytes)
{
	size_t pitch;

	ENTER(cuMemAllocPitch);
	if (!pPitch || !find_pitch(WidthInBytes, Height, ElementSizeBytes, &pitch))
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = allocate_low(dptr, pitch * Height);

	if (result == CUDA_SUCCESS)
		*pPitch = (unsigned)pitch;
	return result;
}

CUresult cuMemAllocManaged(CUdeviceptr *dptr, size_t bytesize, unsigned int flags)
{
	ENTER_OR_NULL(cuMemAllocManaged, null_alloc(dptr, bytesize));
	if (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST)
		return CUDA_ERROR_INVALID_VALUE;
	return allocate(dptr, MEMORY_MANAGED, bytesize, flags, false);
}

static CUresult release_found(const struct memory *memory)
{
	CUresult result;

	switch (memory->kind) {
	case MEMORY_DEVICE:
	case MEMORY_MANAGED:
	case MEMORY_EXTERNAL:
		return memory_release(memory->range.base);
	case MEMORY_POOLED:
		driver_lock();
		result = pool_free(memory->owner, memory->range.base, NULL);
		driver_unlock();
		return result;
	case MEMORY_GRAPH:
		driver_lock();
		result = graph_memory_free(memory->owner);
		driver_unlock();
		return result;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
}

/* As on the real driver, what still runs in the context ends first. */
static CUresult release(CUdeviceptr address)
{
	struct memory memory;
	CUcontext ctx;

	if (address == 0)
		return CUDA_SUCCESS;
	CUresult result = context_current_home(&ctx);

	if (result == CUDA_SUCCESS)
		result = capture_check_unsafe();
	if (result != CUDA_SUCCESS)
		return result;
	if (!memory_find(address, &memory) || memory.range.base != address ||
		memory.kind == MEMORY_HOST || memory.kind == MEMORY_REGISTERED ||
		memory.kind == MEMORY_MAPPED)
		return CUDA_ERROR_INVALID_VALUE;
	result = context_wait(memory.ctx ? memory.ctx : ctx);
	return result == CUDA_SUCCESS ? release_found(&memory) : result;
}

CUresult cuMemFree_v2(CUdeviceptr dptr)
{
	ENTER_OR_NULL(cuMemFree_v2, null_free(dptr));
	return release(dptr);
}

CUresult cuMemFree(CUdeviceptr_v1 dptr)
{
	ENTER(cuMemFree);
	return release(dptr);
}

/* As on the real driver, either may be NULL, and programs make use of that. */
static CUresult get_info(size_t *ret_free, size_t *ret_total)
{
	struct wire_reply reply;
	CUcontext ctx;
	CUresult result = context_current_home(&ctx);

	if (result == CUDA_SUCCESS)
		result = capture_check_question();
	if (result != CUDA_SUCCESS)
		return result;
	const struct wire_request request = {.kind = WIRE_MEM_INFO, .device = ctx->device->index};

	if (!client_ask(&request, &reply) || reply.status != WIRE_OK)
		return CUDA_ERROR_DEVICE_UNAVAILABLE;
	if (ret_free)
		*ret_free = reply.free_bytes;
	if (ret_total)
		*ret_total = reply.total_bytes;
	return CUDA_SUCCESS;
}

CUresult cuMemGetInfo_v2(size_t *free, size_t *total)
{
	ENTER_OR_NULL(cuMemGetInfo_v2, null_mem_info(free, total));
	return get_info(free, total);
}

CUresult cuMemGetInfo(unsigned int *free, unsigned int *total)
{
	size_t free_bytes, total_bytes;

	ENTER(cuMemGetInfo);
	const CUresult result = get_info(&free_bytes, &total_bytes);

	if (result != CUDA_SUCCESS)
		return result;
	if (free)
		*free = free_bytes > UINT32_MAX ? UINT32_MAX : (unsigned)free_bytes;
	if (total)
		*total = total_bytes > UINT32_MAX ? UINT32_MAX : (unsigned)total_bytes;
	return CUDA_SUCCESS;
}

static CUresult get_range(CUdeviceptr *ret_base, size_t *ret_size, CUdeviceptr address)
{
	struct memory memory;
	CUcontext ctx;
	const CUresult result = context_current_home(&ctx);

	if (result != CUDA_SUCCESS)
		return result;
	if (!memory_find(address, &memory) || memory.kind == MEMORY_REGISTERED)
		return CUDA_ERROR_NOT_FOUND;
	if (ret_base)
		*ret_base = memory.range.base;
	if (ret_size)
		*ret_size = memory.size;
	return CUDA_SUCCESS;
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr *pbase, size_t *psize, CUdeviceptr dptr)
{
	ENTER(cuMemGetAddressRange_v2);
	return get_range(pbase, psize, dptr);
}

CUresult cuMemGetAddressRange(CUdeviceptr_v1 *pbase, unsigned int *psize, CUdeviceptr_v1 dptr)
{
	CUdeviceptr base;
	size_t size;

	ENTER(cuMemGetAddressRange);
	const CUresult result = get_range(&base, &size, dptr);

	if (result != CUDA_SUCCESS)
		return result;
	if (pbase)
		*pbase = (CUdeviceptr_v1)base;
	if (psize)
		*psize = (unsigned)size;
	return CUDA_SUCCESS;
}
