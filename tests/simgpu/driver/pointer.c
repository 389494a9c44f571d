/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Entry points that ask what a pointer is, and hints about managed memory.
 */
#include <string.h>

#include "context.h"
#include "entry.h"
#include "memory.h"
#include "stream.h"
#include "work.h"

static bool is_device(const struct memory *memory)
{
	return memory->kind == MEMORY_DEVICE || memory->kind == MEMORY_MANAGED;
}

/* Writes `value` as the type that `data` of an attribute has. */
#define PUT(type, value)                               \
	do {                                           \
		const type value_ = (type)(value);     \
		memcpy(data, &value_, sizeof(value_)); \
	} while (0)

static CUresult answer(
	void *data, CUpointer_attribute attribute, CUdeviceptr ptr, const struct memory *memory)
{
	switch (attribute) {
	case CU_POINTER_ATTRIBUTE_CONTEXT:
		PUT(CUcontext, memory->ctx);
		break;
	case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
		PUT(CUmemorytype, is_device(memory) ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST);
		break;
	case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
		PUT(CUdeviceptr, ptr);
		break;
	case CU_POINTER_ATTRIBUTE_HOST_POINTER:
		if (memory->kind == MEMORY_DEVICE)
			return CUDA_ERROR_INVALID_VALUE;
		PUT(CUdeviceptr, ptr);
		break;
	case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
	case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
	case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
		PUT(int, 0);
		break;
	case CU_POINTER_ATTRIBUTE_BUFFER_ID:
	case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID:
		PUT(unsigned long long, memory->id);
		break;
	case CU_POINTER_ATTRIBUTE_IS_MANAGED:
		PUT(int, memory->kind == MEMORY_MANAGED);
		break;
	case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
		PUT(int, device_ordinal(memory->ctx->device));
		break;
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
	case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
		PUT(CUdeviceptr, memory->range.base);
		break;
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
		PUT(size_t, memory->size);
		break;
	case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
		PUT(size_t, memory->range.size);
		break;
	case CU_POINTER_ATTRIBUTE_MAPPED:
		PUT(int, 1);
		break;
	case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
		PUT(unsigned long long, 0);
		break;
	case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
		PUT(int, CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE);
		break;
	case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
		PUT(CUmemoryPool, NULL);
		break;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
	return CUDA_SUCCESS;
}

CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr ptr)
{
	struct memory memory;

	ENTER(cuPointerGetAttribute);
	if (!data || !memory_find(ptr, &memory))
		return CUDA_ERROR_INVALID_VALUE;
	return answer(data, attribute, ptr, &memory);
}

/* What cuPointerGetAttributes says about memory that CUDA does not know. */
static CUresult answer_unknown(void *data, CUpointer_attribute attribute)
{
	switch (attribute) {
	case CU_POINTER_ATTRIBUTE_CONTEXT:
	case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
	case CU_POINTER_ATTRIBUTE_HOST_POINTER:
	case CU_POINTER_ATTRIBUTE_BUFFER_ID:
	case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID:
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
	case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
	case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
	case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
	case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
		PUT(uint64_t, 0);
		break;
	case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
		PUT(int, -2); /* CU_DEVICE_INVALID */
		break;
	case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
	case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
	case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
	case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
	case CU_POINTER_ATTRIBUTE_IS_MANAGED:
	case CU_POINTER_ATTRIBUTE_MAPPED:
	case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
		PUT(int, 0);
		break;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
	return CUDA_SUCCESS;
}

#undef PUT

CUresult cuPointerGetAttributes(
	unsigned int numAttributes, CUpointer_attribute *attributes, void **data, CUdeviceptr ptr)
{
	struct memory memory;

	ENTER(cuPointerGetAttributes);
	if (!attributes || !data)
		return CUDA_ERROR_INVALID_VALUE;
	const bool is_known = memory_find(ptr, &memory);

	for (unsigned i = 0; i < numAttributes; i++) {
		CUresult result = CUDA_ERROR_INVALID_VALUE;

		if (is_known)
			result = answer(data[i], attributes[i], ptr, &memory);
		/* What this memory does not have is answered with nothing. */
		if (result != CUDA_SUCCESS)
			result = answer_unknown(data[i], attributes[i]);
		if (result != CUDA_SUCCESS)
			return result;
	}
	return CUDA_SUCCESS;
}

CUresult cuPointerSetAttribute(const void *value, CUpointer_attribute attribute, CUdeviceptr ptr)
{
	struct memory memory;

	ENTER(cuPointerSetAttribute);
	if (!value || attribute != CU_POINTER_ATTRIBUTE_SYNC_MEMOPS || !memory_find(ptr, &memory))
		return CUDA_ERROR_INVALID_VALUE;
	return is_device(&memory) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

/* Managed memory has one place here, so that hints have no effect. */
static CUresult hint(CUdeviceptr address, size_t count)
{
	struct memory memory;

	if (count == 0 || !memory_find(address, &memory) || memory.kind != MEMORY_MANAGED)
		return CUDA_ERROR_INVALID_VALUE;
	return memory_holds(address, count) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemAdvise(CUdeviceptr devPtr, size_t count, CUmem_advise advice, CUdevice device)
{
	(void)advice, (void)device;
	ENTER(cuMemAdvise);
	return hint(devPtr, count);
}

CUresult cuMemAdvise_v2(
	CUdeviceptr devPtr, size_t count, CUmem_advise advice, CUmemLocation location)
{
	(void)advice, (void)location;
	ENTER(cuMemAdvise_v2);
	return hint(devPtr, count);
}

static CUresult prefetch(
	CUdeviceptr address, size_t count, CUstream stream, enum stream_default meaning)
{
	const CUresult result = hint(address, count);

	return result == CUDA_SUCCESS ? stream_put(stream, meaning, work_create(WORK_EMPTY))
				      : result;
}

CUresult cuMemPrefetchAsync(CUdeviceptr devPtr, size_t count, CUdevice dstDevice, CUstream hStream)
{
	(void)dstDevice;
	ENTER(cuMemPrefetchAsync);
	return prefetch(devPtr, count, hStream, STREAM_LEGACY);
}

CUresult cuMemPrefetchAsync_ptsz(
	CUdeviceptr devPtr, size_t count, CUdevice dstDevice, CUstream hStream)
{
	(void)dstDevice;
	ENTER(cuMemPrefetchAsync_ptsz);
	return prefetch(devPtr, count, hStream, STREAM_PER_THREAD);
}

CUresult cuMemPrefetchAsync_v2(CUdeviceptr devPtr, size_t count, CUmemLocation location,
	unsigned int flags, CUstream hStream)
{
	(void)location;
	ENTER(cuMemPrefetchAsync_v2);
	if (flags)
		return CUDA_ERROR_INVALID_VALUE;
	return prefetch(devPtr, count, hStream, STREAM_LEGACY);
}

CUresult cuMemPrefetchAsync_v2_ptsz(CUdeviceptr devPtr, size_t count, CUmemLocation location,
	unsigned int flags, CUstream hStream)
{
	(void)location;
	ENTER(cuMemPrefetchAsync_v2_ptsz);
	if (flags)
		return CUDA_ERROR_INVALID_VALUE;
	return prefetch(devPtr, count, hStream, STREAM_PER_THREAD);
}
