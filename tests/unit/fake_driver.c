/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "fake_driver.h"
#include "base/clock.h"
#include "governor/busy.h"
#include "slice/slice.h"
#include "slice/watch.h"

#include <linux/futex.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct CUevent_st {
	struct CUevent_st
		*older; /* of all that were ever made: none is freed before the next reset */
	CUcontext context;
	uint64_t at_ns;
	bool is_recorded, is_destroyed;
};

struct driver driver;
struct fake fake;

static uint64_t stream_free_at_ns[FAKE_STREAMS];
static uint64_t device_free_at_ns, last_end_ns;
static struct busy covered; /* the governor's own arithmetic, which has tests of its own */
static bool is_context_destroyed[FAKE_CONTEXTS];
static CUevent newest_event;

/* The clock of the whole test program. It takes the place of libc's, so that the governor runs in
 * virtual time as it is. */
int clock_gettime(clockid_t clock, struct timespec *ret_now)
{
	(void)clock;
	ret_now->tv_sec = (time_t)(fake.now_ns / NS_PER_S);
	ret_now->tv_nsec = (long)(fake.now_ns % NS_PER_S);
	return 0;
}

/* Sleeps come as the bare system call, or as a futex that nobody wakes; no other is made here. */
long syscall(long number, ...)
{
	const struct timespec *span;
	va_list args;

	va_start(args, number);
	if (number == SYS_futex) {
		va_arg(args, void *);
		if (va_arg(args, int) != FUTEX_WAIT_PRIVATE)
			abort();
		va_arg(args, unsigned);
	} else if (number != SYS_nanosleep) {
		abort();
	}
	span = va_arg(args, const struct timespec *);
	va_end(args);
	uint64_t ns = (uint64_t)span->tv_sec * NS_PER_S + (uint64_t)span->tv_nsec + fake.late_ns;
	fake.now_ns += ns;
	fake.slept_ns += ns;
	if (fake.on_sleep != NULL)
		fake.on_sleep();
	return 0;
}

_Atomic unsigned slice_device_count;
atomic_bool watch_has_news;

void watch_tell_news(void)
{
	atomic_store(&watch_has_news, false);
}

bool slice_exists_unknown(CUdevice device)
{
	return device == 0 || device == 1;
}

CUstream fake_stream(unsigned i)
{
	return i == 0 ? NULL : (CUstream)(uintptr_t)(0x1000 + i);
}

CUcontext fake_context(unsigned i)
{
	return (CUcontext)(uintptr_t)(0x2000 + i);
}

static unsigned stream_index(CUstream stream)
{
	if (stream == NULL || stream == CU_STREAM_LEGACY || stream == CU_STREAM_PER_THREAD)
		return 0;
	return (unsigned)((uintptr_t)stream - 0x1000);
}

static void note_event_call(CUevent event)
{
	fake.event_calls++;
	if (fake.capture_mode != CU_STREAM_CAPTURE_MODE_RELAXED)
		fake.violations++;
	if (event != NULL &&
		(event->is_destroyed || is_context_destroyed[(uintptr_t)event->context - 0x2000]))
		fake.violations++;
}

