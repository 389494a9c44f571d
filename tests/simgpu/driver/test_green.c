/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Green contexts on a device of 132 SMs of compute capability 9.0: which SMs their kernels run on,
 * and which streams belong to them. How SMs are divided is in test_resource.c.
 */
#include "test_census.h"

#include <pthread.h>

#define WAVE_MS 1.0f /* what one block of census takes */

static void kernels_of_a_stream_stay_in_its_green_context(void **state)
{
	CUgreenCtx low = green_of(16, 0), high = green_of(64, 1);
	CUstream of_low, of_high;

	(void)state;
	must(cuGreenCtxStreamCreate(&of_low, low, CU_STREAM_NON_BLOCKING, 0));
	must(cuGreenCtxStreamCreate(&of_high, high, CU_STREAM_NON_BLOCKING, 0));
	census_clear();
	must(census_launch(1000, of_low));
	must(cuStreamSynchronize(of_low));
	census_assert(0, 16);
	census_clear();
	must(census_launch(64, of_high));
	must(cuStreamSynchronize(of_high));
	census_assert(64, 128);
	census_clear();
	must(census_launch(CENSUS_SMS, NULL));
	census_assert(0, CENSUS_SMS);
	must(cuStreamDestroy(of_low));
	must(cuStreamDestroy(of_high));
	must(cuGreenCtxDestroy(low));
	must(cuGreenCtxDestroy(high));
}

static float elapsed_of(unsigned blocks, CUstream stream)
{
	CUevent start, end;
	float ms;

	must(cuEventCreate(&start, CU_EVENT_DEFAULT));
	must(cuEventCreate(&end, CU_EVENT_DEFAULT));
	/* The rest is there before it has ended, so that nothing waits for this thread. */
	must(launch_slow(stream));
	must(cuEventRecord(start, stream));
	must(census_launch(blocks, stream));
	must(cuEventRecord(end, stream));
	must(cuEventSynchronize(end));
	must(cuEventElapsedTime(&ms, start, end));
	must(cuEventDestroy(start));
	must(cuEventDestroy(end));
	return ms;
}

static void waves_are_counted_by_the_sms_of_the_green_context(void **state)
{
	CUgreenCtx green = green_of(64, 0);
	CUstream stream;

	(void)state;
	must(cuGreenCtxStreamCreate(&stream, green, CU_STREAM_NON_BLOCKING, 0));
	census_clear();
	assert_true(elapsed_of(64, stream) == WAVE_MS);
	assert_true(elapsed_of(65, stream) == 2 * WAVE_MS);
	assert_true(elapsed_of(CENSUS_SMS, stream) == 3 * WAVE_MS);
	must(cuStreamDestroy(stream));
	must(cuGreenCtxDestroy(green));
}

static void null_stream_is_that_of_the_current_green_context(void **state)
{
	CUgreenCtx green = green_of(8, 3), found;
	CUcontext ctx = context_of(green), current, of_stream;

	(void)state;
	must(cuCtxPushCurrent(ctx));
	must(cuCtxGetCurrent(&current));
	assert_ptr_equal(current, ctx);
	assert_ptr_not_equal(current, fixture.ctx);
	census_clear();
	must(census_launch(100, NULL));
	must(census_launch(100, CU_STREAM_LEGACY));
	must(cuCtxSynchronize());
	census_assert(24, 32);
	must(cuStreamGetGreenCtx(NULL, &found));
	assert_ptr_equal(found, green);
	must(cuStreamGetCtx(CU_STREAM_LEGACY, &of_stream));
	assert_ptr_equal(of_stream, ctx);
	must(cuCtxPopCurrent(NULL));
	must(cuStreamGetGreenCtx(NULL, &found));
	assert_null(found);
	must(cuGreenCtxDestroy(green));
}

