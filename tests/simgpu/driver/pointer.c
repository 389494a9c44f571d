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

/* The server numbers blocks and we all else: the two are not to meet. */
#define BLOCK_IDS ((uint64_t)1 << 63)

static bool is_device(const struct memory *memory)
{
	return memory->kind != MEMORY_HOST && memory->kind != MEMORY_REGISTERED &&
	       (memory->kind != MEMORY_MAPPED || memory->device);
}

static int ordinal_of(const struct memory *memory)
{
	if (memory->device)
		return device_ordinal(memory->device);
	return memory->ctx ? device_ordinal(memory->ctx->device) : -1;
}

/* Finds attributes that are an int or an enum; false: it is none of those. */
static bool find_int(CUpointer_attribute attribute, const struct memory *memory, int *ret_value)
{
	switch (attribute) {
	case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
		*ret_value = is_device(memory) ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
		return true;
	case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
		*ret_value = memory->kind == MEMORY_DEVICE && memory->arena->is_shared;
		return true;
	case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
		*ret_value = memory->is_synchronous;
		return true;
	case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
		*ret_value = 0;
		return true;
	case CU_POINTER_ATTRIBUTE_IS_MANAGED:
		*ret_value = memory->kind == MEMORY_MANAGED;
		return true;
	case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
		*ret_value = ordinal_of(memory);
		return true;
	case CU_POINTER_ATTRIBUTE_MAPPED:
		*ret_value = 1;
		return true;
	case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
		*ret_value = memory->kind == MEMORY_MAPPED
				     ? (int)memory->access
				     : CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE;
		return true;
	default:
		return false;
	}
}

/* Finds attributes of 64 bits: handles, addresses, sizes and numbers. */
static bool find_long(CUpointer_attribute attribute, CUdeviceptr ptr, const struct memory *memory,
	uint64_t *ret_value)
{
	switch (attribute) {
	case CU_POINTER_ATTRIBUTE_CONTEXT:
		*ret_value = (uintptr_t)memory->ctx;
		return true;
	case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
		*ret_value = ptr;
		return true;
	case CU_POINTER_ATTRIBUTE_HOST_POINTER:
		*ret_value = ptr;
		return !is_device(memory) || memory->kind == MEMORY_MANAGED;
	case CU_POINTER_ATTRIBUTE_BUFFER_ID:
		*ret_value = memory->id;
		return true;
	case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID:
		*ret_value =
			memory->kind == MEMORY_MAPPED ? BLOCK_IDS | memory->block_id : memory->id;
		return true;
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
	case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
		*ret_value = memory->range.base;
		return true;
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
		*ret_value = memory->size;
		return true;
	case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
		*ret_value = memory->range.size;
		return true;
	case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
		*ret_value = memory->handle_types;
		return true;
	case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
		*ret_value = memory->kind == MEMORY_POOLED ? (uintptr_t)memory->owner : 0;
		return true;
	default:
		return false;
	}
}

static CUresult answer(
	void *data, CUpointer_attribute attribute, CUdeviceptr ptr, const struct memory *memory)
{
	uint64_t long_value;
	int value;

	if (find_int(attribute, memory, &value))
		memcpy(data, &value, sizeof(value));
	else if (find_long(attribute, ptr, memory, &long_value))
		memcpy(data, &long_value, sizeof(long_value));
	else
		return CUDA_ERROR_INVALID_VALUE;
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

/* What cuPointerGetAttributes says of memory that CUDA does not know, and of what known memory
 * does not have: nothing, in the attribute's own width. */
static CUresult answer_nothing(void *data, CUpointer_attribute attribute)
{
	const struct memory nothing = {.kind = MEMORY_HOST};
	const int no_device = -2; /* CU_DEVICE_INVALID */
	uint64_t long_value;
	int value;

	if (attribute == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL)
		memcpy(data, &no_device, sizeof(no_device));
	else if (find_int(attribute, &nothing, &value))
		memset(data, 0, sizeof(value));
	else if (find_long(attribute, 0, &nothing, &long_value))
		memset(data, 0, sizeof(long_value));
	else
		return CUDA_ERROR_INVALID_VALUE;
	return CUDA_SUCCESS;
}

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
		if (result != CUDA_SUCCESS)
			result = answer_nothing(data[i], attributes[i]);
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
	if (!is_device(&memory))
		return CUDA_ERROR_INVALID_DEVICE;
	memory_set_synchronous(ptr, *(const unsigned *)value != 0);
	return CUDA_SUCCESS;
}

/* Managed memory has one place here, so that hints have no effect. */
static CUresult hint(CUdeviceptr address, size_t count)
{
	struct memory memory;

	if (count == 0 || !memory_find(address, &memory) || memory.kind != MEMORY_MANAGED)
		return CUDA_ERROR_INVALID_VALUE;
	return memory_holds(address, count, false) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
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
