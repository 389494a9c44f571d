/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Entry points that record an event of all work of a context, and let a context wait for one.
 */
#include "capture.h"
#include "context.h"
#include "entry.h"
#include "event.h"
#include "green.h"
#include "work.h"

/* Submits the record behind all that runs in `ctx`; the driver lock is held. */
static CUresult submit_record(CUcontext ctx, CUevent event)
{
	struct work *work = work_create(WORK_EVENT);
	struct deps deps = {0};
	uint64_t seq = 0;

	if (!work)
		return CUDA_ERROR_OUT_OF_MEMORY;
	work->event = event;
	event_ref(event);
	if (context_collect(&deps, ctx))
		seq = work_submit(work, ctx, 0, &deps);
	deps_clear(&deps);
	work_unref(work);
	if (!seq && !entry_is_null())
		return CUDA_ERROR_DEVICE_UNAVAILABLE;
	event->seq = seq;
	event->capture_id = 0;
	return CUDA_SUCCESS;
}

static CUresult record(CUcontext ctx, CUevent event)
{
	if (!handle_is(event, HANDLE_EVENT) || event->ctx != context_home(ctx))
		return CUDA_ERROR_INVALID_HANDLE;
	CUresult result = capture_refuse_context(ctx);

	if (result != CUDA_SUCCESS)
		return result;
	driver_lock();
	result = submit_record(ctx, event);
	driver_unlock();
	return result;
}

static CUresult wait_for(CUcontext ctx, CUevent event)
{
	if (!handle_is(event, HANDLE_EVENT))
		return CUDA_ERROR_INVALID_HANDLE;
	CUresult result = capture_refuse_context(ctx);

	if (result != CUDA_SUCCESS)
		return result;
	driver_lock();
	if (capture_refuse_event(event) != CUDA_SUCCESS)
		result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	else if (!context_hold_back(ctx, event->seq))
		result = CUDA_ERROR_OUT_OF_MEMORY;
	driver_unlock();
	return result;
}

CUresult cuCtxRecordEvent(CUcontext hCtx, CUevent hEvent)
{
	ENTER_SINCE(12050, cuCtxRecordEvent);
	const CUresult result = context_resolve(&hCtx);

	return result == CUDA_SUCCESS ? record(hCtx, hEvent) : result;
}

CUresult cuCtxWaitEvent(CUcontext hCtx, CUevent hEvent)
{
	ENTER_SINCE(12050, cuCtxWaitEvent);
	const CUresult result = context_resolve(&hCtx);

	return result == CUDA_SUCCESS ? wait_for(hCtx, hEvent) : result;
}

CUresult cuGreenCtxRecordEvent(CUgreenCtx hCtx, CUevent hEvent)
{
	ENTER_SINCE(12040, cuGreenCtxRecordEvent);
	const CUresult result = green_check(hCtx);

	return result == CUDA_SUCCESS ? record(hCtx->ctx, hEvent) : result;
}

CUresult cuGreenCtxWaitEvent(CUgreenCtx hCtx, CUevent hEvent)
{
	ENTER_SINCE(12040, cuGreenCtxWaitEvent);
	const CUresult result = green_check(hCtx);

	return result == CUDA_SUCCESS ? wait_for(hCtx->ctx, hEvent) : result;
}
