/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The ways in which work leaves its green context, each switched on while the machine runs; and
 * kernels that the memory slows down.
 */
#include "test_census.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static const char parallel_ptx[] = ".version 7.0\n"
				   ".target sm_75\n"
				   ".address_size 64\n"
				   ".extern .func (.param .b32 result) cudaLaunchDeviceV2\n"
				   "(.param .b64 a, .param .b64 b);\n"
				   ".visible .entry parent()\n"
				   "{\n"
				   "	ret;\n"
				   "}\n";

static void switch_on(const char *leak)
{
	char command[512];

	snprintf(command, sizeof(command), SIMGPU_COMMAND " set leak=%s", leak);
	assert_int_equal(system(command), 0);
}

/* Launches in a stream of a green context and expects it on SMs 8 to 15, and 130 and 131. */
static void expect_extra(bool has_extra, CUstream stream)
{
	uint64_t words[CENSUS_SM_WORDS];

	census_clear();
	must(census_launch(CENSUS_SMS, stream));
	must(cuCtxSynchronize());
	must(cuMemcpyDtoH(words, census.bits, sizeof(words)));
	assert_int_equal(words[0], 0xff00);
	assert_int_equal(words[1], 0);
	assert_int_equal(words[2], has_extra ? 0xc : 0);
}

static void module_with_parallelism_gives_two_more_sms(void **state)
{
	CUgreenCtx green = green_of(8, 1);
	CUstream stream;
	CUmodule module;

	(void)state;
	must(cuGreenCtxStreamCreate(&stream, green, CU_STREAM_NON_BLOCKING, 0));
	switch_on("cdp");
	expect_extra(false, stream);
	must(cuModuleLoadData(&module, parallel_ptx));
	expect_extra(true, stream);
	must(cuModuleUnload(module));
	expect_extra(true, stream);
	switch_on("none");
	expect_extra(false, stream);
	must(cuStreamDestroy(stream));
	must(cuGreenCtxDestroy(green));
}

static void null_stream_leaks_alone(void **state)
{
	CUgreenCtx green = green_of(8, 1);
	CUstream stream;

	(void)state;
	must(cuGreenCtxStreamCreate(&stream, green, CU_STREAM_NON_BLOCKING, 0));
	switch_on("null_stream");
	must(cuCtxPushCurrent(context_of(green)));
	census_clear();
	must(census_launch(CENSUS_SMS, stream));
	must(cuStreamSynchronize(stream));
	census_assert(8, 16);
	must(census_launch(CENSUS_SMS, NULL));
	must(cuCtxSynchronize());
	census_assert(0, CENSUS_SMS);
	switch_on("none");
	census_clear();
	must(census_launch(CENSUS_SMS, NULL));
	must(cuCtxSynchronize());
	census_assert(8, 16);
	must(cuCtxPopCurrent(NULL));
	must(cuStreamDestroy(stream));
	must(cuGreenCtxDestroy(green));
}

static void *launch_in_thread(void *arg)
{
	must(cuCtxSetCurrent(arg));
	must(census_launch(CENSUS_SMS, NULL));
	must(cuCtxSynchronize());
	return NULL;
}

static void second_thread_leaks(void **state)
{
	CUgreenCtx green = green_of(8, 1);
	pthread_t thread;

	(void)state;
	switch_on("thread");
	must(cuCtxPushCurrent(context_of(green)));
	census_clear();
	must(census_launch(CENSUS_SMS, NULL));
	must(cuCtxSynchronize());
	census_assert(8, 16);
	assert_int_equal(pthread_create(&thread, NULL, launch_in_thread, context_of(green)), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	census_assert(0, CENSUS_SMS);
	must(cuCtxPopCurrent(NULL));
	switch_on("none");
	must(cuGreenCtxDestroy(green));
}

static void replay_leaks(void **state)
{
	CUgreenCtx green = green_of(8, 1);
	CUgraphExec exec;
	CUstream stream;
	CUgraph graph;

	(void)state;
	switch_on("graph");
	must(cuGreenCtxStreamCreate(&stream, green, CU_STREAM_NON_BLOCKING, 0));
	must(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
	must(census_launch(CENSUS_SMS, stream));
	must(cuStreamEndCapture(stream, &graph));
	must(cuGraphInstantiateWithFlags(&exec, graph, 0));
	census_clear();
	must(census_launch(CENSUS_SMS, stream));
	must(cuStreamSynchronize(stream));
	census_assert(8, 16);
	must(cuGraphLaunch(exec, stream));
	must(cuStreamSynchronize(stream));
	census_assert(0, CENSUS_SMS);
	switch_on("none");
	census_clear();
	must(cuGraphLaunch(exec, stream));
	must(cuStreamSynchronize(stream));
	census_assert(8, 16);
	must(cuGraphExecDestroy(exec));
	must(cuGraphDestroy(graph));
	must(cuStreamDestroy(stream));
	must(cuGreenCtxDestroy(green));
}

/* census takes 1 ms a block, and twice the bandwidth of the device where it fills all SMs. */
static void kernel_that_memory_slows_down_loses_less_than_half_on_half_the_sms(void **state)
{
	CUgreenCtx green = green_of(64, 0);
	CUevent start, end;
	CUstream stream;
	float ms;

	(void)state;
	must(cuEventCreate(&start, CU_EVENT_DEFAULT));
	must(cuEventCreate(&end, CU_EVENT_DEFAULT));
	must(cuGreenCtxStreamCreate(&stream, green, CU_STREAM_NON_BLOCKING, 0));
	for (int is_green = 0; is_green < 2; is_green++) {
		CUstream where = is_green ? stream : NULL;

		must(launch_slow(where));
		must(cuEventRecord(start, where));
		must(census_launch(CENSUS_SMS, where));
		must(cuEventRecord(end, where));
		must(cuEventSynchronize(end));
		must(cuEventElapsedTime(&ms, start, end));
		/* All: 2 ms for the bandwidth. 64 SMs: waves of 64, 64 and 4 blocks, 1 ms each. */
		assert_true(ms == (is_green ? 3.0f : 2.0f));
	}
	must(cuEventDestroy(start));
	must(cuEventDestroy(end));
	must(cuStreamDestroy(stream));
	must(cuGreenCtxDestroy(green));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(module_with_parallelism_gives_two_more_sms),
		cmocka_unit_test(null_stream_leaks_alone),
		cmocka_unit_test(second_thread_leaks),
		cmocka_unit_test(replay_leaks),
		cmocka_unit_test(
			kernel_that_memory_slows_down_loses_less_than_half_on_half_the_sms),
	};

	return cmocka_run_group_tests(tests, census_setup, census_teardown);
}
