/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The view: what a program is told of its device's memory is what its slice has.
 */
#include "driver/driver.h"
#include "hooks/hooks.h"
#include "hooks/pending_frees.h"
#include "ledger/ledger.h"
#include "slice/slice.h"

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Total is at most the quota of the current device; free at most what of it is not used. */
static void show_slice(uint64_t *free_bytes, uint64_t *total_bytes)
{
	CUdevice device;

	if (driver.cuCtxGetDevice(&device) != CUDA_SUCCESS || !slice_exists(device))
		return;
	uint64_t quota = smaller(ledger_quota((unsigned)device), *total_bytes);
	pending_frees_collect((unsigned)device);
	uint64_t used = ledger_used((unsigned)device);
	*total_bytes = quota;
	*free_bytes = smaller(*free_bytes, used < quota ? quota - used : 0);
}

CUresult CUDAAPI hook_cuMemGetInfo_v2(size_t *ret_free, size_t *ret_total)
{
	CUresult res = driver.cuMemGetInfo_v2(ret_free, ret_total);

	if (res != CUDA_SUCCESS || ret_free == NULL || ret_total == NULL)
		return res;
	uint64_t free_bytes = *ret_free, total_bytes = *ret_total;
	show_slice(&free_bytes, &total_bytes);
	*ret_free = free_bytes;
	*ret_total = total_bytes;
	return res;
}

CUresult CUDAAPI hook_cuMemGetInfo(unsigned int *ret_free, unsigned int *ret_total)
{
	CUresult res = driver.cuMemGetInfo(ret_free, ret_total);

	if (res != CUDA_SUCCESS || ret_free == NULL || ret_total == NULL)
		return res;
	uint64_t free_bytes = *ret_free, total_bytes = *ret_total;
	show_slice(&free_bytes, &total_bytes);
	*ret_free = (unsigned int)free_bytes;
	*ret_total = (unsigned int)total_bytes;
	return res;
}

CUresult CUDAAPI hook_cuDeviceTotalMem_v2(size_t *ret_bytes, CUdevice device)
{
	CUresult res = driver.cuDeviceTotalMem_v2(ret_bytes, device);

	if (res == CUDA_SUCCESS && ret_bytes != NULL && slice_exists(device))
		*ret_bytes = smaller(*ret_bytes, ledger_quota((unsigned)device));
	return res;
}

CUresult CUDAAPI hook_cuDeviceTotalMem(unsigned int *ret_bytes, CUdevice device)
{
	CUresult res = driver.cuDeviceTotalMem(ret_bytes, device);

	if (res == CUDA_SUCCESS && ret_bytes != NULL && slice_exists(device))
		*ret_bytes = (unsigned int)smaller(*ret_bytes, ledger_quota((unsigned)device));
	return res;
}
