/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Entry points of streams, but for capture.
 */
#include <string.h>

#include "capture.h"
#include "context.h"
#include "entry.h"
#include "event.h"
#include "pool.h"
#include "stream.h"
#include "work.h"

#define GREATEST_PRIORITY (-5)

static CUresult create(CUstream *phStream, unsigned flags, int priority)
{
	CUcontext ctx;

	if (!phStream || (flags & ~(unsigned)CU_STREAM_NON_BLOCKING))
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = context_current(&ctx);

	if (result != CUDA_SUCCESS)
		return result;
	if (priority > 0)
		priority = 0;
	if (priority < GREATEST_PRIORITY)
		priority = GREATEST_PRIORITY;
	driver_lock();
	CUstream stream = stream_create_in(ctx, flags, priority);

	driver_unlock();
	if (!stream)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*phStream = stream;
	return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream *phStream, unsigned int Flags)
{
	ENTER(cuStreamCreate);
	return create(phStream, Flags, 0);
}

CUresult cuStreamCreateWithPriority(CUstream *phStream, unsigned int flags, int priority)
{
	ENTER(cuStreamCreateWithPriority);
	return create(phStream, flags, priority);
}

static CUresult destroy(CUstream handle)
{
	if (!handle_is(handle, HANDLE_STREAM))
		return CUDA_ERROR_INVALID_HANDLE;
	if (handle->is_orphan)
		return CUDA_ERROR_CONTEXT_IS_DESTROYED;
	driver_lock();
	const bool is_default = handle == handle->ctx->legacy || handle->owner;

	if (!is_default)
		stream_destroy_in(handle);
	driver_unlock();
	return is_default ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}

CUresult cuStreamDestroy(CUstream hStream)
{
	ENTER(cuStreamDestroy);
	return destroy(hStream);
}

CUresult cuStreamDestroy_v2(CUstream hStream)
{
	ENTER(cuStreamDestroy_v2);
	return destroy(hStream);
}

/* Lists what has to end before `handle` is idle. Captured streams cannot be asked. */
static CUresult collect(CUstream handle, enum stream_default meaning, struct deps *deps)
{
	CUstream stream;

	driver_lock();
	CUresult result = stream_resolve(handle, meaning, &stream);

	if (result == CUDA_SUCCESS)
		result = capture_refuse_stream(stream);
	if (result == CUDA_SUCCESS && stream == stream->ctx->legacy)
		result = capture_refuse_legacy(stream->ctx);
	if (result == CUDA_SUCCESS) {
		const bool complete = stream == stream->ctx->legacy
					      ? stream_collect_deps(stream, deps)
					      : deps_add(deps, stream->last) &&
							deps_add_all(deps, &stream->waits);

		if (!complete)
			result = CUDA_ERROR_OUT_OF_MEMORY;
	}
	driver_unlock();
	return result;
}

static CUresult query(CUstream handle, enum stream_default meaning)
{
	struct deps deps = {0};
	CUresult result = collect(handle, meaning, &deps);

	/* What has ended is not listed. */
	if (result == CUDA_SUCCESS && deps.count)
		result = CUDA_ERROR_NOT_READY;
	deps_clear(&deps);
	return result;
}

CUresult cuStreamQuery(CUstream hStream)
{
	ENTER_OR_NULL(cuStreamQuery, CUDA_SUCCESS);
	return query(hStream, STREAM_LEGACY);
}

CUresult cuStreamQuery_ptsz(CUstream hStream)
{
	ENTER_OR_NULL(cuStreamQuery_ptsz, CUDA_SUCCESS);
	return query(hStream, STREAM_PER_THREAD);
}

static CUresult synchronize(CUstream handle, enum stream_default meaning)
{
	struct deps deps = {0};
	CUresult result = collect(handle, meaning, &deps);

	if (result == CUDA_SUCCESS)
		result = ops_wait_all(&deps);
	deps_clear(&deps);
	pools_release_excess();
	return result;
}

CUresult cuStreamSynchronize(CUstream hStream)
{
	ENTER_OR_NULL(cuStreamSynchronize, CUDA_SUCCESS);
	return synchronize(hStream, STREAM_LEGACY);
}

CUresult cuStreamSynchronize_ptsz(CUstream hStream)
{
	ENTER_OR_NULL(cuStreamSynchronize_ptsz, CUDA_SUCCESS);
	return synchronize(hStream, STREAM_PER_THREAD);
}

