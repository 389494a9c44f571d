/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Entry points of the handles of physical memory: making, sharing, releasing.
 */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"
#include "entry.h"
#include "stream.h"
#include "vmm.h"

/* Those that this machine cannot hand out. */
#define OTHER_HANDLE_TYPES \
	(CU_MEM_HANDLE_TYPE_WIN32 | CU_MEM_HANDLE_TYPE_WIN32_KMT | CU_MEM_HANDLE_TYPE_FABRIC)
#define ALL_HANDLE_TYPES (CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR | OTHER_HANDLE_TYPES)

static CUresult check_location(const CUmemAllocationProp *prop, struct device **ret_device)
{
	*ret_device = NULL;
	switch (prop->location.type) {
	case CU_MEM_LOCATION_TYPE_DEVICE:
		*ret_device = device_of(prop->location.id);
		return *ret_device ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
	case CU_MEM_LOCATION_TYPE_HOST:
		return prop->requestedHandleTypes ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
	case CU_MEM_LOCATION_TYPE_HOST_NUMA:
		return prop->location.id == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
}

static CUresult check_prop(const CUmemAllocationProp *prop, struct device **ret_device)
{
	const unsigned types = prop ? (unsigned)prop->requestedHandleTypes : 0;

	if (!prop || prop->type != CU_MEM_ALLOCATION_TYPE_PINNED || prop->win32HandleMetaData ||
		(types & ~(unsigned)ALL_HANDLE_TYPES))
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = check_location(prop, ret_device);

	if (result == CUDA_SUCCESS && (types & OTHER_HANDLE_TYPES))
		return CUDA_ERROR_NOT_SUPPORTED;
	return result;
}

CUresult cuMemGetAllocationGranularity(size_t *granularity, const CUmemAllocationProp *prop,
	CUmemAllocationGranularity_flags option)
{
	struct device *device;

	ENTER(cuMemGetAllocationGranularity);
	if (!granularity || (option != CU_MEM_ALLOC_GRANULARITY_MINIMUM &&
				    option != CU_MEM_ALLOC_GRANULARITY_RECOMMENDED))
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = check_prop(prop, &device);

	if (result == CUDA_SUCCESS)
		*granularity = VMM_GRANULARITY;
	return result;
}

CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t size,
	const CUmemAllocationProp *prop, unsigned long long flags)
{
	struct physical *physical;
	struct device *device;

	ENTER(cuMemCreate);
	CUresult result = vmm_check();

	if (result != CUDA_SUCCESS)
		return result;
	if (!handle || size == 0 || size % VMM_GRANULARITY || flags)
		return CUDA_ERROR_INVALID_VALUE;
	result = check_prop(prop, &device);
	if (result == CUDA_SUCCESS)
		result = vmm_create(device, size, prop, &physical);
	if (result == CUDA_SUCCESS)
		*handle = (uintptr_t)physical;
	return result;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle)
{
	ENTER(cuMemRelease);
	const CUresult result = vmm_check();

	if (result != CUDA_SUCCESS)
		return result;
	vmm_lock();
	struct physical *physical = vmm_physical(handle);

	if (physical) {
		physical->refs--;
		vmm_settle(physical);
	}
	vmm_unlock();
	return physical ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle, void *addr)
{
	ENTER(cuMemRetainAllocationHandle);
	const CUresult result = vmm_check();

	if (result != CUDA_SUCCESS)
		return result;
	if (!handle)
		return CUDA_ERROR_INVALID_VALUE;
	vmm_lock();
	struct physical *physical = vmm_physical_at((uintptr_t)addr);

	if (physical) {
		physical->refs++;
		*handle = (uintptr_t)physical;
	}
	vmm_unlock();
	return physical ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemGetAllocationPropertiesFromHandle(
	CUmemAllocationProp *prop, CUmemGenericAllocationHandle handle)
{
	ENTER(cuMemGetAllocationPropertiesFromHandle);
	const CUresult result = vmm_check();

	if (result != CUDA_SUCCESS)
		return result;
	vmm_lock();
	const struct physical *physical = prop ? vmm_physical(handle) : NULL;
	const bool is_memory = physical && !physical->multicast;

	if (is_memory)
		*prop = physical->prop;
	vmm_unlock();
	return is_memory ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemExportToShareableHandle(void *shareableHandle, CUmemGenericAllocationHandle handle,
	CUmemAllocationHandleType handleType, unsigned long long flags)
{
	struct wire_request request = {.kind = WIRE_BLOCK_EXPORT};
	struct wire_reply reply;
	int fd = -1;

	ENTER(cuMemExportToShareableHandle);
	const CUresult result = vmm_check();

	if (result != CUDA_SUCCESS)
		return result;
	if (!shareableHandle || flags)
		return CUDA_ERROR_INVALID_VALUE;
	vmm_lock();
	const struct physical *physical = vmm_physical(handle);

	if (physical && (physical->prop.requestedHandleTypes & handleType))
		request.block.id = physical->block_id;
	vmm_unlock();
	if (!physical)
		return CUDA_ERROR_INVALID_VALUE;
	if (handleType & OTHER_HANDLE_TYPES)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (handleType != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR || !request.block.id)
		return CUDA_ERROR_INVALID_VALUE;
	if (!client_ask_fd(&request, &reply, &fd) || fd < 0)
		return CUDA_ERROR_INVALID_VALUE;
	memcpy(shareableHandle, &fd, sizeof(fd));
	return CUDA_SUCCESS;
}

/* The visible device of that number of the machine's. */
static struct device *find_device(int index)
{
	for (int i = 0; i < devices_count(); i++) {
		if (device_of(i)->index == index)
			return device_of(i);
	}
	return NULL;
}

/* `reply` brought a reference, which becomes the handle's. */
static CUresult adopt(CUmemGenericAllocationHandle *ret_handle, const struct wire_reply *reply)
{
	CUmemAllocationProp prop;
	struct device *device = NULL;

	memcpy(&prop, reply->block.note, sizeof(prop));
	if (prop.location.type == CU_MEM_LOCATION_TYPE_DEVICE) {
		device = find_device(reply->block_device);
		if (!device)
			return CUDA_ERROR_NOT_SUPPORTED;
		prop.location.id = device_ordinal(device);
	}
	const struct physical *physical =
		vmm_adopt(device, reply->block_bytes, &prop, reply->block.id);

	if (!physical)
		return CUDA_ERROR_INVALID_VALUE;
	*ret_handle = (uintptr_t)physical;
	return CUDA_SUCCESS;
}

CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle *handle, void *osHandle,
	CUmemAllocationHandleType shHandleType)
{
	struct wire_request request = {.kind = WIRE_BLOCK_REFER};
	struct wire_reply reply;
	struct stat file;

	ENTER(cuMemImportFromShareableHandle);
	CUresult result = vmm_check();

	if (result != CUDA_SUCCESS)
		return result;
	if (shHandleType == CU_MEM_HANDLE_TYPE_FABRIC)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (!handle || shHandleType != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR ||
		fstat((int)(intptr_t)osHandle, &file))
		return CUDA_ERROR_INVALID_VALUE;
	request.block.file_device = file.st_dev;
	request.block.file_inode = file.st_ino;
	if (!client_ask(&request, &reply) || reply.status != WIRE_OK)
		return CUDA_ERROR_INVALID_VALUE;
	result = adopt(handle, &reply);
	if (result != CUDA_SUCCESS)
		vmm_drop_block(reply.block.id);
	return result;
}

/* simgpu has no sparse arrays, so that there is none to map into. */
static CUresult map_array(
	const CUarrayMapInfo *list, unsigned count, CUstream handle, enum stream_default meaning)
{
	CUstream stream;
	CUresult result = vmm_check();

	if (result != CUDA_SUCCESS)
		return result;
	if (!list || count == 0)
		return CUDA_ERROR_INVALID_VALUE;
	driver_lock();
	result = stream_resolve(handle, meaning, &stream);
	driver_unlock();
	return result == CUDA_SUCCESS ? CUDA_ERROR_INVALID_VALUE : result;
}

CUresult cuMemMapArrayAsync(CUarrayMapInfo *mapInfoList, unsigned int count, CUstream hStream)
{
	ENTER(cuMemMapArrayAsync);
	return map_array(mapInfoList, count, hStream, STREAM_LEGACY);
}

CUresult cuMemMapArrayAsync_ptsz(CUarrayMapInfo *mapInfoList, unsigned int count, CUstream hStream)
{
	ENTER(cuMemMapArrayAsync_ptsz);
	return map_array(mapInfoList, count, hStream, STREAM_PER_THREAD);
}