static void stream_belongs_to_the_context_in_which_it_was_made(void **state)
{
	CUgreenCtx green = green_of(8, 1), found;
	CUcontext ctx = context_of(green), regular;
	CUstream inside, outside;

	(void)state;
	must(cuStreamCreate(&outside, CU_STREAM_DEFAULT));
	must(cuCtxPushCurrent(ctx));
	must(cuStreamCreateWithPriority(&inside, CU_STREAM_DEFAULT, -1));
	census_clear();
	must(census_launch(CENSUS_SMS, outside));
	must(cuStreamSynchronize(outside));
	census_assert(0, CENSUS_SMS);
	must(cuCtxPopCurrent(NULL));
	census_clear();
	must(census_launch(CENSUS_SMS, inside));
	must(cuStreamSynchronize(inside));
	census_assert(8, 16);
	must(cuStreamGetCtx_v2(inside, &regular, &found));
	assert_ptr_equal(regular, fixture.ctx);
	assert_ptr_equal(found, green);
	must(cuStreamGetCtx_v2(outside, &regular, &found));
	assert_ptr_equal(regular, fixture.ctx);
	assert_null(found);
	must(cuStreamDestroy(inside));
	must(cuStreamDestroy(outside));
	must(cuGreenCtxDestroy(green));
}

static void per_thread_stream_is_refused_while_a_green_context_is_current(void **state)
{
	CUgreenCtx green = green_of(8, 0), found;
	CUcontext regular;

	(void)state;
	must(cuCtxPushCurrent(context_of(green)));
	assert_cuda(CUDA_ERROR_INVALID_HANDLE,
		cuStreamGetCtx_v2(CU_STREAM_PER_THREAD, &regular, &found));
	assert_cuda(CUDA_ERROR_INVALID_HANDLE, census_launch(1, CU_STREAM_PER_THREAD));
	must(cuCtxPopCurrent(NULL));
	must(cuStreamGetCtx_v2(CU_STREAM_PER_THREAD, &regular, &found));
	must(cuGreenCtxDestroy(green));
}

static void memory_modules_and_events_are_those_of_the_primary_context(void **state)
{
	CUgreenCtx green = green_of(8, 0);
	CUcontext owner;
	CUdeviceptr address;
	CUevent event;
	CUstream stream;

	(void)state;
	must(cuGreenCtxStreamCreate(&stream, green, CU_STREAM_NON_BLOCKING, 0));
	must(cuCtxPushCurrent(context_of(green)));
	must(cuMemAlloc(&address, 4096));
	must(cuEventCreate(&event, CU_EVENT_DEFAULT));
	must(cuPointerGetAttribute(&owner, CU_POINTER_ATTRIBUTE_CONTEXT, address));
	assert_ptr_equal(owner, fixture.ctx);
	must(cuMemsetD32(address, 0, 1024));
	must(launch_add(address, 5, 8, NULL));
	must(cuCtxPopCurrent(NULL));
	must(launch_add(address, 5, 8, stream));
	must(cuEventRecord(event, stream));
	must(cuStreamWaitEvent(NULL, event, 0));
	assert_int_equal(read_int(address, 7), 10);
	must(cuStreamDestroy(stream));
	must(cuGreenCtxDestroy(green));
	assert_int_equal(read_int(address, 0), 10);
	must(cuEventRecord(event, NULL));
	must(cuEventDestroy(event));
	must(cuMemFree(address));
}

static void synchronizing_the_primary_context_waits_for_green_ones(void **state)
{
	CUgreenCtx green = green_of(8, 0);
	CUstream stream;

	(void)state;
	must(cuGreenCtxStreamCreate(&stream, green, CU_STREAM_NON_BLOCKING, 0));
	must(launch_slow(stream));
	must(cuCtxSynchronize());
	must(cuStreamQuery(stream));
	must(launch_slow(NULL));
	must(cuCtxPushCurrent(context_of(green)));
	must(cuCtxSynchronize());
	must(cuCtxPopCurrent(NULL));
	assert_cuda(CUDA_ERROR_NOT_READY, cuStreamQuery(NULL));
	must(cuStreamDestroy(stream));
	must(cuGreenCtxDestroy(green));
}

