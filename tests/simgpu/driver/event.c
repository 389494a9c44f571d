/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Events and their entry points.
 */
#include "event.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "capture.h"
#include "context.h"
#include "entry.h"
#include "pool.h"
#include "work.h"

#define EVENT_FLAGS (CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS)

struct simgpu_counters event_counters = {.size = sizeof(event_counters)};

void event_ref(CUevent event)
{
	atomic_fetch_add_explicit(&event->refs, 1, memory_order_relaxed);
}

void event_unref(CUevent event)
{
	/* Release and acquire: the last one sees what all others did with the event. */
	if (atomic_fetch_sub_explicit(&event->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(event->nodes.nodes);
	handle_recycle(&event->handle, HANDLE_EVENT);
}

void event_happened(CUevent event, uint64_t seq, uint64_t time_ns)
{
	/* An older record may be reached later, by another stream: the newest one counts. */
	if (seq < atomic_load_explicit(&event->time_seq, memory_order_relaxed))
		return;
	atomic_store_explicit(&event->time_ns, time_ns, memory_order_relaxed);
	atomic_store_explicit(&event->time_seq, seq, memory_order_relaxed);
}

CUresult cuEventCreate(CUevent *phEvent, unsigned int Flags)
{
	CUcontext ctx;

	ENTER(cuEventCreate);
	const bool lacks_disable_timing =
		(Flags & CU_EVENT_INTERPROCESS) && !(Flags & CU_EVENT_DISABLE_TIMING);

	if (!phEvent || (Flags & ~(unsigned)EVENT_FLAGS) || lacks_disable_timing)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = context_current_home(&ctx);

	if (result != CUDA_SUCCESS)
		return result;
	CUevent event = handle_create(HANDLE_EVENT, sizeof(*event));

	if (!event)
		return CUDA_ERROR_OUT_OF_MEMORY;
	atomic_store_explicit(&event->refs, 1, memory_order_relaxed);
	event->ctx = ctx;
	event->flags = Flags;
	*phEvent = event;
	return CUDA_SUCCESS;
}

static CUresult destroy(CUevent event)
{
	if (!handle_is(event, HANDLE_EVENT))
		return CUDA_ERROR_INVALID_HANDLE;
	handle_retire(&event->handle);
	event_unref(event);
	return CUDA_SUCCESS;
}

CUresult cuEventDestroy(CUevent hEvent)
{
	ENTER(cuEventDestroy);
	return destroy(hEvent);
}

CUresult cuEventDestroy_v2(CUevent hEvent)
{
	ENTER(cuEventDestroy_v2);
	return destroy(hEvent);
}

CUresult event_record_in(CUevent event, CUstream stream, bool is_external)
{
	uint64_t seq;

	if (stream->capture)
		return capture_record(stream, event, is_external);
	struct work *work = work_create(WORK_EVENT);

	if (!work)
		return CUDA_ERROR_OUT_OF_MEMORY;
	work->event = event;
	event_ref(event);
	const CUresult result = stream_submit(stream, work, &seq);

	if (result == CUDA_SUCCESS) {
		event->seq = seq;
		event->capture_id = 0;
	}
	work_unref(work);
	return result;
}

static void count_record(void)
{
	atomic_fetch_add_explicit(&event_counters.event_records, 1, memory_order_relaxed);
}

static CUresult null_record(void)
{
	count_record();
	return CUDA_SUCCESS;
}

static CUresult record(CUevent event, CUstream handle, enum stream_default meaning, unsigned flags)
{
	CUstream stream;

	count_record();
	if (flags & ~(unsigned)CU_EVENT_RECORD_EXTERNAL)
		return CUDA_ERROR_INVALID_VALUE;
	if (!handle_is(event, HANDLE_EVENT))
		return CUDA_ERROR_INVALID_HANDLE;
	driver_lock();
	CUresult result = stream_resolve(handle, meaning, &stream);

	if (result == CUDA_SUCCESS && context_home(stream->ctx) != event->ctx)
		result = CUDA_ERROR_INVALID_HANDLE;
	if (result == CUDA_SUCCESS)
		result = event_record_in(event, stream, flags & CU_EVENT_RECORD_EXTERNAL);
	driver_unlock();
	return result;
}

CUresult cuEventRecord(CUevent hEvent, CUstream hStream)
{
	ENTER_OR_NULL(cuEventRecord, null_record());
	return record(hEvent, hStream, STREAM_LEGACY, 0);
}

CUresult cuEventRecord_ptsz(CUevent hEvent, CUstream hStream)
{
	ENTER_OR_NULL(cuEventRecord_ptsz, null_record());
	return record(hEvent, hStream, STREAM_PER_THREAD, 0);
}

CUresult cuEventRecordWithFlags(CUevent hEvent, CUstream hStream, unsigned int flags)
{
	ENTER_OR_NULL(cuEventRecordWithFlags, null_record());
	return record(hEvent, hStream, STREAM_LEGACY, flags);
}

CUresult cuEventRecordWithFlags_ptsz(CUevent hEvent, CUstream hStream, unsigned int flags)
{
	ENTER_OR_NULL(cuEventRecordWithFlags_ptsz, null_record());
	return record(hEvent, hStream, STREAM_PER_THREAD, flags);
}

/* Finds the operation that `event` waits for now. */
static CUresult operation_of(CUevent event, uint64_t *ret_seq)
{
	if (!handle_is(event, HANDLE_EVENT))
		return CUDA_ERROR_INVALID_HANDLE;
	driver_lock();
	const CUresult result = capture_refuse_event(event);

	*ret_seq = event->seq;
	driver_unlock();
	return result;
}

CUresult cuEventQuery(CUevent hEvent)
{
	uint64_t seq;

	ENTER_OR_NULL(cuEventQuery, CUDA_SUCCESS);
	const CUresult result = operation_of(hEvent, &seq);

	if (result != CUDA_SUCCESS)
		return result;
	return ops_has_ended(seq) ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

CUresult cuEventSynchronize(CUevent hEvent)
{
	CUcontext ctx;
	uint64_t seq;

	ENTER_OR_NULL(cuEventSynchronize, CUDA_SUCCESS);
	if (context_current(&ctx) == CUDA_ERROR_NOT_PERMITTED)
		return CUDA_ERROR_NOT_PERMITTED;
	CUresult result = operation_of(hEvent, &seq);

	if (result == CUDA_SUCCESS)
		result = ops_wait(seq);
	pools_release_excess();
	return result;
}

static CUresult elapsed(float *ret_ms, CUevent start, CUevent end)
{
	uint64_t start_seq, end_seq;

	if (!ret_ms)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult result = operation_of(start, &start_seq);

	if (result == CUDA_SUCCESS)
		result = operation_of(end, &end_seq);
	if (result != CUDA_SUCCESS)
		return result;
	if (((start->flags | end->flags) & CU_EVENT_DISABLE_TIMING) || !start_seq || !end_seq)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!ops_has_ended(start_seq) || !ops_has_ended(end_seq))
		return CUDA_ERROR_NOT_READY;
	const int64_t ns = (int64_t)(atomic_load_explicit(&end->time_ns, memory_order_relaxed) -
				     atomic_load_explicit(&start->time_ns, memory_order_relaxed));

	*ret_ms = (float)((double)ns / 1e6);
	return CUDA_SUCCESS;
}

static CUresult null_elapsed(float *ret_ms)
{
	*ret_ms = 0.0f;
	return CUDA_SUCCESS;
}

CUresult cuEventElapsedTime(float *pMilliseconds, CUevent hStart, CUevent hEnd)
{
	ENTER_OR_NULL(cuEventElapsedTime, null_elapsed(pMilliseconds));
	return elapsed(pMilliseconds, hStart, hEnd);
}

CUresult cuEventElapsedTime_v2(float *pMilliseconds, CUevent hStart, CUevent hEnd)
{
	ENTER_OR_NULL(cuEventElapsedTime_v2, null_elapsed(pMilliseconds));
	return elapsed(pMilliseconds, hStart, hEnd);
}
