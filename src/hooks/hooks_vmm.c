/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Virtual memory management: physical memory is charged on the device that it is made on, whatever
 * is current, from its making until neither a handle nor a mapping holds it. Memory of the host
 * costs nothing. Only what takes, holds or gives back bytes is hooked: reserved addresses and the
 * rights to access them are the program's own.
 */
#include "driver/driver.h"
#include "hooks/charge.h"
#include "hooks/fd_label.h"
#include "hooks/hooks.h"
#include "hooks/physical.h"
#include "slice/slice.h"

CUresult CUDAAPI hook_cuMemCreate(CUmemGenericAllocationHandle *ret_handle, size_t size,
	const CUmemAllocationProp *prop, unsigned long long flags)
{
	CUmemGenericAllocationHandle handle = 0;
	struct charge charge;
	CUresult res;

	if (ret_handle == NULL || prop == NULL ||
		prop->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
		return driver.cuMemCreate(ret_handle, size, prop, flags);
	if (!charge_begin_on(prop->location.id, LEDGER_PHYSICAL, size, &charge))
		return CUDA_ERROR_OUT_OF_MEMORY;
	do {
		res = driver.cuMemCreate(&handle, size, prop, flags);
	} while (charge_again(&charge, res));
	if (!physical_commit(&charge, res, HOLD_HANDLE, handle, size)) {
		driver.cuMemRelease(handle);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	if (res == CUDA_SUCCESS)
		*ret_handle = handle;
	return res;
}

CUresult CUDAAPI hook_cuMemRelease(CUmemGenericAllocationHandle handle)
{
	struct hold *hold = hold_begin_end(HOLD_HANDLE, handle);

	CUresult res = driver.cuMemRelease(handle);
	hold_end(hold, res);
	return res;
}

/* The address tells what it is before the driver tells its handle: so it is held by us while the
 * driver begins to hold it, and others may let go meanwhile. */
CUresult CUDAAPI hook_cuMemRetainAllocationHandle(
	CUmemGenericAllocationHandle *ret_handle, void *address)
{
	struct physical *physical = physical_at((uintptr_t)address);

	CUresult res = driver.cuMemRetainAllocationHandle(ret_handle, address);
	if (physical != NULL && res == CUDA_SUCCESS)
		physical_retain(physical, *ret_handle);
	else
		physical_let_go(physical);
	return res;
}

/* What was imported is charged now, for now its size is known, and which memory it is. */
static CUresult end_map(struct physical *physical, CUdeviceptr address, size_t size)
{
	if (physical != NULL) {
		physical_identify(physical, address);
		if (!physical_charge_import(physical, size))
			return CUDA_ERROR_OUT_OF_MEMORY;
	}
	return physical_map(physical, address, size) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult CUDAAPI hook_cuMemMap(CUdeviceptr address, size_t size, size_t offset,
	CUmemGenericAllocationHandle handle, unsigned long long flags)
{
	struct physical *physical = physical_of_handle(handle);

	CUresult res = driver.cuMemMap(address, size, offset, handle, flags);
	if (res == CUDA_SUCCESS) {
		res = end_map(physical, address, size);
		if (res != CUDA_SUCCESS)
			driver.cuMemUnmap(address, size);
	}
	if (res != CUDA_SUCCESS)
		physical_let_go(physical);
	return res;
}

CUresult CUDAAPI hook_cuMemUnmap(CUdeviceptr address, size_t size)
{
	struct hold *holds = holds_begin_unmap(address, size);

	CUresult res = driver.cuMemUnmap(address, size);
	holds_unmap(holds, res);
	return res;
}

CUresult CUDAAPI hook_cuMemExportToShareableHandle(void *ret_handle,
	CUmemGenericAllocationHandle handle, CUmemAllocationHandleType type,
	unsigned long long flags)
{
	CUresult res = driver.cuMemExportToShareableHandle(ret_handle, handle, type, flags);

	if (res != CUDA_SUCCESS)
		return res;
	uint64_t label = physical_export(handle);
	if (type == CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
		fd_label_write(*(int *)ret_handle, label);
	return res;
}

CUresult CUDAAPI hook_cuMemImportFromShareableHandle(
	CUmemGenericAllocationHandle *ret_handle, void *os_handle, CUmemAllocationHandleType type)
{
	CUmemAllocationProp prop;
	uint64_t label = 0;

	/* The descriptor, not a pointer to it. */
	if (type == CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
		label = fd_label_read((int)(intptr_t)os_handle);
	CUresult res = driver.cuMemImportFromShareableHandle(ret_handle, os_handle, type);
	if (res == CUDA_SUCCESS &&
		driver.cuMemGetAllocationPropertiesFromHandle(&prop, *ret_handle) == CUDA_SUCCESS &&
		prop.location.type == CU_MEM_LOCATION_TYPE_DEVICE && slice_exists(prop.location.id))
		physical_import(*ret_handle, prop.location.id, label);
	return res;
}
