/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Linear memory of other processes that is opened here.
 */
#include "driver/driver.h"
#include "hooks/hooks.h"
#include "hooks/physical.h"

/* cuda.h names no CUDA_ERROR_OUT_OF_MEMORY for it. */
#define NO_ROOM CUDA_ERROR_MAP_FAILED

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
static CUresult end_open(CUdeviceptr *ret_address, CUresult res, CUdeviceptr address)
{
	if (res != CUDA_SUCCESS)
		return res;
	if (!physical_open(address, device_of(address))) {
		driver.cuIpcCloseMemHandle(address);
		return NO_ROOM;
	}
	*ret_address = address;
	return CUDA_SUCCESS;
}

CUresult CUDAAPI hook_cuIpcOpenMemHandle_v2(
	CUdeviceptr *ret_address, CUipcMemHandle handle, unsigned int flags)
{
	CUdeviceptr address = 0;

	if (ret_address == NULL)
		return driver.cuIpcOpenMemHandle_v2(ret_address, handle, flags);
	CUresult res = driver.cuIpcOpenMemHandle_v2(&address, handle, flags);
	return end_open(ret_address, res, address);
}

CUresult CUDAAPI hook_cuIpcOpenMemHandle(
	CUdeviceptr *ret_address, CUipcMemHandle handle, unsigned int flags)
{
	CUdeviceptr address = 0;

	if (ret_address == NULL)
		return driver.cuIpcOpenMemHandle(ret_address, handle, flags);
	CUresult res = driver.cuIpcOpenMemHandle(&address, handle, flags);
	return end_open(ret_address, res, address);
}

CUresult CUDAAPI hook_cuIpcCloseMemHandle(CUdeviceptr address)
{
	struct hold *hold = hold_begin_end(HOLD_OPENED, address);

	CUresult res = driver.cuIpcCloseMemHandle(address);
	hold_end(hold, res);
	return res;
}
