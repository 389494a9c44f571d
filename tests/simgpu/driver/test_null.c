/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Null mode: everything answers at once, without a machine.
 */
#include "../counters.h"
#include "test_support.h"

#include <pthread.h>
#include <stdlib.h>

static int setup(void **state)
{
	setenv("SIMGPU_NULL", "1", 1);
	unsetenv("SIMGPU_DIR");
	return fixture_setup(state);
}

static int compare(const void *a, const void *b)
{
	const CUdeviceptr left = *(const CUdeviceptr *)a, right = *(const CUdeviceptr *)b;

	return left < right ? -1 : left > right;
}

#define PER_THREAD_ALLOCATIONS 20000
#define THREADS                4

static CUdeviceptr addresses[THREADS][PER_THREAD_ALLOCATIONS];

static size_t size_of(size_t index)
{
	return index % 3 == 0 ? (size_t)5 << 20 : 4096;
}

static void *allocate(void *arg)
{
	CUdeviceptr *own = arg;

	for (size_t i = 0; i < PER_THREAD_ALLOCATIONS; i++) {
		if (cuMemAlloc(&own[i], size_of(i)) != CUDA_SUCCESS)
			return arg;
	}
	return NULL;
}

static void allocations_of_many_threads_do_not_overlap(void **state)
{
	pthread_t threads[THREADS];
	CUdeviceptr *all = &addresses[0][0];

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, allocate, addresses[i]), 0);
	for (int i = 0; i < THREADS; i++) {
		void *failed;

		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	qsort(all, THREADS * PER_THREAD_ALLOCATIONS, sizeof(*all), compare);
	for (size_t i = 1; i < THREADS * PER_THREAD_ALLOCATIONS; i++)
		assert_true(all[i] - all[i - 1] >= (size_t)2 << 20);
	for (size_t i = 0; i < THREADS * PER_THREAD_ALLOCATIONS; i++)
		must(cuMemFree(all[i]));
}

static void what_was_freed_last_comes_first(void **state)
{
	CUdeviceptr one, two, again, large;

	(void)state;
	must(cuMemAlloc(&one, 100));
	must(cuMemAlloc(&two, 200));
	must(cuMemAlloc(&large, (size_t)1 << 30));
	must(cuMemFree(one));
	must(cuMemFree(two));
	must(cuMemFree(large));
	must(cuMemAlloc(&again, 300));
	assert_int_equal(again, two);
	must(cuMemAlloc(&again, 300));
	assert_int_equal(again, one);
	must(cuMemAlloc(&again, (size_t)900 << 20));
	assert_int_equal(again, large);

	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemAlloc(&again, 0));
	assert_cuda(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc(&again, SIZE_MAX));
}

static void work_is_accepted_and_done(void **state)
{
	const CUuuid uuid = {.bytes = SIMGPU_COUNTERS_UUID};
	const struct simgpu_counters *counters;
	CUdeviceptr address;
	CUevent start, end;
	CUstreamCaptureStatus status;
	CUgraphExec exec;
	CUgraph graph;
	CUstream stream;
	char buffer[64];
	size_t available, total;
	float ms;

	(void)state;
	must(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	must(cuEventCreate(&start, 0));
	must(cuEventCreate(&end, 0));
	must(cuMemAlloc(&address, 64));
	must(cuMemcpyHtoD(address, buffer, 64));
	must(cuMemsetD8Async(address, 0, 64, stream));
	must(cuEventRecord(start, stream));
	must(launch_add(address, 1, 1, stream));
	must(cuEventRecord(end, stream));
	must(cuEventQuery(end));
	must(cuEventElapsedTime(&ms, start, end));
	assert_true(ms == 0.0f);
	must(cuGetExportTable((const void **)&counters, &uuid));
	assert_int_equal(atomic_load(&counters->event_records), 2);
	must(cuStreamQuery(stream));
	must(cuStreamIsCapturing(stream, &status));
	assert_int_equal(status, CU_STREAM_CAPTURE_STATUS_NONE);
	must(cuMemGetInfo(&available, &total));
	assert_true(available <= total);
	must(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
	must(cuStreamEndCapture(stream, &graph));
	must(cuGraphInstantiate(&exec, graph, 0));
	must(cuGraphLaunch(exec, stream));
	must(cuStreamSynchronize(stream));
	must(cuCtxSynchronize());
	must(cuGraphExecDestroy(exec));
	must(cuGraphDestroy(graph));
	must(cuMemFree(address));
	must(cuEventDestroy(start));
	must(cuEventDestroy(end));
	must(cuStreamDestroy(stream));
}

static void functions_of_any_name_exist(void **state)
{
	CUfunction function;
	int threads;

	(void)state;
	must(cuModuleGetFunction(&function, fixture.module, "whatever"));
	must(cuFuncGetAttribute(&threads, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, function));
	assert_int_equal(threads, 1024);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(allocations_of_many_threads_do_not_overlap),
		cmocka_unit_test(what_was_freed_last_comes_first),
		cmocka_unit_test(work_is_accepted_and_done),
		cmocka_unit_test(functions_of_any_name_exist),
	};

	return cmocka_run_group_tests(tests, setup, fixture_teardown);
}
