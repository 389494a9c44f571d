/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Many threads at once: allocations, launches, events and streams that come and go.
 */
#include "test_support.h"

#include <pthread.h>
#include <stdio.h>

#define THREADS 8
#define ROUNDS  200

#define TRY(call)                                                         \
	do {                                                              \
		const CUresult result_ = (call);                          \
		if (result_ != CUDA_SUCCESS) {                            \
			fprintf(stderr, "%s: %d\n", #call, (int)result_); \
			return (void *)#call;                             \
		}                                                         \
	} while (0)

/* Adds up in device memory what it launches, and checks the sum. */
static void *work(void *arg)
{
	CUdeviceptr counter;
	CUstream stream;
	CUevent event;
	int sum = 0;

	(void)arg;
	TRY(cuCtxSetCurrent(fixture.ctx));
	TRY(cuMemAlloc(&counter, sizeof(int)));
	for (int i = 0; i < ROUNDS; i++) {
		CUdeviceptr other;

		TRY(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
		TRY(cuEventCreate(&event, CU_EVENT_DEFAULT));
		TRY(launch_add(counter, i, 1, stream));
		TRY(cuMemAlloc(&other, (size_t)i * 100 + 1));
		TRY(cuEventRecord(event, stream));
		TRY(cuStreamDestroy(stream));
		TRY(launch_add(counter + 0, 0, 1, CU_STREAM_PER_THREAD));
		TRY(cuMemFree(other));
		TRY(cuEventSynchronize(event));
		TRY(cuEventDestroy(event));
	}
	TRY(cuMemcpyDtoH(&sum, counter, sizeof(sum)));
	TRY(cuMemFree(counter));
	return sum == ROUNDS * (ROUNDS - 1) / 2 ? NULL : (void *)"the sum";
}

static void threads_do_not_disturb_each_other(void **state)
{
	pthread_t threads[THREADS];

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, work, NULL), 0);
	for (int i = 0; i < THREADS; i++) {
		void *failed;

		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_do_not_disturb_each_other),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