static CUresult ctx_get_device(CUdevice *ret_device)
{
	*ret_device = fake.device;
	return fake.context != NULL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

static CUresult ctx_get_current(CUcontext *ret_context)
{
	*ret_context = fake.context;
	return CUDA_SUCCESS;
}

static CUcontext pushed_over;

static CUresult ctx_push(CUcontext context)
{
	pushed_over = fake.context;
	fake.context = context;
	return CUDA_SUCCESS;
}

static CUresult ctx_pop(CUcontext *ret_context)
{
	*ret_context = fake.context;
	fake.context = pushed_over;
	return CUDA_SUCCESS;
}

static CUresult stream_get_ctx(CUstream stream, CUcontext *ret_context)
{
	*ret_context = stream != NULL && fake.home != NULL ? fake.home : fake.context;
	return *ret_context != NULL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

/* As drivers before CUDA 12.5. */
static CUresult stream_get_contexts(CUstream stream, CUcontext *ret_context, CUgreenCtx *ret_green)
{
	(void)stream;
	(void)ret_context;
	(void)ret_green;
	return CUDA_ERROR_NOT_SUPPORTED;
}

static CUresult stream_is_capturing(CUstream stream, CUstreamCaptureStatus *ret_status)
{
	(void)stream;
	*ret_status = fake.capturing;
	return fake.is_capturing_result;
}

static CUresult stream_query(CUstream stream)
{
	note_event_call(NULL);
	return stream_free_at_ns[stream_index(stream)] <= fake.now_ns ? CUDA_SUCCESS
								      : CUDA_ERROR_NOT_READY;
}

static CUresult exchange_mode(CUstreamCaptureMode *mode)
{
	CUstreamCaptureMode old = fake.capture_mode;

	fake.capture_mode = *mode;
	*mode = old;
	return CUDA_SUCCESS;
}

static CUresult event_create(CUevent *ret_event, unsigned int flags)
{
	(void)flags;
	note_event_call(NULL);
	if (fake.create_result != CUDA_SUCCESS)
		return fake.create_result;
	CUevent event = calloc(1, sizeof(*event));
	if (event == NULL)
		abort();
	event->context = fake.context;
	event->older = newest_event;
	newest_event = event;
	fake.events_alive++;
	*ret_event = event;
	return CUDA_SUCCESS;
}

static CUresult event_destroy(CUevent event)
{
	note_event_call(event);
	event->is_destroyed = true;
	fake.events_alive--;
	return CUDA_SUCCESS;
}

static CUresult event_record(CUevent event, CUstream stream)
{
	uint64_t free_at_ns = stream_free_at_ns[stream_index(stream)];

	note_event_call(event);
	if (fake.record_result != CUDA_SUCCESS)
		return fake.record_result;
	event->at_ns = free_at_ns > fake.now_ns ? free_at_ns : fake.now_ns;
	event->is_recorded = true;
	return CUDA_SUCCESS;
}

static CUresult event_query(CUevent event)
{
	note_event_call(event);
	if (fake.on_query != NULL)
		fake.on_query();
	if (fake.query_result != CUDA_SUCCESS)
		return fake.query_result;
	return event->at_ns <= fake.now_ns ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

static CUresult event_elapsed(float *ret_ms, CUevent from, CUevent to)
{
	note_event_call(from);
	note_event_call(to);
	if (!from->is_recorded || !to->is_recorded || from->context != to->context)
		return CUDA_ERROR_INVALID_HANDLE;
	*ret_ms = (float)((double)((int64_t)to->at_ns - (int64_t)from->at_ns) / 1e6);
	return CUDA_SUCCESS;
}

static void free_events(void)
{
	while (newest_event != NULL) {
		CUevent event = newest_event;
		newest_event = event->older;
		free(event);
	}
}

void fake_reset(void)
{
	free_events();
	fake = (struct fake){.now_ns = 1000 * NS_PER_S, .context = fake_context(0)};
	for (unsigned i = 0; i < FAKE_STREAMS; i++)
		stream_free_at_ns[i] = 0;
	device_free_at_ns = last_end_ns = 0;
	covered = (struct busy){0};
	for (unsigned i = 0; i < FAKE_CONTEXTS; i++)
		is_context_destroyed[i] = false;
	driver = (struct driver){
		.cuCtxGetDevice = ctx_get_device,
		.cuCtxGetCurrent = ctx_get_current,
		.cuCtxPushCurrent_v2 = ctx_push,
		.cuCtxPopCurrent_v2 = ctx_pop,
		.cuStreamGetCtx = stream_get_ctx,
		.cuStreamGetCtx_v2 = stream_get_contexts,
		.cuStreamIsCapturing = stream_is_capturing,
		.cuStreamQuery = stream_query,
		.cuThreadExchangeStreamCaptureMode = exchange_mode,
		.cuEventCreate = event_create,
		.cuEventDestroy_v2 = event_destroy,
		.cuEventRecord = event_record,
		.cuEventQuery = event_query,
		.cuEventElapsedTime = event_elapsed,
	};
}

void fake_launch(CUstream stream, uint64_t length_ns)
{
	uint64_t *free_at_ns = &stream_free_at_ns[stream_index(stream)];

	if (*free_at_ns < fake.now_ns)
		*free_at_ns = fake.now_ns;
	if (fake.is_serial && *free_at_ns < device_free_at_ns)
		*free_at_ns = device_free_at_ns;
	fake.covered_ns +=
		busy_add(&covered, (int64_t)*free_at_ns, (int64_t)(*free_at_ns + length_ns));
	if (last_end_ns != 0 && *free_at_ns > last_end_ns + fake.idle_ns)
		fake.idle_ns = *free_at_ns - last_end_ns;
	*free_at_ns += length_ns;
	if (*free_at_ns > last_end_ns)
		last_end_ns = *free_at_ns;
	device_free_at_ns = *free_at_ns;
	fake.run_ns += length_ns;
	fake.now_ns += fake.host_ns;
}

void fake_synchronize(CUstream stream)
{
	uint64_t free_at_ns = stream_free_at_ns[stream_index(stream)];

	if (fake.now_ns < free_at_ns)
		fake.now_ns = free_at_ns;
}

void fake_wait_for_backlog(CUstream stream, uint64_t ns)
{
	uint64_t free_at_ns = stream_free_at_ns[stream_index(stream)];

	if (fake.now_ns + ns < free_at_ns)
		fake.now_ns = free_at_ns - ns;
}

void fake_pass(uint64_t ns)
{
	fake.now_ns += ns;
}

void fake_destroy_context(CUcontext context)
{
	is_context_destroyed[(uintptr_t)context - 0x2000] = true;
}