static CUresult wait_event(
	CUstream handle, enum stream_default meaning, CUevent event, unsigned flags)
{
	CUstream stream;

	if (flags & ~(unsigned)CU_EVENT_WAIT_EXTERNAL)
		return CUDA_ERROR_INVALID_VALUE;
	if (!handle_is(event, HANDLE_EVENT))
		return CUDA_ERROR_INVALID_HANDLE;
	driver_lock();
	CUresult result = stream_resolve(handle, meaning, &stream);

	if (result == CUDA_SUCCESS && stream == stream->ctx->legacy)
		result = capture_refuse_legacy(stream->ctx);
	if (result == CUDA_SUCCESS && (stream->capture || event->capture_id))
		result = capture_wait(stream, event, flags & CU_EVENT_WAIT_EXTERNAL);
	else if (result == CUDA_SUCCESS && !deps_add(&stream->waits, event->seq))
		result = CUDA_ERROR_OUT_OF_MEMORY;
	driver_unlock();
	return result;
}

CUresult cuStreamWaitEvent(CUstream hStream, CUevent hEvent, unsigned int Flags)
{
	ENTER_OR_NULL(cuStreamWaitEvent, CUDA_SUCCESS);
	return wait_event(hStream, STREAM_LEGACY, hEvent, Flags);
}

CUresult cuStreamWaitEvent_ptsz(CUstream hStream, CUevent hEvent, unsigned int Flags)
{
	ENTER_OR_NULL(cuStreamWaitEvent_ptsz, CUDA_SUCCESS);
	return wait_event(hStream, STREAM_PER_THREAD, hEvent, Flags);
}

static CUresult add_callback(CUstream handle, enum stream_default meaning,
	CUstreamCallback callback, void *user_data, unsigned flags)
{
	struct work *work = work_create(WORK_CALLBACK);
	CUstream stream;

	if (!callback || flags || !work) {
		work_unref(work);
		return work ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_OUT_OF_MEMORY;
	}
	work->callback.function = callback;
	work->callback.stream = handle;
	work->callback.user_data = user_data;
	driver_lock();
	CUresult result = stream_resolve(handle, meaning, &stream);

	if (result == CUDA_SUCCESS)
		result = capture_refuse_stream(stream);
	if (result == CUDA_SUCCESS)
		result = stream_submit(stream, work, NULL);
	driver_unlock();
	work_unref(work);
	return result;
}

CUresult cuStreamAddCallback(
	CUstream hStream, CUstreamCallback callback, void *userData, unsigned int flags)
{
	ENTER_OR_NULL(cuStreamAddCallback, CUDA_SUCCESS);
	return add_callback(hStream, STREAM_LEGACY, callback, userData, flags);
}

CUresult cuStreamAddCallback_ptsz(
	CUstream hStream, CUstreamCallback callback, void *userData, unsigned int flags)
{
	ENTER_OR_NULL(cuStreamAddCallback_ptsz, CUDA_SUCCESS);
	return add_callback(hStream, STREAM_PER_THREAD, callback, userData, flags);
}

static CUresult launch_host(
	CUstream handle, enum stream_default meaning, CUhostFn fn, void *user_data)
{
	if (!fn)
		return CUDA_ERROR_INVALID_VALUE;
	struct work *work = work_create(WORK_HOST);

	if (work) {
		work->host.function = fn;
		work->host.user_data = user_data;
	}
	return stream_put(handle, meaning, work);
}

CUresult cuLaunchHostFunc(CUstream hStream, CUhostFn fn, void *userData)
{
	ENTER_OR_NULL(cuLaunchHostFunc, CUDA_SUCCESS);
	return launch_host(hStream, STREAM_LEGACY, fn, userData);
}

CUresult cuLaunchHostFunc_ptsz(CUstream hStream, CUhostFn fn, void *userData)
{
	ENTER_OR_NULL(cuLaunchHostFunc_ptsz, CUDA_SUCCESS);
	return launch_host(hStream, STREAM_PER_THREAD, fn, userData);
}

/* Managed memory is visible everywhere always, so that this is a point in the stream. The legacy
 * stream is nobody's alone. */
static CUresult attach(CUstream handle, enum stream_default meaning, unsigned flags)
{
	const bool is_legacy = handle == CU_STREAM_LEGACY || (!handle && meaning == STREAM_LEGACY);

	if (flags == CU_MEM_ATTACH_SINGLE && is_legacy)
		return CUDA_ERROR_INVALID_VALUE;
	return stream_put(handle, meaning, work_create(WORK_EMPTY));
}

CUresult cuStreamAttachMemAsync(
	CUstream hStream, CUdeviceptr dptr, size_t length, unsigned int flags)
{
	(void)dptr, (void)length;
	ENTER_OR_NULL(cuStreamAttachMemAsync, CUDA_SUCCESS);
	return attach(hStream, STREAM_LEGACY, flags);
}

CUresult cuStreamAttachMemAsync_ptsz(
	CUstream hStream, CUdeviceptr dptr, size_t length, unsigned int flags)
{
	(void)dptr, (void)length;
	ENTER_OR_NULL(cuStreamAttachMemAsync_ptsz, CUDA_SUCCESS);
	return attach(hStream, STREAM_PER_THREAD, flags);
}
