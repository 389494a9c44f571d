/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Multicast objects. They cost no memory of a device, hold what is bound to them, and can be
 * mapped; but what is written to a mapping stays in the object and reaches no device. They are of
 * this process only: no handle type can be asked for.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "entry.h"
#include "vmm.h"

struct binding {
	struct binding *next;
	struct physical *physical;
	CUdevice device;
	size_t offset, size;
};

struct multicast {
	unsigned device_count, added_count;
	bool is_added[WIRE_MAX_DEVICES];
	size_t size;
	struct binding *bindings;
};

/* Of the vmm lock's owner: a device was added. */
static pthread_cond_t added = PTHREAD_COND_INITIALIZER;
static pthread_mutex_t waiting = PTHREAD_MUTEX_INITIALIZER;

void multicast_wait_complete(struct multicast *multicast)
{
	while (multicast->added_count < multicast->device_count) {
		pthread_mutex_lock(&waiting);
		vmm_unlock();
		pthread_cond_wait(&added, &waiting);
		pthread_mutex_unlock(&waiting);
		vmm_lock();
	}
}

static void unbind(struct binding **link)
{
	struct binding *binding = *link;

	*link = binding->next;
	binding->physical->holds--;
	vmm_settle(binding->physical);
	free(binding);
}

void multicast_end(struct multicast *multicast)
{
	while (multicast->bindings)
		unbind(&multicast->bindings);
	free(multicast);
}

static CUresult check_prop(const CUmulticastObjectProp *prop)
{
	if (!prop || prop->numDevices == 0 || prop->numDevices > (unsigned)devices_count() ||
		prop->size == 0 || prop->flags)
		return CUDA_ERROR_INVALID_VALUE;
	return prop->handleTypes ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
}

CUresult cuMulticastGetGranularity(
	size_t *granularity, const CUmulticastObjectProp *prop, CUmulticastGranularity_flags option)
{
	ENTER(cuMulticastGetGranularity);
	if (!granularity || (option != CU_MULTICAST_GRANULARITY_MINIMUM &&
				    option != CU_MULTICAST_GRANULARITY_RECOMMENDED))
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = check_prop(prop);

	if (result == CUDA_SUCCESS)
		*granularity = VMM_GRANULARITY;
	return result;
}

CUresult cuMulticastCreate(
	CUmemGenericAllocationHandle *mcHandle, const CUmulticastObjectProp *prop)
{
	const CUmemAllocationProp nothing = {0};
	struct physical *physical;

	ENTER(cuMulticastCreate);
	CUresult result = vmm_check();

	if (result == CUDA_SUCCESS)
		result = check_prop(prop);
	if (result != CUDA_SUCCESS)
		return result;
	if (!mcHandle || prop->size % VMM_GRANULARITY)
		return CUDA_ERROR_INVALID_VALUE;
	struct multicast *multicast = calloc(1, sizeof(*multicast));

	result = multicast ? vmm_create(NULL, prop->size, &nothing, &physical)
			   : CUDA_ERROR_OUT_OF_MEMORY;
	if (result != CUDA_SUCCESS) {
		free(multicast);
		return result;
	}
	multicast->device_count = prop->numDevices;
	multicast->size = prop->size;
	physical->multicast = multicast;
	*mcHandle = (uintptr_t)physical;
	return CUDA_SUCCESS;
}

/* The object of a handle, or NULL. The lock is held. */
static struct multicast *find(CUmemGenericAllocationHandle handle)
{
	const struct physical *physical = vmm_physical(handle);

	return physical ? physical->multicast : NULL;
}

static CUresult add_device(struct multicast *multicast, CUdevice device)
{
	if (!multicast)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device_of(device))
		return CUDA_ERROR_INVALID_DEVICE;
	if (multicast->is_added[device] || multicast->added_count == multicast->device_count)
		return CUDA_ERROR_INVALID_VALUE;
	multicast->is_added[device] = true;
	multicast->added_count++;
	pthread_mutex_lock(&waiting);
	pthread_cond_broadcast(&added);
	pthread_mutex_unlock(&waiting);
	return CUDA_SUCCESS;
}

