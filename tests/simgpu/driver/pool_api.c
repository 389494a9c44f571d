/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Entry points of pools themselves. Managed pools, and pools that other processes may open, are
 * not supported.
 */
#include "pool.h"

#include <string.h>

#include "capture.h"
#include "entry.h"

/* Finds the device that a location is on: CUDA_ERROR_NOT_SUPPORTED for places in the host. */
static CUresult locate(
	const CUmemLocation *location, CUmemAllocationType type, struct device **ret_device)
{
	if (!location)
		return CUDA_ERROR_INVALID_VALUE;
	const bool is_managed = type == CU_MEM_ALLOCATION_TYPE_MANAGED;

	if (type != CU_MEM_ALLOCATION_TYPE_PINNED && !is_managed)
		return CUDA_ERROR_INVALID_VALUE;
	switch (location->type) {
	case CU_MEM_LOCATION_TYPE_DEVICE:
		*ret_device = device_of(location->id);
		if (!*ret_device)
			return CUDA_ERROR_INVALID_DEVICE;
		return is_managed ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
	case CU_MEM_LOCATION_TYPE_NONE:
		return is_managed ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
	case CU_MEM_LOCATION_TYPE_HOST:
	case CU_MEM_LOCATION_TYPE_HOST_NUMA:
		return CUDA_ERROR_NOT_SUPPORTED;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
}

static CUresult hand_out(
	CUmemoryPool *ret_pool, struct device *device, CUmemoryPool (*find)(struct device *device))
{
	if (!ret_pool)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device)
		return CUDA_ERROR_INVALID_DEVICE;
	CUmemoryPool pool = find(device);

	if (!pool)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*ret_pool = pool;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool_out, CUdevice dev)
{
	ENTER(cuDeviceGetDefaultMemPool);
	return hand_out(pool_out, device_of(dev), pool_default);
}

CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice dev)
{
	ENTER(cuDeviceGetMemPool);
	return hand_out(pool, device_of(dev), pool_current);
}

CUresult cuDeviceSetMemPool(CUdevice dev, CUmemoryPool pool)
{
	ENTER(cuDeviceSetMemPool);
	struct device *device = device_of(dev);

	return device ? pool_set_current(device, pool) : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuMemGetDefaultMemPool(
	CUmemoryPool *pool_out, CUmemLocation *location, CUmemAllocationType type)
{
	struct device *device;

	ENTER(cuMemGetDefaultMemPool);
	const CUresult result = locate(location, type, &device);

	return result == CUDA_SUCCESS ? hand_out(pool_out, device, pool_default) : result;
}

CUresult cuMemGetMemPool(CUmemoryPool *pool, CUmemLocation *location, CUmemAllocationType type)
{
	struct device *device;

	ENTER(cuMemGetMemPool);
	const CUresult result = locate(location, type, &device);

	return result == CUDA_SUCCESS ? hand_out(pool, device, pool_current) : result;
}

CUresult cuMemSetMemPool(CUmemLocation *location, CUmemAllocationType type, CUmemoryPool pool)
{
	struct device *device;

	ENTER(cuMemSetMemPool);
	const CUresult result = locate(location, type, &device);

	return result == CUDA_SUCCESS ? pool_set_current(device, pool) : result;
}

static bool is_zero(const unsigned char *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (bytes[i])
			return false;
	}
	return true;
}

CUresult cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *poolProps)
{
	struct device *device = device_of(0);

	ENTER(cuMemPoolCreate);
	if (!pool || !poolProps || !is_zero(poolProps->reserved, sizeof(poolProps->reserved)))
		return CUDA_ERROR_INVALID_VALUE;
	const CUmemLocation *location = &poolProps->location;
	const bool is_of_host = location->type == CU_MEM_LOCATION_TYPE_HOST &&
				poolProps->allocType == CU_MEM_ALLOCATION_TYPE_PINNED;

	if (is_of_host && poolProps->handleTypes)
		return CUDA_ERROR_INVALID_VALUE;
	if (!is_of_host) {
		const CUresult result = locate(location, poolProps->allocType, &device);

		if (result != CUDA_SUCCESS)
			return result == CUDA_ERROR_INVALID_DEVICE ? CUDA_ERROR_INVALID_VALUE
								   : result;
	}
	if (poolProps->handleTypes != CU_MEM_HANDLE_TYPE_NONE)
		return CUDA_ERROR_NOT_SUPPORTED;
	CUmemoryPool made = pool_create(device, is_of_host, poolProps->maxSize);

	if (!made)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*pool = made;
	return CUDA_SUCCESS;
}

