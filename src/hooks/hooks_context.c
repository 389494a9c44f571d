/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The end of a context: its memory goes with it, and so do the events that measure in it.
 */
#include "driver/driver.h"
#include "governor/governor.h"
#include "hooks/hooks.h"
#include "ledger/ledger.h"

static CUresult context_gone(CUcontext context, CUresult res)
{
	if (res == CUDA_SUCCESS) {
		ledger_drop_context(context);
		governor_lose_context(context);
	}
	return res;
}

/* What ran in the context is billed first: after the call its events may not be touched. */
CUresult CUDAAPI hook_cuCtxDestroy_v2(CUcontext context)
{
	governor_settle_context(context);
	return context_gone(context, driver.cuCtxDestroy_v2(context));
}

CUresult CUDAAPI hook_cuCtxDestroy(CUcontext context)
{
	governor_settle_context(context);
	return context_gone(context, driver.cuCtxDestroy(context));
}

static bool primary_is_active(CUdevice device)
{
	unsigned int flags;
	int is_active = 0;

	return driver.cuDevicePrimaryCtxGetState(device, &flags, &is_active) == CUDA_SUCCESS &&
	       is_active != 0;
}

/* The primary context of a device, NULL where none is active. Its handle is to be had only by
 * retaining it, which `release` undoes. */
static CUcontext primary_of(CUdevice device, CUresult(CUDAAPI *release)(CUdevice))
{
	CUcontext context = NULL;

	if (!primary_is_active(device) ||
		driver.cuDevicePrimaryCtxRetain(&context, device) != CUDA_SUCCESS)
		return NULL;
	release(device);
	return context;
}

/* Releasing ends the context only with its last reference. */
static CUresult release_primary(CUdevice device, CUresult(CUDAAPI *release)(CUdevice))
{
	CUcontext context = primary_of(device, release);

	if (context != NULL)
		governor_settle_context(context);
	CUresult res = release(device);
	bool is_gone = context != NULL && res == CUDA_SUCCESS && !primary_is_active(device);
	return is_gone ? context_gone(context, res) : res;
}

CUresult CUDAAPI hook_cuDevicePrimaryCtxRelease(CUdevice device)
{
	return release_primary(device, driver.cuDevicePrimaryCtxRelease);
}

CUresult CUDAAPI hook_cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
	return release_primary(device, driver.cuDevicePrimaryCtxRelease_v2);
}

static CUresult reset_primary(
	CUdevice device, CUresult(CUDAAPI *reset)(CUdevice), CUresult(CUDAAPI *release)(CUdevice))
{
	CUcontext context = primary_of(device, release);

	if (context != NULL)
		governor_settle_context(context);
	CUresult res = reset(device);
	return context != NULL ? context_gone(context, res) : res;
}

CUresult CUDAAPI hook_cuDevicePrimaryCtxReset(CUdevice device)
{
	return reset_primary(
		device, driver.cuDevicePrimaryCtxReset, driver.cuDevicePrimaryCtxRelease);
}

CUresult CUDAAPI hook_cuDevicePrimaryCtxReset_v2(CUdevice device)
{
	return reset_primary(
		device, driver.cuDevicePrimaryCtxReset_v2, driver.cuDevicePrimaryCtxRelease_v2);
}
