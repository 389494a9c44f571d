/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Order of work in streams, and events. The machine runs with slow at 60 ms a block.
 */
#include "../counters.h"
#include "test_support.h"

#include <pthread.h>

#define SLOW_MS 60.0f

/* The entry points of per-thread default streams. */
CUresult cuLaunchKernel_ptsz(CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
	unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY,
	unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream, void **kernelParams,
	void **extra);
CUresult cuStreamQuery_ptsz(CUstream hStream);
CUresult cuStreamSynchronize_ptsz(CUstream hStream);

struct streams {
	CUstream a, b;
	CUevent start, end;
};

static struct streams s;

static int create(unsigned flags)
{
	must(cuStreamCreate(&s.a, flags));
	must(cuStreamCreate(&s.b, flags));
	must(cuEventCreate(&s.start, CU_EVENT_DEFAULT));
	must(cuEventCreate(&s.end, CU_EVENT_DEFAULT));
	return 0;
}

static int create_blocking(void **state)
{
	(void)state;
	return create(CU_STREAM_DEFAULT);
}

static int create_free(void **state)
{
	(void)state;
	return create(CU_STREAM_NON_BLOCKING);
}

static int destroy(void **state)
{
	(void)state;
	must(cuCtxSynchronize());
	must(cuStreamDestroy(s.a));
	must(cuStreamDestroy(s.b));
	must(cuEventDestroy(s.start));
	must(cuEventDestroy(s.end));
	return 0;
}

static float elapsed_ms(void)
{
	float ms;

	must(cuEventSynchronize(s.end));
	must(cuEventElapsedTime(&ms, s.start, s.end));
	return ms;
}

static void events_carry_simulated_time(void **state)
{
	(void)state;
	must(cuEventRecord(s.start, s.a));
	must(launch_slow(s.a));
	must(launch_slow(s.a));
	must(cuEventRecord(s.end, s.a));

	/* Exact but for the moment between the record and the launch. */
	assert_true(elapsed_ms() >= 2 * SLOW_MS);
	assert_true(elapsed_ms() < 3 * SLOW_MS);
}

static void streams_overlap(void **state)
{
	(void)state;
	must(cuEventRecord(s.start, s.a));
	must(launch_slow(s.b));
	must(launch_slow(s.a));
	must(cuEventRecord(s.end, s.a));

	assert_true(elapsed_ms() < 2 * SLOW_MS);
}

static void a_stream_waits_for_an_event(void **state)
{
	CUevent middle;

	(void)state;
	must(cuEventCreate(&middle, CU_EVENT_DISABLE_TIMING));
	must(cuEventRecord(s.start, s.a));
	must(launch_slow(s.b));
	must(cuEventRecord(middle, s.b));
	must(cuStreamWaitEvent(s.a, middle, 0));
	must(cuEventDestroy(middle));
	must(launch_slow(s.a));
	must(cuEventRecord(s.end, s.a));

	assert_true(elapsed_ms() >= 2 * SLOW_MS);
}

static void the_legacy_stream_waits_and_is_waited_for(void **state)
{
	(void)state;
	must(cuEventRecord(s.start, s.a));
	must(launch_slow(s.a));
	must(launch_slow(NULL));
	must(launch_slow(s.b));
	must(cuEventRecord(s.end, s.b));

	assert_true(elapsed_ms() >= 3 * SLOW_MS);
}

static void non_blocking_streams_pass_the_legacy_stream(void **state)
{
	(void)state;
	must(cuEventRecord(s.start, s.a));
	must(launch_slow(NULL));
	must(launch_slow(s.a));
	must(cuEventRecord(s.end, s.a));

	assert_true(elapsed_ms() < 2 * SLOW_MS);
}

static void many_streams_are_joined_by_the_legacy_stream(void **state)
{
	CUstream many[120];
	CUdeviceptr counters;

	(void)state;
	must(cuMemAlloc(&counters, sizeof(int)));
	for (int i = 0; i < 120; i++)
		must(cuStreamCreate(&many[i], CU_STREAM_DEFAULT));
	for (int i = 0; i < 120; i++) {
		must(launch_slow(many[i]));
		must(launch_add(counters, 1, 1, many[i]));
	}
	/* Reads through the legacy stream: after all of them. */
	assert_int_equal(read_int(counters, 0), 120);
	for (int i = 0; i < 120; i++)
		must(cuStreamDestroy(many[i]));
	must(cuMemFree(counters));
}

