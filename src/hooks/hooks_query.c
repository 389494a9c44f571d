/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The view: what a program is told of its device's memory is what its slice has.
 */
#include "driver/driver.h"
#include "hooks/contexts.h"
#include "hooks/hooks.h"
#include "hooks/reconcile.h"
#include "hooks/settle.h"
#include "ledger/ledger.h"
#include "slice/slice.h"
#include "slice/watch.h"

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Total is at most the quota of the current device; free at most what of it is not used. */
static void show_slice(uint64_t *free_bytes, uint64_t *total_bytes)
{
	CUcontext context;
	CUdevice device;

	if (driver.cuCtxGetDevice(&device) != CUDA_SUCCESS || !slice_exists(device))
		return;
	if (driver.cuCtxGetCurrent(&context) == CUDA_SUCCESS) {
		contexts_find_owner((unsigned)device, &context);
		contexts_see((unsigned)device, context);
	}
	reconcile_if_stale((unsigned)device);
	uint64_t quota = smaller(ledger_quota((unsigned)device), *total_bytes);
	settle_what_came_back((unsigned)device);
	uint64_t used = ledger_used((unsigned)device);
	*total_bytes = quota;
	*free_bytes = smaller(*free_bytes, used < quota ? quota - used : 0);
}

/* A program may want only one of the two, where its driver takes a NULL for the other: then the
 * driver is asked twice, for what is free cannot be told without the total. */
CUresult CUDAAPI hook_cuMemGetInfo_v2(size_t *ret_free, size_t *ret_total)
{
	size_t free_bytes = 0, total_bytes = 0;
	CUresult res = CUDA_SUCCESS;

	if (ret_free == NULL || ret_total == NULL)
		res = driver.cuMemGetInfo_v2(ret_free, ret_total);
	if (res == CUDA_SUCCESS)
		res = driver.cuMemGetInfo_v2(&free_bytes, &total_bytes);
	if (res != CUDA_SUCCESS)
		return res;
	uint64_t shown_free = free_bytes, shown_total = total_bytes;
	show_slice(&shown_free, &shown_total);
	watch_tell();
	if (ret_free != NULL)
		*ret_free = shown_free;
	if (ret_total != NULL)
		*ret_total = shown_total;
	return res;
}

CUresult CUDAAPI hook_cuMemGetInfo(unsigned int *ret_free, unsigned int *ret_total)
{
	unsigned int free_bytes = 0, total_bytes = 0;
	CUresult res = CUDA_SUCCESS;

	if (ret_free == NULL || ret_total == NULL)
		res = driver.cuMemGetInfo(ret_free, ret_total);
	if (res == CUDA_SUCCESS)
		res = driver.cuMemGetInfo(&free_bytes, &total_bytes);
	if (res != CUDA_SUCCESS)
		return res;
	uint64_t shown_free = free_bytes, shown_total = total_bytes;
	show_slice(&shown_free, &shown_total);
	if (ret_free != NULL)
		*ret_free = (unsigned int)shown_free;
	if (ret_total != NULL)
		*ret_total = (unsigned int)shown_total;
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