CUresult cuMemPoolDestroy(CUmemoryPool pool)
{
	ENTER(cuMemPoolDestroy);
	if (!handle_is(pool, HANDLE_POOL) || pool->is_default)
		return CUDA_ERROR_INVALID_VALUE;
	pool_destroy(pool);
	return CUDA_SUCCESS;
}

CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t minBytesToKeep)
{
	ENTER(cuMemPoolTrimTo);
	if (!handle_is(pool, HANDLE_POOL))
		return CUDA_ERROR_INVALID_VALUE;
	pool_trim(pool, minBytesToKeep);
	return CUDA_SUCCESS;
}

/* The 64-bit attributes that can be read; NULL for others. */
static const uint64_t *number_of(CUmemoryPool pool, CUmemPool_attribute attribute)
{
	switch (attribute) {
	case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
		return &pool->release_threshold;
	case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
		return &pool->reserved;
	case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
		return &pool->reserved_high;
	case CU_MEMPOOL_ATTR_USED_MEM_CURRENT:
		return &pool->used;
	case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
		return &pool->used_high;
	default:
		return NULL;
	}
}

static bool is_reuse_flag(CUmemPool_attribute attribute)
{
	return attribute >= CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES &&
	       attribute <= CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES;
}

CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attr, void *value)
{
	ENTER(cuMemPoolGetAttribute);
	const CUresult refusal = capture_check_question();

	if (refusal != CUDA_SUCCESS)
		return refusal;
	if (!value || !handle_is(pool, HANDLE_POOL))
		return CUDA_ERROR_INVALID_VALUE;
	const uint64_t *number = number_of(pool, attr);

	if (!number && !is_reuse_flag(attr))
		return CUDA_ERROR_INVALID_VALUE;
	pools_lock();
	if (number)
		memcpy(value, number, sizeof(*number));
	else
		memcpy(value, &pool->reuse[attr - 1], sizeof(pool->reuse[0]));
	pools_unlock();
	return CUDA_SUCCESS;
}

static CUresult set_attribute(CUmemoryPool pool, CUmemPool_attribute attribute, const void *value)
{
	uint64_t number;

	if (is_reuse_flag(attribute)) {
		memcpy(&pool->reuse[attribute - 1], value, sizeof(pool->reuse[0]));
		return CUDA_SUCCESS;
	}
	memcpy(&number, value, sizeof(number));
	if (attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD) {
		pool->release_threshold = number;
		return CUDA_SUCCESS;
	}
	if (number != 0)
		return CUDA_ERROR_INVALID_VALUE;
	if (attribute == CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH)
		pool->reserved_high = pool->reserved;
	else
		pool->used_high = pool->used;
	return CUDA_SUCCESS;
}

CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attr, void *value)
{
	ENTER(cuMemPoolSetAttribute);
	const bool can_be_set = is_reuse_flag(attr) || attr == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD ||
				attr == CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH ||
				attr == CU_MEMPOOL_ATTR_USED_MEM_HIGH;

	if (!value || !can_be_set || !handle_is(pool, HANDLE_POOL))
		return CUDA_ERROR_INVALID_VALUE;
	pools_lock();
	const CUresult result = set_attribute(pool, attr, value);

	pools_unlock();
	return result;
}

/* No device can be the peer of another here: a pool can be reached from its own. */
static bool is_at_home(CUmemoryPool pool, const CUmemLocation *location)
{
	if (pool->is_of_host)
		return location->type == CU_MEM_LOCATION_TYPE_HOST ||
		       location->type == CU_MEM_LOCATION_TYPE_DEVICE;
	return location->type == CU_MEM_LOCATION_TYPE_DEVICE &&
	       device_of(location->id) == pool->device;
}

CUresult cuMemPoolSetAccess(CUmemoryPool pool, const CUmemAccessDesc *map, size_t count)
{
	ENTER(cuMemPoolSetAccess);
	if (!handle_is(pool, HANDLE_POOL) || (count && !map))
		return CUDA_ERROR_INVALID_VALUE;
	for (size_t i = 0; i < count; i++) {
		if (!is_at_home(pool, &map[i].location) ||
			map[i].flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
			return CUDA_ERROR_INVALID_VALUE;
	}
	return CUDA_SUCCESS;
}

CUresult cuMemPoolGetAccess(CUmemAccess_flags *flags, CUmemoryPool memPool, CUmemLocation *location)
{
	ENTER(cuMemPoolGetAccess);
	if (!flags || !location || !handle_is(memPool, HANDLE_POOL))
		return CUDA_ERROR_INVALID_VALUE;
	*flags = is_at_home(memPool, location) ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE
					       : CU_MEM_ACCESS_FLAGS_PROT_NONE;
	return CUDA_SUCCESS;
}
