/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Linear memory of other processes that is opened here. The handle, of which no two allocations
 * have the same, is what members of a group know it by.
 */
#include "driver/driver.h"
#include "hooks/hooks.h"
#include "hooks/physical.h"

#include <string.h>

/* cuda.h names no CUDA_ERROR_OUT_OF_MEMORY for it. */
#define NO_ROOM CUDA_ERROR_MAP_FAILED

static struct segment_name name_of(const CUipcMemHandle *handle)
{
	struct segment_name name;

	_Static_assert(sizeof(name) == sizeof(*handle), "all of it");
	memcpy(&name, handle, sizeof(name));
	return name;
}

/* The device that the memory is on, which need not be the current one. */
static CUdevice device_of(CUdeviceptr address)
{
	int device = -1;

	if (driver.cuPointerGetAttribute(&device, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, address) !=
			CUDA_SUCCESS &&
		driver.cuCtxGetDevice(&device) != CUDA_SUCCESS)
		return -1;
	return device;
}

/* How much it is only the driver knows, and only now. Where that does not fit it is closed. */
static CUresult end_open(
	CUdeviceptr *ret_address, CUresult res, CUdeviceptr address, const CUipcMemHandle *handle)
{
	struct segment_name name = name_of(handle);

	if (res != CUDA_SUCCESS)
		return res;
	if (!physical_open(address, device_of(address), &name)) {
		driver.cuIpcCloseMemHandle(address);
		return NO_ROOM;
	}
	*ret_address = address;
	return CUDA_SUCCESS;
}

CUresult CUDAAPI hook_cuIpcGetMemHandle(CUipcMemHandle *ret_handle, CUdeviceptr address)
{
	CUdeviceptr start = 0;

	CUresult res = driver.cuIpcGetMemHandle(ret_handle, address);
	if (res != CUDA_SUCCESS ||
		driver.cuMemGetAddressRange_v2(&start, NULL, address) != CUDA_SUCCESS)
		return res;
	struct segment_name name = name_of(ret_handle);
	(void)ledger_export(start, &name);
	return res;
}

CUresult CUDAAPI hook_cuIpcOpenMemHandle_v2(
	CUdeviceptr *ret_address, CUipcMemHandle handle, unsigned int flags)
{
	CUdeviceptr address = 0;

	if (ret_address == NULL)
		return driver.cuIpcOpenMemHandle_v2(ret_address, handle, flags);
	CUresult res = driver.cuIpcOpenMemHandle_v2(&address, handle, flags);
	return end_open(ret_address, res, address, &handle);
}

CUresult CUDAAPI hook_cuIpcOpenMemHandle(
	CUdeviceptr *ret_address, CUipcMemHandle handle, unsigned int flags)
{
	CUdeviceptr address = 0;

	if (ret_address == NULL)
		return driver.cuIpcOpenMemHandle(ret_address, handle, flags);
	CUresult res = driver.cuIpcOpenMemHandle(&address, handle, flags);
	return end_open(ret_address, res, address, &handle);
}

CUresult CUDAAPI hook_cuIpcCloseMemHandle(CUdeviceptr address)
{
	struct hold *hold = hold_begin_end(HOLD_OPENED, address);

	CUresult res = driver.cuIpcCloseMemHandle(address);
	hold_end(hold, res);
	return res;
}
