/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Stream capture and graphs. The machine runs with slow at 60 ms a block.
 */
#include "test_support.h"

static CUstream a, b;
static CUevent fork_event, join_event;
static CUdeviceptr counters;

static int set_up(void **state)
{
	(void)state;
	must(cuMemAlloc(&counters, 4096));
	must(cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
	must(cuStreamCreate(&b, CU_STREAM_NON_BLOCKING));
	must(cuEventCreate(&fork_event, CU_EVENT_DISABLE_TIMING));
	must(cuEventCreate(&join_event, CU_EVENT_DISABLE_TIMING));
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	must(cuStreamDestroy(a));
	must(cuStreamDestroy(b));
	must(cuEventDestroy(fork_event));
	must(cuEventDestroy(join_event));
	must(cuMemFree(counters));
	return 0;
}

static CUresult begin(void)
{
	return cuStreamBeginCapture(a, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
}

/* Runs `graph` and destroys it. */
static void run(CUgraph graph, int times)
{
	CUgraphExec exec;

	must(cuGraphInstantiate(&exec, graph, 0));
	must(cuGraphDestroy(graph));
	for (int i = 0; i < times; i++)
		must(cuGraphLaunch(exec, a));
	must(cuStreamSynchronize(a));
	must(cuGraphExecDestroy(exec));
}

static void captured_work_runs_with_the_graph_only(void **state)
{
	CUgraph graph;
	size_t count;

	(void)state;
	must(begin());
	must(launch_add(counters, 1, 1, a));
	must(cuMemsetD32Async(counters + 4, 9, 1, a));
	must(cuMemcpyDtoDAsync(counters + 8, counters, 4, a));
	must(cuStreamEndCapture(a, &graph));
	must(cuGraphGetNodes(graph, NULL, &count));
	assert_int_equal(count, 3);
	assert_int_equal(read_int(counters, 0), 0);

	run(graph, 3);
	assert_int_equal(read_int(counters, 0), 3);
	assert_int_equal(read_int(counters, 1), 9);
	assert_int_equal(read_int(counters, 2), 3);
}

static void capture_spreads_by_events_and_comes_back(void **state)
{
	CUstreamCaptureStatus status;
	CUgraph graph;
	size_t edges;

	(void)state;
	must(begin());
	must(launch_add(counters, 1, 1, a));
	must(cuEventRecord(fork_event, a));
	must(cuStreamWaitEvent(b, fork_event, 0));
	must(cuStreamIsCapturing(b, &status));
	assert_int_equal(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
	must(launch_add(counters + 4, 1, 1, b));
	must(launch_add(counters + 8, 1, 1, a));
	must(cuEventRecord(join_event, b));
	must(cuStreamWaitEvent(a, join_event, 0));
	must(launch_add(counters + 12, 1, 1, a));
	must(cuStreamEndCapture(a, &graph));
	must(cuStreamIsCapturing(b, &status));
	assert_int_equal(status, CU_STREAM_CAPTURE_STATUS_NONE);
	must(cuGraphGetEdges(graph, NULL, NULL, NULL, &edges));
	assert_int_equal(edges, 4);

	run(graph, 1);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(read_int(counters, i), 1);
}

static void unjoined_work_is_an_error(void **state)
{
	CUgraph graph = (CUgraph)&graph;

	(void)state;
	must(begin());
	must(cuEventRecord(fork_event, a));
	must(cuStreamWaitEvent(b, fork_event, 0));
	must(launch_slow(b));

	assert_cuda(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, cuStreamEndCapture(a, &graph));
	assert_null(graph);
	must(launch_add(counters, 1, 1, b));
	must(cuStreamSynchronize(b));
}

static void only_the_origin_ends_a_capture(void **state)
{
	CUgraph graph;

	(void)state;
	assert_cuda(CUDA_ERROR_ILLEGAL_STATE, cuStreamEndCapture(a, &graph));
	must(begin());
	assert_cuda(CUDA_ERROR_ILLEGAL_STATE, begin());
	must(cuEventRecord(fork_event, a));
	must(cuStreamWaitEvent(b, fork_event, 0));
	assert_cuda(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, cuStreamEndCapture(b, &graph));

	must(cuStreamEndCapture(a, &graph));
	must(cuGraphDestroy(graph));
}

static void waiting_for_a_captured_stream_invalidates(void **state)
{
	CUstreamCaptureStatus status;
	CUgraph graph;

	(void)state;
	must(begin());
	assert_cuda(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cuStreamSynchronize(a));
	must(cuStreamIsCapturing(a, &status));
	assert_int_equal(status, CU_STREAM_CAPTURE_STATUS_INVALIDATED);
	assert_cuda(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, launch_slow(a));
	assert_cuda(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(a, &graph));

	must(cuStreamIsCapturing(a, &status));
	assert_int_equal(status, CU_STREAM_CAPTURE_STATUS_NONE);
}

static void captured_events_cannot_be_waited_for_by_the_host(void **state)
{
	CUgraph graph;

	(void)state;
	must(begin());
	must(cuEventRecord(fork_event, a));
	assert_cuda(CUDA_ERROR_CAPTURED_EVENT, cuEventQuery(fork_event));

	assert_cuda(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(a, &graph));
	must(cuEventRecord(fork_event, a));
	must(cuEventSynchronize(fork_event));
}

static void uncaptured_work_cannot_be_waited_for(void **state)
{
	CUgraph graph;

	(void)state;
	must(launch_slow(b));
	must(cuEventRecord(fork_event, b));
	must(begin());
	assert_cuda(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, cuStreamWaitEvent(a, fork_event, 0));

	assert_cuda(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(a, &graph));
}

static void captures_do_not_merge(void **state)
{
	CUgraph graph;

	(void)state;
	must(begin());
	must(cuStreamBeginCapture(b, CU_STREAM_CAPTURE_MODE_RELAXED));
	must(cuEventRecord(fork_event, a));
	assert_cuda(CUDA_ERROR_STREAM_CAPTURE_MERGE, cuStreamWaitEvent(b, fork_event, 0));

	assert_cuda(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(a, &graph));
	assert_cuda(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(b, &graph));
}

static void the_legacy_stream_is_closed_during_capture(void **state)
{
	CUstreamCaptureStatus status;
	CUstream blocking;
	CUgraph graph;

	(void)state;
	assert_cuda(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
		cuStreamBeginCapture(NULL, CU_STREAM_CAPTURE_MODE_GLOBAL));
	must(cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
	must(cuStreamBeginCapture(blocking, CU_STREAM_CAPTURE_MODE_RELAXED));
	assert_cuda(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, cuStreamIsCapturing(NULL, &status));
	must(launch_slow(blocking));
	assert_cuda(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, launch_slow(NULL));

	assert_cuda(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(blocking, &graph));
	must(cuEventRecord(fork_event, NULL));
	must(cuStreamBeginCapture(blocking, CU_STREAM_CAPTURE_MODE_RELAXED));
	assert_cuda(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, cuStreamWaitEvent(NULL, fork_event, 0));
	assert_cuda(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(blocking, &graph));
	must(cuStreamDestroy(blocking));
	must(launch_slow(NULL));
}

static void allocation_depends_on_the_capture_mode(void **state)
{
	CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
	CUdeviceptr address;
	CUgraph graph;

	(void)state;
	must(cuStreamBeginCapture(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
	must(cuThreadExchangeStreamCaptureMode(&mode));
	assert_int_equal(mode, CU_STREAM_CAPTURE_MODE_GLOBAL);
	must(cuMemAlloc(&address, 1));
	must(cuThreadExchangeStreamCaptureMode(&mode));
	assert_cuda(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cuMemFree(address));

	assert_cuda(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(a, &graph));
	must(cuMemFree(address));
}

static void a_captured_stream_may_end(void **state)
{
	CUstream stream;

	(void)state;
	must(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	must(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
	must(cuEventRecord(fork_event, stream));
	must(cuStreamWaitEvent(b, fork_event, 0));
	must(cuStreamDestroy(stream));

	must(launch_slow(b));
	must(cuStreamSynchronize(b));
}

static CUDA_KERNEL_NODE_PARAMS kernel_params(void **params)
{
	return (CUDA_KERNEL_NODE_PARAMS){
		.func = fixture.add,
		.gridDimX = 1,
		.gridDimY = 1,
		.gridDimZ = 1,
		.blockDimX = 1,
		.blockDimY = 1,
		.blockDimZ = 1,
		.kernelParams = params,
	};
}

static void launch_and_wait(CUgraphExec exec)
{
	must(cuGraphLaunch(exec, a));
	must(cuStreamSynchronize(a));
}

static void graphs_may_be_built_by_hand(void **state)
{
	int amount = 2;
	void *params[] = {&counters, &amount};
	CUDA_KERNEL_NODE_PARAMS add = kernel_params(params);
	CUDA_MEMSET_NODE_PARAMS clear = {
		.dst = counters, .value = 10, .elementSize = 4, .width = 1, .height = 1};
	CUgraph graph, parent;
	CUgraphNode first, second, child, empty;
	CUgraphNodeType type;
	CUgraphExec exec;
	size_t roots;

	(void)state;
	must(cuGraphCreate(&graph, 0));
	must(cuGraphAddKernelNode(&second, graph, NULL, 0, &add));
	must(cuGraphAddMemsetNode(&first, graph, NULL, 0, &clear, fixture.ctx));
	must(cuGraphAddDependencies(graph, &first, &second, NULL, 1));
	must(cuGraphGetRootNodes(graph, NULL, &roots));
	assert_int_equal(roots, 1);
	must(cuGraphNodeGetType(first, &type));
	assert_int_equal(type, CU_GRAPH_NODE_TYPE_MEMSET);
	must(cuGraphCreate(&parent, 0));
	must(cuGraphAddEmptyNode(&empty, parent, NULL, 0));
	must(cuGraphAddChildGraphNode(&child, parent, &empty, 1, graph));
	must(cuGraphAddKernelNode(&second, parent, &child, 1, &add));
	must(cuGraphDestroy(graph));
	must(cuGraphInstantiate(&exec, parent, 0));
	launch_and_wait(exec);
	assert_int_equal(read_int(counters, 0), 14);

	amount = 100;
	must(cuGraphExecKernelNodeSetParams(exec, second, &add));
	launch_and_wait(exec);
	assert_int_equal(read_int(counters, 0), 112);
	must(cuGraphNodeSetEnabled(exec, second, 0));
	launch_and_wait(exec);
	assert_int_equal(read_int(counters, 0), 12);
	must(cuGraphExecDestroy(exec));
	must(cuGraphDestroy(parent));
}

static void cycles_cannot_be_instantiated(void **state)
{
	CUgraphNode one, two;
	CUgraphExec exec;
	CUgraph graph;

	(void)state;
	must(cuGraphCreate(&graph, 0));
	must(cuGraphAddEmptyNode(&one, graph, NULL, 0));
	must(cuGraphAddEmptyNode(&two, graph, &one, 1));
	must(cuGraphAddDependencies(graph, &two, &one, NULL, 1));

	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuGraphInstantiate(&exec, graph, 0));
	must(cuGraphDestroy(graph));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuGraphDestroy(graph));
}

static void graphs_take_their_place_in_the_stream(void **state)
{
	CUevent start, end;
	CUgraphExec exec;
	CUgraph graph;
	float ms;

	(void)state;
	must(cuEventCreate(&start, CU_EVENT_DEFAULT));
	must(cuEventCreate(&end, CU_EVENT_DEFAULT));
	must(begin());
	must(launch_slow(a));
	must(launch_slow(a));
	must(cuStreamEndCapture(a, &graph));
	must(cuGraphInstantiate(&exec, graph, 0));
	must(cuEventRecord(start, a));
	must(launch_slow(a));
	must(cuGraphLaunch(exec, a));
	must(cuGraphLaunch(exec, b)); /* an exec follows itself, in any stream */
	must(cuEventRecord(end, b));
	must(cuEventSynchronize(end));
	must(cuEventElapsedTime(&ms, start, end));

	assert_true(ms >= 5 * 60.0f);
	must(cuGraphExecDestroy(exec));
	must(cuGraphDestroy(graph));
	must(cuEventDestroy(start));
	must(cuEventDestroy(end));
}

static void an_exec_takes_over_a_graph_of_the_same_shape(void **state)
{
	CUgraphExecUpdateResultInfo info;
	CUgraph one, three, other;
	CUgraphExec exec;

	(void)state;
	must(begin());
	must(launch_add(counters, 1, 1, a));
	must(cuStreamEndCapture(a, &one));
	must(begin());
	must(launch_add(counters, 3, 1, a));
	must(cuStreamEndCapture(a, &three));
	must(begin());
	must(cuMemsetD8Async(counters, 0, 1, a));
	must(cuStreamEndCapture(a, &other));
	must(cuGraphInstantiate(&exec, one, 0));
	must(cuGraphExecUpdate(exec, three, &info));
	assert_int_equal(info.result, CU_GRAPH_EXEC_UPDATE_SUCCESS);
	assert_cuda(CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE, cuGraphExecUpdate(exec, other, &info));
	assert_int_equal(info.result, CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED);
	must(cuGraphLaunch(exec, a));
	must(cuStreamSynchronize(a));

	assert_int_equal(read_int(counters, 0), 3);
	must(cuGraphExecDestroy(exec));
	must(cuGraphDestroy(one));
	must(cuGraphDestroy(three));
	must(cuGraphDestroy(other));
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(captured_work_runs_with_the_graph_only),
		TEST(capture_spreads_by_events_and_comes_back),
		TEST(unjoined_work_is_an_error),
		TEST(only_the_origin_ends_a_capture),
		TEST(waiting_for_a_captured_stream_invalidates),
		TEST(captured_events_cannot_be_waited_for_by_the_host),
		TEST(uncaptured_work_cannot_be_waited_for),
		TEST(captures_do_not_merge),
		TEST(the_legacy_stream_is_closed_during_capture),
		TEST(allocation_depends_on_the_capture_mode),
		TEST(a_captured_stream_may_end),
		TEST(graphs_may_be_built_by_hand),
		TEST(cycles_cannot_be_instantiated),
		TEST(graphs_take_their_place_in_the_stream),
		TEST(an_exec_takes_over_a_graph_of_the_same_shape),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