static void event_of_a_green_context_stands_for_all_its_work(void **state)
{
	CUgreenCtx green = green_of(8, 0), other = green_of(8, 1);
	CUstream a, b, waiting;
	CUevent event;

	(void)state;
	must(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
	must(cuGreenCtxStreamCreate(&a, green, CU_STREAM_NON_BLOCKING, 0));
	must(cuGreenCtxStreamCreate(&b, green, CU_STREAM_NON_BLOCKING, 0));
	must(launch_slow(a));
	must(launch_slow(b));
	must(cuGreenCtxRecordEvent(green, event));
	must(cuGreenCtxWaitEvent(other, event));
	must(cuGreenCtxStreamCreate(&waiting, other, CU_STREAM_NON_BLOCKING, 0));
	must(census_launch(1, waiting));
	assert_cuda(CUDA_ERROR_NOT_READY, cuEventQuery(event));
	must(cuStreamSynchronize(waiting));
	must(cuStreamQuery(a));
	must(cuStreamQuery(b));
	must(cuEventQuery(event));

	must(launch_slow(a));
	must(cuCtxRecordEvent(fixture.ctx, event));
	assert_cuda(CUDA_ERROR_NOT_READY, cuEventQuery(event));
	must(cuCtxWaitEvent(context_of(other), event));
	must(cuStreamSynchronize(waiting));
	must(census_launch(1, waiting));
	must(cuStreamSynchronize(waiting));
	must(cuStreamQuery(a));
	assert_cuda(CUDA_ERROR_INVALID_HANDLE, cuGreenCtxRecordEvent(green, NULL));
	assert_cuda(CUDA_ERROR_INVALID_CONTEXT, cuGreenCtxRecordEvent(NULL, event));
	must(cuStreamDestroy(a));
	must(cuStreamDestroy(b));
	must(cuStreamDestroy(waiting));
	must(cuEventDestroy(event));
	must(cuGreenCtxDestroy(green));
	must(cuGreenCtxDestroy(other));
}

static void captured_context_gives_no_event(void **state)
{
	CUgreenCtx green = green_of(8, 0);
	CUstream stream;
	CUevent event;
	CUgraph graph;

	(void)state;
	must(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
	must(cuGreenCtxStreamCreate(&stream, green, CU_STREAM_NON_BLOCKING, 0));
	must(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
	assert_cuda(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cuGreenCtxRecordEvent(green, event));
	assert_cuda(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(stream, &graph));
	must(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
	assert_cuda(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cuCtxWaitEvent(fixture.ctx, event));
	assert_cuda(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(stream, &graph));
	must(cuStreamDestroy(stream));
	must(cuEventDestroy(event));
	must(cuGreenCtxDestroy(green));
}

static CUgraphExec capture_census(CUstream stream)
{
	CUgraphExec exec;
	CUgraph graph;

	must(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
	must(census_launch(CENSUS_SMS, stream));
	must(census_launch(1, stream));
	must(cuStreamEndCapture(stream, &graph));
	must(cuGraphInstantiateWithFlags(&exec, graph, 0));
	must(cuGraphDestroy(graph));
	return exec;
}

static void replay_stays_in_the_green_context_that_was_captured(void **state)
{
	CUgreenCtx green = green_of(8, 2);
	CUstream inside, outside;

	(void)state;
	must(cuGreenCtxStreamCreate(&inside, green, CU_STREAM_NON_BLOCKING, 0));
	must(cuStreamCreate(&outside, CU_STREAM_NON_BLOCKING));
	CUgraphExec of_inside = capture_census(inside), of_outside = capture_census(outside);

	census_clear();
	must(cuGraphLaunch(of_inside, outside));
	must(cuGraphLaunch(of_inside, inside));
	must(cuCtxSynchronize());
	census_assert(16, 24);
	census_clear();
	must(cuGraphLaunch(of_outside, inside));
	must(cuCtxSynchronize());
	census_assert(0, CENSUS_SMS);
	must(cuStreamDestroy(inside));
	must(cuGreenCtxDestroy(green));
	assert_cuda(CUDA_ERROR_CONTEXT_IS_DESTROYED, cuGraphLaunch(of_inside, outside));
	must(cuGraphExecDestroy(of_inside));
	must(cuGraphExecDestroy(of_outside));
	must(cuStreamDestroy(outside));
}

static void cooperative_launch_has_to_fit_into_the_partition(void **state)
{
	CUgreenCtx green = green_of(8, 0);
	void *params[] = {&census.bits};
	CUstream stream;
	int blocks, size;

	(void)state;
	must(cuGreenCtxStreamCreate(&stream, green, CU_STREAM_NON_BLOCKING, 0));
	must(cuLaunchCooperativeKernel(census.kernel, 2 * 8, 1, 1, 1024, 1, 1, 0, stream, params));
	assert_cuda(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE,
		cuLaunchCooperativeKernel(
			census.kernel, 2 * 8 + 1, 1, 1, 1024, 1, 1, 0, stream, params));
	must(cuLaunchCooperativeKernel(
		census.kernel, 2 * CENSUS_SMS, 1, 1, 1024, 1, 1, 0, NULL, params));
	assert_cuda(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE,
		cuLaunchCooperativeKernel(
			census.kernel, 2 * CENSUS_SMS + 1, 1, 1, 1024, 1, 1, 0, NULL, params));
	must(cuOccupancyMaxPotentialBlockSize(&blocks, &size, census.kernel, NULL, 0, 0));
	assert_int_equal(blocks, 2 * CENSUS_SMS);
	must(cuCtxPushCurrent(context_of(green)));
	must(cuOccupancyMaxPotentialBlockSize(&blocks, &size, census.kernel, NULL, 0, 0));
	assert_int_equal(blocks, 2 * 8);
	must(cuCtxPopCurrent(NULL));
	must(cuCtxSynchronize());
	must(cuStreamDestroy(stream));
	must(cuGreenCtxDestroy(green));
}

/* Of blocks of 1024 threads, two on an SM. */
static CUlaunchConfig clusters_of(CUlaunchAttribute *attribute, unsigned blocks, CUstream stream)
{
	*attribute = (CUlaunchAttribute){
		.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, .value.clusterDim = {blocks, 1, 1}};
	return (CUlaunchConfig){.gridDimX = 2 * blocks,
		.gridDimY = 1,
		.gridDimZ = 1,
		.blockDimX = 1024,
		.blockDimY = 1,
		.blockDimZ = 1,
		.hStream = stream,
		.attrs = attribute,
		.numAttrs = 1};
}

static int room_for_clusters(unsigned blocks, CUstream stream)
{
	CUlaunchAttribute attribute;
	const CUlaunchConfig config = clusters_of(&attribute, blocks, stream);
	int room = -1;

	must(cuOccupancyMaxActiveClusters(&room, census.kernel, &config));
	return room;
}

static CUresult launch_clusters(unsigned blocks, CUstream stream)
{
	CUlaunchAttribute attribute;
	const CUlaunchConfig config = clusters_of(&attribute, blocks, stream);
	void *params[] = {&census.bits};

	return cuLaunchKernelEx(&config, census.kernel, params, NULL);
}

static void clusters_have_to_fit_onto_sms_that_are_scheduled_together(void **state)
{
	const unsigned fine = CU_DEV_SM_RESOURCE_SPLIT_IGNORE_SM_COSCHEDULING;
	CUdevResource all, part;
	CUdevResourceDesc desc;
	unsigned groups = 1;
	CUgreenCtx green = green_of(64, 0), pairs;
	CUstream stream, in_pairs;

	(void)state;
	must(cuDeviceGetDevResource(0, &all, CU_DEV_RESOURCE_TYPE_SM));
	must(cuDevSmResourceSplitByCount(&part, &groups, &all, NULL, fine, 66));
	must(cuDevResourceGenerateDesc(&desc, &part, 1));
	must(cuGreenCtxCreate(&pairs, desc, 0, CU_GREEN_CTX_DEFAULT_STREAM));
	must(cuGreenCtxStreamCreate(&stream, green, CU_STREAM_NON_BLOCKING, 0));
	must(cuGreenCtxStreamCreate(&in_pairs, pairs, CU_STREAM_NON_BLOCKING, 0));

	assert_int_equal(room_for_clusters(8, NULL), 2 * (CENSUS_SMS / 8));
	assert_int_equal(room_for_clusters(8, stream), 2 * 8);
	assert_int_equal(room_for_clusters(4, in_pairs), 33);
	assert_int_equal(room_for_clusters(8, in_pairs), 0);
	must(launch_clusters(8, stream));
	must(launch_clusters(4, in_pairs));
	assert_cuda(CUDA_ERROR_INVALID_CLUSTER_SIZE, launch_clusters(8, in_pairs));

	must(cuCtxSynchronize());
	must(cuStreamDestroy(stream));
	must(cuStreamDestroy(in_pairs));
	must(cuGreenCtxDestroy(green));
	must(cuGreenCtxDestroy(pairs));
}

static void large_clusters_have_to_be_allowed(void **state)
{
	const CUfunction_attribute allowed = CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED;
	CUlaunchAttribute attribute;
	CUlaunchConfig config = clusters_of(&attribute, 16, NULL);
	int room;

	(void)state;
	assert_cuda(CUDA_ERROR_INVALID_CLUSTER_SIZE, launch_clusters(16, NULL));
	assert_cuda(CUDA_ERROR_INVALID_CLUSTER_SIZE,
		cuOccupancyMaxActiveClusters(&room, census.kernel, &config));
	must(cuFuncSetAttribute(census.kernel, allowed, 1));
	must(launch_clusters(16, NULL));
	assert_int_equal(room_for_clusters(16, NULL), CENSUS_SMS / 8);
	assert_cuda(CUDA_ERROR_INVALID_CLUSTER_SIZE, launch_clusters(32, NULL));
	must(cuFuncSetAttribute(census.kernel, allowed, 0));

	config.gridDimX = 31;
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuOccupancyMaxActiveClusters(&room, census.kernel, &config));
	must(cuCtxSynchronize());
}

static void *launch_in_thread(void *arg)
{
	must(cuCtxSetCurrent(arg));
	must(census_launch(CENSUS_SMS, NULL));
	return NULL;
}

static void second_thread_stays_in_the_partition(void **state)
{
	CUgreenCtx green = green_of(8, 6);
	pthread_t thread;

	(void)state;
	census_clear();
	assert_int_equal(pthread_create(&thread, NULL, launch_in_thread, context_of(green)), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	must(cuCtxSynchronize());
	census_assert(48, 56);
	must(cuGreenCtxDestroy(green));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kernels_of_a_stream_stay_in_its_green_context),
		cmocka_unit_test(waves_are_counted_by_the_sms_of_the_green_context),
		cmocka_unit_test(null_stream_is_that_of_the_current_green_context),
		cmocka_unit_test(stream_belongs_to_the_context_in_which_it_was_made),
		cmocka_unit_test(per_thread_stream_is_refused_while_a_green_context_is_current),
		cmocka_unit_test(memory_modules_and_events_are_those_of_the_primary_context),
		cmocka_unit_test(synchronizing_the_primary_context_waits_for_green_ones),
		cmocka_unit_test(event_of_a_green_context_stands_for_all_its_work),
		cmocka_unit_test(captured_context_gives_no_event),
		cmocka_unit_test(replay_stays_in_the_green_context_that_was_captured),
		cmocka_unit_test(cooperative_launch_has_to_fit_into_the_partition),
		cmocka_unit_test(clusters_have_to_fit_onto_sms_that_are_scheduled_together),
		cmocka_unit_test(large_clusters_have_to_be_allowed),
		cmocka_unit_test(second_thread_stays_in_the_partition),
	};

	return cmocka_run_group_tests(tests, census_setup, census_teardown);
}