static void queries_tell_whether_work_has_ended(void **state)
{
	float ms;

	(void)state;
	must(cuStreamQuery(s.a));
	must(cuEventQuery(s.end));
	must(launch_slow(s.a));
	must(cuEventRecord(s.end, s.a));
	assert_cuda(CUDA_ERROR_NOT_READY, cuStreamQuery(s.a));
	assert_cuda(CUDA_ERROR_NOT_READY, cuEventQuery(s.end));

	/* An event that was not recorded has no time. */
	assert_cuda(CUDA_ERROR_INVALID_HANDLE, cuEventElapsedTime(&ms, s.start, s.end));
	must(cuStreamSynchronize(s.a));
	must(cuEventQuery(s.end));
	must(cuStreamQuery(s.a));
}

static void events_without_timing_have_no_time(void **state)
{
	CUevent event;
	float ms;

	(void)state;
	must(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
	must(cuEventRecord(event, s.a));
	must(cuEventRecord(s.end, s.a));
	must(cuEventSynchronize(s.end));

	assert_cuda(CUDA_ERROR_INVALID_HANDLE, cuEventElapsedTime(&ms, event, s.end));
	must(cuEventDestroy(event));
	assert_cuda(CUDA_ERROR_INVALID_HANDLE, cuEventRecord(event, s.a));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuEventCreate(&event, CU_EVENT_INTERPROCESS));
}

static void note_result(void *user_data)
{
	CUdeviceptr address;

	*(int *)user_data = (int)cuMemAlloc(&address, 1);
}

static void host_functions_run_in_order_and_without_cuda(void **state)
{
	int result = -1;

	(void)state;
	must(launch_slow(s.a));
	must(cuLaunchHostFunc(s.a, note_result, &result));
	must(cuStreamSynchronize(s.a));

	assert_int_equal(result, CUDA_ERROR_NOT_PERMITTED);
}

static void note_stream(CUstream stream, CUresult status, void *user_data)
{
	CUstream *seen = user_data;

	*seen = status == CUDA_SUCCESS ? stream : NULL;
}

static void callbacks_are_told_their_stream(void **state)
{
	CUstream seen = NULL;

	(void)state;
	must(cuStreamAddCallback(s.a, note_stream, &seen, 0));
	must(cuStreamSynchronize(s.a));

	assert_ptr_equal(seen, s.a);
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuStreamAddCallback(s.a, note_stream, &seen, 1));
}

static void *use_own_default_stream(void *arg)
{
	CUresult *ret = arg;

	*ret = cuCtxSetCurrent(fixture.ctx);
	if (*ret == CUDA_SUCCESS)
		*ret = cuStreamQuery_ptsz(NULL);
	return NULL;
}

