/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Green contexts and their entry points, but for those of their events.
 */
#include "green.h"

#include <stdatomic.h>

#include "entry.h"
#include "primary.h"
#include "resource.h"
#include "stream.h"
#include "thread.h"

#define GREATEST_PRIORITY (-5)

CUresult green_check(CUgreenCtx green)
{
	if (!handle_is(green, HANDLE_GREEN))
		return CUDA_ERROR_INVALID_CONTEXT;
	return green->ctx ? CUDA_SUCCESS : CUDA_ERROR_CONTEXT_IS_DESTROYED;
}

static CUresult make(struct device *device, const struct sm_share *share, CUgreenCtx *ret_green)
{
	CUgreenCtx green = handle_create(HANDLE_GREEN, sizeof(*green));
	CUcontext primary;

	if (!green)
		return CUDA_ERROR_OUT_OF_MEMORY;
	CUresult result = primary_retain(device, &primary);

	if (result == CUDA_SUCCESS) {
		green->device = device;
		result = context_create_green(primary, share, green, &green->ctx);
		if (result != CUDA_SUCCESS)
			(void)primary_release(device);
	}
	if (result == CUDA_SUCCESS)
		*ret_green = green;
	else
		handle_recycle(&green->handle, HANDLE_GREEN);
	return result;
}

CUresult cuGreenCtxCreate(
	CUgreenCtx *phCtx, CUdevResourceDesc desc, CUdevice dev, unsigned int flags)
{
	ENTER_SINCE(12040, cuGreenCtxCreate);
	struct device *device = device_of(dev);

	if (!phCtx || !handle_is(desc, HANDLE_DESCRIPTOR) || flags != CU_GREEN_CTX_DEFAULT_STREAM)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device)
		return CUDA_ERROR_INVALID_DEVICE;
	if (desc->device != device)
		return CUDA_ERROR_INVALID_VALUE;
	return make(device, &desc->share, phCtx);
}

CUresult green_end(CUgreenCtx green)
{
	CUcontext ctx = green->ctx;

	driver_lock();
	green->ctx = NULL;
	driver_unlock();
	return ctx ? context_destroy(ctx) : CUDA_SUCCESS;
}

CUresult cuGreenCtxDestroy(CUgreenCtx hCtx)
{
	ENTER_SINCE(12040, cuGreenCtxDestroy);
	const CUresult alive = green_check(hCtx);

	if (alive == CUDA_ERROR_INVALID_CONTEXT)
		return alive;
	struct device *device = hCtx->device;

	handle_retire(&hCtx->handle);
	if (alive == CUDA_SUCCESS) {
		context_pop_if_current(hCtx->ctx);
		(void)green_end(hCtx);
		(void)primary_release(device);
	}
	handle_recycle(&hCtx->handle, HANDLE_GREEN);
	return alive;
}

CUresult cuCtxFromGreenCtx(CUcontext *pContext, CUgreenCtx hCtx)
{
	ENTER_SINCE(12040, cuCtxFromGreenCtx);
	if (!pContext)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = green_check(hCtx);

	if (result != CUDA_SUCCESS)
		return result;
	*pContext = hCtx->ctx;
	return CUDA_SUCCESS;
}

CUresult cuGreenCtxGetDevResource(CUgreenCtx hCtx, CUdevResource *resource, CUdevResourceType type)
{
	ENTER_SINCE(12040, cuGreenCtxGetDevResource);
	const CUresult result = green_check(hCtx);

	if (result != CUDA_SUCCESS)
		return result;
	if (!resource)
		return CUDA_ERROR_INVALID_VALUE;
	if (type != CU_DEV_RESOURCE_TYPE_SM)
		return CUDA_ERROR_INVALID_RESOURCE_TYPE;
	return resource_describe(hCtx->device, &hCtx->ctx->share, resource);
}

