/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Entry points of primary contexts: one for a device, shared by all who retain it.
 */
#include <pthread.h>

#include "context.h"
#include "entry.h"
#include "green.h"
#include "primary.h"

/* Held across making and ending one, which the driver lock must not be. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static CUresult retain_locked(struct device *device)
{
	CUcontext ctx;

	if (!device->primary) {
		const CUresult result = context_create(device, device->primary_flags, &ctx);

		if (result != CUDA_SUCCESS)
			return result;
		ctx->is_primary = true;
		device->primary = ctx;
	}
	device->primary_refs++;
	return CUDA_SUCCESS;
}

static CUresult end_locked(struct device *device)
{
	CUcontext ctx = device->primary;
	CUgreenCtx green;

	while (ctx && (green = context_find_green(ctx)) != NULL)
		(void)green_end(green);
	device->primary = NULL;
	device->primary_refs = 0;
	return ctx ? context_destroy(ctx) : CUDA_SUCCESS;
}

CUresult primary_retain(struct device *device, CUcontext *ret_ctx)
{
	pthread_mutex_lock(&lock);
	const CUresult result = retain_locked(device);

	if (result == CUDA_SUCCESS)
		*ret_ctx = device->primary;
	pthread_mutex_unlock(&lock);
	return result;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *pctx, CUdevice dev)
{
	ENTER(cuDevicePrimaryCtxRetain);
	struct device *device = device_of(dev);

	if (!pctx)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device)
		return CUDA_ERROR_INVALID_DEVICE;
	return primary_retain(device, pctx);
}

CUresult primary_release(struct device *device)
{
	CUresult result = CUDA_SUCCESS;

	pthread_mutex_lock(&lock);
	if (device->primary_refs == 0)
		result = CUDA_ERROR_INVALID_CONTEXT;
	else if (--device->primary_refs == 0)
		result = end_locked(device);
	pthread_mutex_unlock(&lock);
	return result;
}

static CUresult release(CUdevice dev)
{
	struct device *device = device_of(dev);

	return device ? primary_release(device) : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuDevicePrimaryCtxRelease(CUdevice dev)
{
	ENTER(cuDevicePrimaryCtxRelease);
	return release(dev);
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice dev)
{
	ENTER(cuDevicePrimaryCtxRelease_v2);
	return release(dev);
}

static CUresult reset(CUdevice dev)
{
	struct device *device = device_of(dev);

	if (!device)
		return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&lock);
	const CUresult result = end_locked(device);

	device->primary_flags = 0;
	pthread_mutex_unlock(&lock);
	return result;
}

CUresult cuDevicePrimaryCtxReset(CUdevice dev)
{
	ENTER(cuDevicePrimaryCtxReset);
	return reset(dev);
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice dev)
{
	ENTER(cuDevicePrimaryCtxReset_v2);
	return reset(dev);
}

static CUresult set_flags(CUdevice dev, unsigned flags)
{
	struct device *device = device_of(dev);

	if (!device)
		return CUDA_ERROR_INVALID_DEVICE;
	if (flags & ~(unsigned)CU_CTX_FLAGS_MASK)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&lock);
	device->primary_flags = flags;
	if (device->primary)
		device->primary->flags = flags;
	pthread_mutex_unlock(&lock);
	return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxSetFlags(CUdevice dev, unsigned int flags)
{
	ENTER(cuDevicePrimaryCtxSetFlags);
	return set_flags(dev, flags);
}

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice dev, unsigned int flags)
{
	ENTER(cuDevicePrimaryCtxSetFlags_v2);
	return set_flags(dev, flags);
}

CUresult cuDevicePrimaryCtxGetState(CUdevice dev, unsigned int *flags, int *active)
{
	ENTER(cuDevicePrimaryCtxGetState);
	const struct device *device = device_of(dev);

	if (!flags || !active)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device)
		return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&lock);
	*flags = device->primary_flags;
	*active = device->primary != NULL;
	pthread_mutex_unlock(&lock);
	return CUDA_SUCCESS;
}