static void threads_have_default_streams_of_their_own(void **state)
{
	CUresult result = CUDA_ERROR_UNKNOWN;
	pthread_t thread;

	(void)state;
	must(cuLaunchKernel_ptsz(fixture.slow, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	assert_cuda(CUDA_ERROR_NOT_READY, cuStreamQuery(CU_STREAM_PER_THREAD));
	assert_int_equal(pthread_create(&thread, NULL, use_own_default_stream, &result), 0);
	pthread_join(thread, NULL);

	must(result);
	must(cuStreamSynchronize_ptsz(NULL));
	must(cuStreamQuery_ptsz(NULL));
}

static void async_copies_keep_the_order_of_their_stream(void **state)
{
	CUdeviceptr counters;
	int *host, pageable = 7;

	(void)state;
	must(cuMemHostAlloc((void **)&host, 2 * sizeof(int), 0));
	must(cuMemAlloc(&counters, sizeof(int)));
	must(launch_slow(s.a));
	must(cuMemcpyHtoDAsync(counters, &pageable, sizeof(int), s.a));
	pageable = 100; /* was staged */
	must(launch_add(counters, 5, 1, s.a));
	must(cuMemcpyDtoHAsync(host, counters, sizeof(int), s.a));
	assert_int_equal(host[0], 0);
	must(cuStreamSynchronize(s.a));

	assert_int_equal(host[0], 12);
	must(cuMemFree(counters));
	must(cuMemFreeHost(host));
}

static void streams_tell_what_they_are(void **state)
{
	CUstream stream;
	CUcontext ctx;
	unsigned flags;
	int priority, least, greatest;

	(void)state;
	must(cuCtxGetStreamPriorityRange(&least, &greatest));
	assert_int_equal(least, 0);
	must(cuStreamCreateWithPriority(&stream, CU_STREAM_NON_BLOCKING, -100));
	must(cuStreamGetPriority(stream, &priority));
	assert_int_equal(priority, greatest);
	must(cuStreamGetFlags(stream, &flags));
	assert_int_equal(flags, CU_STREAM_NON_BLOCKING);
	must(cuStreamGetCtx(stream, &ctx));
	assert_ptr_equal(ctx, fixture.ctx);

	must(cuStreamDestroy(stream));
	assert_cuda(CUDA_ERROR_INVALID_HANDLE, cuStreamDestroy(stream));
	assert_cuda(CUDA_ERROR_INVALID_HANDLE, cuStreamSynchronize(stream));
}

#define ON_FREE(test)     cmocka_unit_test_setup_teardown(test, create_free, destroy)
#define ON_BLOCKING(test) cmocka_unit_test_setup_teardown(test, create_blocking, destroy)

static void records_are_counted(void **state)
{
	const CUuuid uuid = {.bytes = SIMGPU_COUNTERS_UUID};
	const void *table;
	CUevent event;

	(void)state;
	must(cuGetExportTable(&table, &uuid));
	const struct simgpu_counters *counters = table;
	const uint64_t before = atomic_load(&counters->event_records);

	assert_int_equal(counters->size, sizeof(*counters));
	must(cuEventCreate(&event, 0));
	must(cuEventRecord(event, 0));
	must(cuEventRecordWithFlags(event, CU_STREAM_PER_THREAD, 0));
	must(cuEventDestroy(event));
	assert_int_equal(atomic_load(&counters->event_records), before + 2);
}

static void streams_need_no_current_context(void **state)
{
	CUcontext ctx;
	CUdeviceptr memory;

	(void)state;
	must(cuMemAlloc(&memory, 64));
	must(cuCtxPopCurrent(&ctx));
	assert_int_equal(cuMemsetD8Async(memory, 1, 64, NULL), CUDA_ERROR_INVALID_CONTEXT);
	assert_int_equal(
		cuMemsetD8Async(memory, 1, 64, CU_STREAM_PER_THREAD), CUDA_ERROR_INVALID_CONTEXT);
	must(cuMemsetD8Async(memory, 2, 64, s.a));
	must(cuStreamSynchronize(s.a));
	must(cuCtxPushCurrent(ctx));
	assert_int_equal(*(const unsigned char *)(uintptr_t)memory, 2);
	must(cuMemFree(memory));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_FREE(events_carry_simulated_time),
		ON_FREE(streams_overlap),
		ON_BLOCKING(streams_overlap),
		ON_FREE(a_stream_waits_for_an_event),
		ON_BLOCKING(the_legacy_stream_waits_and_is_waited_for),
		ON_FREE(non_blocking_streams_pass_the_legacy_stream),
		cmocka_unit_test(many_streams_are_joined_by_the_legacy_stream),
		ON_FREE(queries_tell_whether_work_has_ended),
		ON_FREE(events_without_timing_have_no_time),
		ON_FREE(host_functions_run_in_order_and_without_cuda),
		ON_FREE(callbacks_are_told_their_stream),
		cmocka_unit_test(threads_have_default_streams_of_their_own),
		ON_FREE(async_copies_keep_the_order_of_their_stream),
		cmocka_unit_test(streams_tell_what_they_are),
		cmocka_unit_test(records_are_counted),
		ON_FREE(streams_need_no_current_context),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