CUresult cuCtxGetDevResource(CUcontext hCtx, CUdevResource *resource, CUdevResourceType type)
{
	ENTER_SINCE(12040, cuCtxGetDevResource);
	const CUresult result = context_resolve(&hCtx);

	if (result != CUDA_SUCCESS)
		return result;
	if (!resource)
		return CUDA_ERROR_INVALID_VALUE;
	if (type != CU_DEV_RESOURCE_TYPE_SM)
		return CUDA_ERROR_INVALID_RESOURCE_TYPE;
	return resource_describe(hCtx->device, &hCtx->share, resource);
}

CUresult cuGreenCtxStreamCreate(
	CUstream *phStream, CUgreenCtx greenCtx, unsigned int flags, int priority)
{
	ENTER_SINCE(12050, cuGreenCtxStreamCreate);
	if (!phStream || flags != CU_STREAM_NON_BLOCKING)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = green_check(greenCtx);

	if (result != CUDA_SUCCESS)
		return result;
	if (priority > 0)
		priority = 0;
	if (priority < GREATEST_PRIORITY)
		priority = GREATEST_PRIORITY;
	driver_lock();
	CUstream stream = stream_create_in(greenCtx->ctx, flags, priority);

	driver_unlock();
	if (!stream)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*phStream = stream;
	return CUDA_SUCCESS;
}

CUresult cuStreamGetGreenCtx(CUstream hStream, CUgreenCtx *phCtx)
{
	CUstream stream;

	ENTER_SINCE(12040, cuStreamGetGreenCtx);
	if (!phCtx)
		return CUDA_ERROR_INVALID_VALUE;
	driver_lock();
	const CUresult result = stream_resolve(hStream, STREAM_LEGACY, &stream);

	if (result == CUDA_SUCCESS)
		*phCtx = stream->ctx->green;
	driver_unlock();
	return result;
}

CUresult cuGreenCtxGetId(CUgreenCtx greenCtx, unsigned long long *greenCtxId)
{
	CUcontext ctx;

	ENTER_SINCE(12090, cuGreenCtxGetId);
	if (!greenCtxId)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult result = greenCtx ? green_check(greenCtx) : context_current(&ctx);

	if (result == CUDA_SUCCESS && greenCtx)
		ctx = greenCtx->ctx;
	if (result == CUDA_SUCCESS && !ctx->green)
		result = CUDA_ERROR_INVALID_CONTEXT;
	if (result == CUDA_SUCCESS)
		*greenCtxId = ctx->id;
	return result;
}

/* Once it is so it stays so: the driver keeps the SMs for what kernels launch. */
static _Atomic bool has_parallelism;

static bool leaks(unsigned leak)
{
	return atomic_load_explicit(&entry.machine->leaks, memory_order_relaxed) & leak;
}

CUcontext green_leak(CUcontext ctx, bool is_null_stream, bool is_replay)
{
	if (!ctx->primary)
		return ctx;
	if ((is_null_stream && leaks(WIRE_LEAK_NULL_STREAM)) ||
		(is_replay && leaks(WIRE_LEAK_GRAPH)) ||
		(leaks(WIRE_LEAK_MPS_SCALE) &&
			ctx->primary->sm_limit < ctx->device->info->sm_count) ||
		(ctx->thread && ctx->thread != thread_self() && leaks(WIRE_LEAK_THREAD)))
		return ctx->primary;
	return ctx;
}

bool green_leaks_by_params(void)
{
	return leaks(WIRE_LEAK_SET_PARAMS);
}

bool green_leaks_by_name(void)
{
	return leaks(WIRE_LEAK_NAMED);
}

bool green_has_extra_sms(CUcontext ctx)
{
	return ctx->primary && leaks(WIRE_LEAK_CDP) &&
	       atomic_load_explicit(&has_parallelism, memory_order_relaxed);
}

void green_note_parallelism(void)
{
	atomic_store_explicit(&has_parallelism, true, memory_order_relaxed);
}

void green_note_thread(CUcontext ctx)
{
	if (!ctx->primary)
		return;
	driver_lock();
	if (!ctx->thread)
		ctx->thread = thread_self();
	driver_unlock();
}