CUresult cuMulticastAddDevice(CUmemGenericAllocationHandle mcHandle, CUdevice dev)
{
	ENTER(cuMulticastAddDevice);
	CUresult result = vmm_check();

	if (result != CUDA_SUCCESS)
		return result;
	vmm_lock();
	result = add_device(find(mcHandle), dev);
	vmm_unlock();
	return result;
}

static bool overlaps(const struct multicast *multicast, CUdevice device, size_t offset, size_t size)
{
	for (const struct binding *binding = multicast->bindings; binding;
		binding = binding->next) {
		if (binding->device == device && offset < binding->offset + binding->size &&
			binding->offset < offset + size)
			return true;
	}
	return false;
}

/* The lock is held; waits for all devices, as the driver does. */
static CUresult bind(struct multicast *multicast, size_t offset, struct physical *physical,
	size_t physical_offset, size_t size)
{
	if (!multicast || !physical || physical->multicast || !physical->device || size == 0 ||
		(offset | physical_offset | size) % VMM_GRANULARITY ||
		physical_offset > physical->size || size > physical->size - physical_offset ||
		offset > multicast->size || size > multicast->size - offset)
		return CUDA_ERROR_INVALID_VALUE;
	const CUdevice device = device_ordinal(physical->device);

	multicast_wait_complete(multicast);
	if (!multicast->is_added[device] || overlaps(multicast, device, offset, size))
		return CUDA_ERROR_INVALID_VALUE;
	struct binding *binding = malloc(sizeof(*binding));

	if (!binding)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*binding = (struct binding){multicast->bindings, physical, device, offset, size};
	multicast->bindings = binding;
	physical->holds++;
	return CUDA_SUCCESS;
}

CUresult cuMulticastBindMem(CUmemGenericAllocationHandle mcHandle, size_t mcOffset,
	CUmemGenericAllocationHandle memHandle, size_t memOffset, size_t size,
	unsigned long long flags)
{
	ENTER(cuMulticastBindMem);
	CUresult result = vmm_check();

	if (result != CUDA_SUCCESS)
		return result;
	if (flags)
		return CUDA_ERROR_INVALID_VALUE;
	vmm_lock();
	result = bind(find(mcHandle), mcOffset, vmm_physical(memHandle), memOffset, size);
	vmm_unlock();
	return result;
}

CUresult cuMulticastBindAddr(CUmemGenericAllocationHandle mcHandle, size_t mcOffset,
	CUdeviceptr memptr, size_t size, unsigned long long flags)
{
	ENTER(cuMulticastBindAddr);
	CUresult result = vmm_check();

	if (result != CUDA_SUCCESS)
		return result;
	if (flags || memptr % VMM_GRANULARITY)
		return CUDA_ERROR_INVALID_VALUE;
	vmm_lock();
	result = bind(find(mcHandle), mcOffset, vmm_physical_at(memptr), 0, size);
	vmm_unlock();
	return result;
}

CUresult cuMulticastUnbind(
	CUmemGenericAllocationHandle mcHandle, CUdevice dev, size_t mcOffset, size_t size)
{
	ENTER(cuMulticastUnbind);
	CUresult result = vmm_check();

	if (result != CUDA_SUCCESS)
		return result;
	if (!device_of(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	vmm_lock();
	struct multicast *multicast = find(mcHandle);
	struct binding **link = multicast ? &multicast->bindings : NULL;

	while (link && *link &&
		((*link)->device != dev || (*link)->offset != mcOffset || (*link)->size != size))
		link = &(*link)->next;
	result = link && *link ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
	if (result == CUDA_SUCCESS)
		unbind(link);
	vmm_unlock();
	return result;
}
