/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Conditional nodes. Which SMs their bodies run on is in test_green_nodes.c. The machine runs with
 * slow at 60 ms a block.
 */
#include "test_support.h"

#include <string.h>

#define DEFAULT CU_GRAPH_COND_ASSIGN_DEFAULT
#define CELLS   8u

static struct {
	CUstream stream;
	CUdeviceptr cells;
	CUgraph graph;
	CUgraphExec exec;
} on;

static int set_up(void **state)
{
	(void)state;
	must(cuStreamCreate(&on.stream, CU_STREAM_NON_BLOCKING));
	must(cuMemAlloc(&on.cells, CELLS * sizeof(int)));
	must(cuGraphCreate(&on.graph, 0));
	on.exec = NULL;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (on.exec)
		must(cuGraphExecDestroy(on.exec));
	must(cuGraphDestroy(on.graph));
	must(cuMemFree(on.cells));
	must(cuStreamDestroy(on.stream));
	return 0;
}

static CUgraphConditionalHandle handle_of(CUgraph graph, unsigned value)
{
	CUgraphConditionalHandle handle;

	must(cuGraphConditionalHandleCreate(&handle, graph, fixture.ctx, value, DEFAULT));
	return handle;
}

static CUgraphNodeParams params_of(
	CUgraphConditionalHandle handle, CUgraphConditionalNodeType type, unsigned size)
{
	return (CUgraphNodeParams){.type = CU_GRAPH_NODE_TYPE_CONDITIONAL,
		.conditional = {.handle = handle, .type = type, .size = size, .ctx = fixture.ctx}};
}

/* Adds a node whose bodies are `ret_bodies`. */
static CUgraphNode add_conditional(CUgraph graph, unsigned value, CUgraphConditionalNodeType type,
	unsigned size, CUgraph *ret_bodies)
{
	CUgraphNodeParams params = params_of(handle_of(graph, value), type, size);
	CUgraphNode node;

	must(cuGraphAddNode(&node, graph, NULL, NULL, 0, &params));
	memcpy(ret_bodies, params.conditional.phGraph_out, size * sizeof(CUgraph));
	return node;
}

static CUgraph add_if(CUgraph graph, unsigned value)
{
	CUgraph body;

	add_conditional(graph, value, CU_GRAPH_COND_TYPE_IF, 1, &body);
	return body;
}

/* Adds a kernel that adds `amount` to the cell `cell`, behind `before`, where it is not NULL. */
static CUgraphNode count_in(CUgraph graph, unsigned cell, int amount, const CUgraphNode *before)
{
	CUdeviceptr address = on.cells + cell * sizeof(int);
	void *values[] = {&address, &amount};
	const CUDA_KERNEL_NODE_PARAMS params = {.func = fixture.add,
		.gridDimX = 1,
		.gridDimY = 1,
		.gridDimZ = 1,
		.blockDimX = 1,
		.blockDimY = 1,
		.blockDimZ = 1,
		.kernelParams = values};
	CUgraphNode node;

	must(cuGraphAddKernelNode(&node, graph, before, before != NULL, &params));
	return node;
}

static CUresult instantiate(void)
{
	return cuGraphInstantiate(&on.exec, on.graph, 0);
}

static void launch(void)
{
	must(cuMemsetD32(on.cells, 0, CELLS));
	must(cuGraphLaunch(on.exec, on.stream));
	must(cuStreamSynchronize(on.stream));
}

/* Launches what was instantiated; the cells are then the decimal digits of `expected`. */
static void assert_launch_counts(const char *expected)
{
	char seen[CELLS + 1] = "";

	launch();
	for (unsigned i = 0; expected[i]; i++)
		seen[i] = (char)('0' + read_int(on.cells, i));
	assert_string_equal(seen, expected);
}

/* The same, once, of the graph; which is empty then. */
static void assert_graph_counts(const char *expected)
{
	must(instantiate());
	assert_launch_counts(expected);
	must(cuGraphExecDestroy(on.exec));
	on.exec = NULL;
	must(cuGraphDestroy(on.graph));
	must(cuGraphCreate(&on.graph, 0));
}

/* A node with `size` bodies, the n-th of which counts in cell n. */
static void assert_bodies_count(
	unsigned value, CUgraphConditionalNodeType type, unsigned size, const char *expected)
{
	CUgraph bodies[4];

	add_conditional(on.graph, value, type, size, bodies);
	for (unsigned i = 0; i < size; i++)
		count_in(bodies[i], i, 1, NULL);
	assert_graph_counts(expected);
}

static void one_body_runs_or_none(void **state)
{
	(void)state;
	assert_bodies_count(1, CU_GRAPH_COND_TYPE_IF, 1, "1");
	assert_bodies_count(7, CU_GRAPH_COND_TYPE_IF, 1, "1");
	assert_bodies_count(0, CU_GRAPH_COND_TYPE_IF, 1, "0");
	assert_bodies_count(1, CU_GRAPH_COND_TYPE_IF, 2, "10");
	assert_bodies_count(0, CU_GRAPH_COND_TYPE_IF, 2, "01");
	assert_bodies_count(0, CU_GRAPH_COND_TYPE_SWITCH, 1, "1");
	assert_bodies_count(0, CU_GRAPH_COND_TYPE_SWITCH, 4, "1000");
	assert_bodies_count(3, CU_GRAPH_COND_TYPE_SWITCH, 4, "0001");
	assert_bodies_count(4, CU_GRAPH_COND_TYPE_SWITCH, 4, "0000");
	assert_bodies_count(0, CU_GRAPH_COND_TYPE_WHILE, 1, "0");
}

static void default_counts_only_if_it_is_assigned(void **state)
{
	CUgraphConditionalHandle handle;
	CUgraphNodeParams params;
	CUgraphNode node;

	(void)state;
	must(cuGraphConditionalHandleCreate(&handle, on.graph, NULL, 1, 0));
	params = params_of(handle, CU_GRAPH_COND_TYPE_IF, 2);
	params.conditional.ctx = NULL;
	must(cuGraphAddNode(&node, on.graph, NULL, NULL, 0, &params));
	count_in(params.conditional.phGraph_out[0], 0, 1, NULL);
	count_in(params.conditional.phGraph_out[1], 1, 1, NULL);
	assert_graph_counts("01");
}

static void loops_that_begin_are_not_supported(void **state)
{
	CUgraph body;

	(void)state;
	add_conditional(on.graph, 1, CU_GRAPH_COND_TYPE_WHILE, 1, &body);
	count_in(body, 0, 1, NULL);
	assert_cuda(CUDA_ERROR_NOT_SUPPORTED, instantiate());
}

static void bodies_run_within_bodies_that_run(void **state)
{
	CUgraph outer, cases[2], inner;

	(void)state;
	for (unsigned value = 0; value < 2; value++) {
		outer = add_if(on.graph, value);
		count_in(outer, 0, 1, NULL);
		add_conditional(outer, 1, CU_GRAPH_COND_TYPE_SWITCH, 2, cases);
		count_in(cases[0], 1, 1, NULL);
		count_in(cases[1], 2, 1, NULL);
		inner = add_if(cases[1], 1);
		count_in(inner, 3, 1, NULL);
		inner = add_if(cases[0], 1);
		count_in(inner, 4, 1, NULL);
		assert_graph_counts(value ? "10110" : "00000");
	}
}

static void a_handle_may_be_of_an_outer_graph(void **state)
{
	const CUgraphConditionalHandle handle = handle_of(on.graph, 1);
	CUgraph body = add_if(on.graph, 1);
	CUgraphNodeParams params = params_of(handle, CU_GRAPH_COND_TYPE_IF, 1);
	CUgraphNode node;

	(void)state;
	must(cuGraphAddNode(&node, body, NULL, NULL, 0, &params));
	count_in(params.conditional.phGraph_out[0], 0, 1, NULL);
	assert_graph_counts("1");
}

static void a_handle_may_decide_for_several_nodes(void **state)
{
	CUgraphNodeParams params = params_of(handle_of(on.graph, 1), CU_GRAPH_COND_TYPE_SWITCH, 2);
	CUgraphNode first, second;

	(void)state;
	must(cuGraphAddNode(&first, on.graph, NULL, NULL, 0, &params));
	count_in(params.conditional.phGraph_out[1], 0, 1, NULL);
	must(cuGraphAddNode(&second, on.graph, NULL, NULL, 0, &params));
	count_in(params.conditional.phGraph_out[1], 1, 2, NULL);
	must(cuGraphDestroyNode(first));
	must(cuGraphAddNode(&first, on.graph, &second, NULL, 1, &params));
	count_in(params.conditional.phGraph_out[0], 2, 1, NULL);
	count_in(params.conditional.phGraph_out[1], 3, 4, NULL);
	assert_graph_counts("0204");
}

static void bodies_hold_kernels_copies_fills_and_children(void **state)
{
	const CUDA_MEMSET_NODE_PARAMS fill = {
		.dst = on.cells + 4, .value = 5, .elementSize = 4, .width = 1, .height = 1};
	CUgraph body = add_if(on.graph, 1), child, captured;
	CUgraphNode first, last;

	(void)state;
	must(cuGraphAddEmptyNode(&first, body, NULL, 0));
	last = count_in(body, 0, 2, &first);
	must(cuGraphAddMemsetNode(&first, body, &last, 1, &fill, fixture.ctx));
	must(cuStreamBeginCaptureToGraph(
		on.stream, body, &first, NULL, 1, CU_STREAM_CAPTURE_MODE_RELAXED));
	must(launch_add(on.cells + 4, 2, 1, on.stream));
	must(cuMemcpyDtoDAsync(on.cells + 8, on.cells + 4, 4, on.stream));
	must(cuMemsetD32Async(on.cells + 12, 9, 1, on.stream));
	must(cuStreamEndCapture(on.stream, &captured));
	assert_ptr_equal(captured, body);
	must(cuGraphCreate(&child, 0));
	count_in(child, 4, 3, NULL);
	must(cuGraphAddChildGraphNode(&first, body, NULL, 0, child));
	must(cuGraphDestroy(child));
	assert_graph_counts("27793");
}

static void host_work_does_not_run_in_bodies(void *unused)
{
	(void)unused;
	fail();
}

static void bodies_take_no_other_nodes(void **state)
{
	const CUDA_HOST_NODE_PARAMS host = {.fn = host_work_does_not_run_in_bodies};
	CUDA_MEM_ALLOC_NODE_PARAMS alloc = {.bytesize = 4,
		.poolProps = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
			.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE}}};
	CUgraph body = add_if(on.graph, 1), child, inside;
	CUgraphNode node;
	CUevent event;
	size_t count;

	(void)state;
	must(cuEventCreate(&event, CU_EVENT_DEFAULT));
	assert_cuda(CUDA_ERROR_NOT_SUPPORTED, cuGraphAddHostNode(&node, body, NULL, 0, &host));
	assert_cuda(
		CUDA_ERROR_NOT_SUPPORTED, cuGraphAddEventRecordNode(&node, body, NULL, 0, event));
	assert_cuda(CUDA_ERROR_NOT_SUPPORTED, cuGraphAddEventWaitNode(&node, body, NULL, 0, event));
	assert_cuda(CUDA_ERROR_NOT_SUPPORTED, cuGraphAddMemAllocNode(&node, body, NULL, 0, &alloc));
	must(cuGraphCreate(&child, 0));
	must(cuGraphAddHostNode(&node, child, NULL, 0, &host));
	assert_cuda(
		CUDA_ERROR_NOT_SUPPORTED, cuGraphAddChildGraphNode(&node, body, NULL, 0, child));
	must(cuGraphGetNodes(body, NULL, &count));
	assert_int_equal(count, 0);
	must(cuGraphDestroyNode(node));
	must(cuGraphAddChildGraphNode(&node, body, NULL, 0, child));
	must(cuGraphChildGraphNodeGetGraph(node, &inside));
	assert_cuda(CUDA_ERROR_NOT_SUPPORTED, cuGraphAddHostNode(&node, inside, NULL, 0, &host));
	must(cuGraphDestroy(child));
	must(cuEventDestroy(event));
}

/* Counts in cell 0 after 60 ms if the body runs; what comes behind copies it to cell 1. */
static void build_slow(unsigned value)
{
	const CUDA_MEMCPY3D copy = {.srcMemoryType = CU_MEMORYTYPE_DEVICE,
		.srcDevice = on.cells,
		.dstMemoryType = CU_MEMORYTYPE_DEVICE,
		.dstDevice = on.cells + 4,
		.WidthInBytes = 4,
		.Height = 1,
		.Depth = 1};
	CUgraph body, captured;
	CUgraphNode node = add_conditional(on.graph, value, CU_GRAPH_COND_TYPE_IF, 1, &body);

	must(cuStreamBeginCaptureToGraph(
		on.stream, body, NULL, NULL, 0, CU_STREAM_CAPTURE_MODE_RELAXED));
	must(launch_slow(on.stream));
	must(launch_add(on.cells, 1, 1, on.stream));
	must(cuStreamEndCapture(on.stream, &captured));
	must(cuGraphAddMemcpyNode(&node, on.graph, &node, 1, &copy, fixture.ctx));
}

/* Of a launch behind other work, so that it does not wait for the host. */
static float launched_ms(void)
{
	CUevent start, end;
	float ms;

	must(cuEventCreate(&start, CU_EVENT_DEFAULT));
	must(cuEventCreate(&end, CU_EVENT_DEFAULT));
	must(launch_slow(on.stream));
	must(cuEventRecord(start, on.stream));
	must(cuGraphLaunch(on.exec, on.stream));
	must(cuEventRecord(end, on.stream));
	must(cuEventSynchronize(end));
	must(cuEventElapsedTime(&ms, start, end));
	must(cuEventDestroy(start));
	must(cuEventDestroy(end));
	return ms;
}

static void what_follows_waits_for_a_body_that_runs(void **state)
{
	(void)state;
	build_slow(1);
	must(instantiate());
	assert_launch_counts("11");
	assert_true(launched_ms() >= 60.0f);
}

static void a_body_that_does_not_run_takes_no_time(void **state)
{
	(void)state;
	build_slow(0);
	must(instantiate());
	assert_launch_counts("00");
	assert_true(launched_ms() < 60.0f);
}

static void handles_belong_to_a_graph(void **state)
{
	CUgraphConditionalHandle handle, other;
	CUgraphNodeParams params;
	CUgraph graph, body;
	CUgraphNode node;

	(void)state;
	must(cuGraphCreate(&graph, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuGraphConditionalHandleCreate(NULL, on.graph, NULL, 0, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuGraphConditionalHandleCreate(&handle, NULL, NULL, 0, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuGraphConditionalHandleCreate(&handle, on.graph, NULL, 0, 2));
	assert_cuda(CUDA_ERROR_INVALID_CONTEXT,
		cuGraphConditionalHandleCreate(&handle, on.graph, (CUcontext)graph, 0, 0));
	handle = handle_of(on.graph, 1);
	params = params_of(handle, CU_GRAPH_COND_TYPE_IF, 1);
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuGraphAddNode(&node, graph, NULL, NULL, 0, &params));
	must(cuGraphAddNode(&node, on.graph, NULL, NULL, 0, &params));
	body = params.conditional.phGraph_out[0];
	other = handle_of(body, 1);
	params = params_of(other, CU_GRAPH_COND_TYPE_IF, 1);
	assert_cuda(
		CUDA_ERROR_INVALID_VALUE, cuGraphAddNode(&node, on.graph, NULL, NULL, 0, &params));
	must(cuGraphAddNode(&node, body, NULL, NULL, 0, &params));
	other = handle_of(graph, 1);
	must(cuGraphDestroy(graph));
	params = params_of(other, CU_GRAPH_COND_TYPE_IF, 1);
	assert_cuda(
		CUDA_ERROR_INVALID_VALUE, cuGraphAddNode(&node, on.graph, NULL, NULL, 0, &params));
}

static void assert_refused(CUgraphNodeParams params, CUresult expected)
{
	CUgraphNode node = NULL;

	assert_cuda(expected, cuGraphAddNode(&node, on.graph, NULL, NULL, 0, &params));
	assert_null(node);
	assert_null(params.conditional.phGraph_out);
}

static void nodes_have_as_many_bodies_as_their_type_allows(void **state)
{
	const CUgraphConditionalHandle handle = handle_of(on.graph, 1);
	CUgraphNodeParams params;
	size_t count;

	(void)state;
	assert_refused(params_of(handle, CU_GRAPH_COND_TYPE_IF, 0), CUDA_ERROR_INVALID_VALUE);
	assert_refused(params_of(handle, CU_GRAPH_COND_TYPE_IF, 3), CUDA_ERROR_INVALID_VALUE);
	assert_refused(params_of(handle, CU_GRAPH_COND_TYPE_WHILE, 2), CUDA_ERROR_INVALID_VALUE);
	assert_refused(params_of(handle, CU_GRAPH_COND_TYPE_SWITCH, 0), CUDA_ERROR_INVALID_VALUE);
	assert_refused(
		params_of(handle, CU_GRAPH_COND_TYPE_SWITCH, UINT32_MAX), CUDA_ERROR_OUT_OF_MEMORY);
	assert_refused(
		params_of(handle, (CUgraphConditionalNodeType)3, 1), CUDA_ERROR_INVALID_VALUE);
	assert_refused(params_of(0, CU_GRAPH_COND_TYPE_IF, 1), CUDA_ERROR_INVALID_VALUE);
	params = params_of(handle, CU_GRAPH_COND_TYPE_IF, 1);
	params.conditional.ctx = (CUcontext)on.graph;
	assert_refused(params, CUDA_ERROR_INVALID_CONTEXT);
	must(cuGraphGetNodes(on.graph, NULL, &count));
	assert_int_equal(count, 0);
}

static void unused_handles_fail_instantiation(void **state)
{
	CUDA_GRAPH_INSTANTIATE_PARAMS params = {.flags = 0};
	CUgraph body = add_if(on.graph, 1);

	(void)state;
	handle_of(body, 1);
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuGraphInstantiateWithParams(&on.exec, on.graph, &params));
	assert_int_equal(params.result_out, CUDA_GRAPH_INSTANTIATE_CONDITIONAL_HANDLE_UNUSED);
	assert_null(on.exec);
}

static void graphs_with_them_are_used_once_at_a_time(void **state)
{
	CUgraph body = add_if(on.graph, 1), other;
	CUgraphNode node;
	CUgraphExec second;

	(void)state;
	count_in(body, 0, 1, NULL);
	assert_cuda(CUDA_ERROR_NOT_SUPPORTED, cuGraphClone(&other, on.graph));
	must(cuGraphCreate(&other, 0));
	assert_cuda(CUDA_ERROR_NOT_SUPPORTED,
		cuGraphAddChildGraphNode(&node, other, NULL, 0, on.graph));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuGraphDestroy(body));
	must(instantiate());
	assert_cuda(CUDA_ERROR_NOT_SUPPORTED, cuGraphInstantiate(&second, on.graph, 0));
	must(cuGraphExecDestroy(on.exec));
	assert_graph_counts("1");
	must(cuGraphAddChildGraphNode(&node, on.graph, NULL, 0, other));
	must(cuGraphDestroy(other));
	must(cuGraphChildGraphNodeGetGraph(node, &other));
	CUgraphNodeParams params = params_of(handle_of(other, 1), CU_GRAPH_COND_TYPE_IF, 1);
	assert_cuda(CUDA_ERROR_NOT_SUPPORTED, cuGraphAddNode(&node, other, NULL, NULL, 0, &params));
}

static void bodies_end_with_their_node_and_not_with_what_runs(void **state)
{
	CUgraph body, inner;
	CUgraphNode node = add_conditional(on.graph, 1, CU_GRAPH_COND_TYPE_IF, 1, &body);
	size_t count;

	(void)state;
	inner = add_if(body, 1);
	count_in(inner, 0, 3, NULL);
	must(instantiate());
	must(cuGraphDestroyNode(node));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuGraphGetNodes(body, NULL, &count));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuGraphGetNodes(inner, NULL, &count));
	must(cuGraphDestroy(on.graph));
	must(cuGraphCreate(&on.graph, 0));
	assert_launch_counts("3");
}

/* A graph that counts `amount` in one of two cells. */
static CUgraphNode build_choice(CUgraph graph, unsigned value, int amount)
{
	CUgraph bodies[2];
	CUgraphNode node;

	add_conditional(graph, value, CU_GRAPH_COND_TYPE_IF, 2, bodies);
	node = count_in(bodies[0], 0, amount, NULL);
	count_in(bodies[1], 1, amount, NULL);
	return node;
}

static CUgraphExecUpdateResult update(CUgraph graph)
{
	CUgraphExecUpdateResultInfo info;
	const CUresult result = cuGraphExecUpdate(on.exec, graph, &info);

	assert_int_equal(result, info.result == CU_GRAPH_EXEC_UPDATE_SUCCESS
					 ? CUDA_SUCCESS
					 : CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
	must(cuGraphDestroy(graph));
	return info.result;
}

static CUgraph new_graph(void)
{
	CUgraph graph;

	must(cuGraphCreate(&graph, 0));
	return graph;
}

static void updates_take_values_and_parameters_over(void **state)
{
	CUgraphExecUpdateResultInfo info;
	CUgraph graph = new_graph();

	(void)state;
	build_choice(on.graph, 1, 1);
	must(instantiate());
	must(cuGraphExecUpdate(on.exec, on.graph, &info)); /* its own */
	assert_launch_counts("10");
	build_choice(graph, 0, 4);
	assert_int_equal(update(graph), CU_GRAPH_EXEC_UPDATE_SUCCESS);
	assert_launch_counts("04");
	graph = new_graph();
	build_choice(graph, 2, 5);
	assert_int_equal(update(graph), CU_GRAPH_EXEC_UPDATE_SUCCESS);
	assert_launch_counts("50");
}

static void updates_change_no_bodies(void **state)
{
	CUgraph graph, bodies[2];

	(void)state;
	build_choice(on.graph, 1, 1);
	must(instantiate());
	graph = new_graph();
	add_conditional(graph, 1, CU_GRAPH_COND_TYPE_SWITCH, 2, bodies);
	count_in(bodies[0], 0, 2, NULL);
	count_in(bodies[1], 1, 2, NULL);
	assert_int_equal(update(graph), CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED);
	graph = new_graph();
	add_conditional(graph, 1, CU_GRAPH_COND_TYPE_IF, 2, bodies);
	count_in(bodies[0], 0, 2, NULL);
	assert_int_equal(update(graph), CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
	count_in(bodies[0] = add_if(graph = new_graph(), 1), 0, 2, NULL);
	count_in(bodies[0], 1, 2, NULL);
	assert_int_equal(update(graph), CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
	assert_launch_counts("10");
}

static void parameters_of_nodes_in_bodies_change_and_not_of_conditional_nodes(void **state)
{
	CUgraphNode node = build_choice(on.graph, 1, 1), conditional;
	CUgraphNodeParams params = params_of(0, CU_GRAPH_COND_TYPE_IF, 2);
	CUDA_KERNEL_NODE_PARAMS kernel;
	CUdeviceptr address = on.cells + 8;
	int amount = 6;
	size_t count = 1;

	(void)state;
	must(instantiate());
	must(cuGraphGetNodes(on.graph, &conditional, &count));
	assert_cuda(CUDA_ERROR_NOT_SUPPORTED, cuGraphNodeSetParams(conditional, &params));
	assert_cuda(
		CUDA_ERROR_NOT_SUPPORTED, cuGraphExecNodeSetParams(on.exec, conditional, &params));
	must(cuGraphKernelNodeGetParams(node, &kernel));
	kernel.kernelParams = (void *[]){&address, &amount};
	must(cuGraphExecKernelNodeSetParams(on.exec, node, &kernel));
	assert_launch_counts("006");
	must(cuGraphNodeSetEnabled(on.exec, node, 0));
	assert_launch_counts("000");
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(one_body_runs_or_none),
		TEST(default_counts_only_if_it_is_assigned),
		TEST(loops_that_begin_are_not_supported),
		TEST(bodies_run_within_bodies_that_run),
		TEST(a_handle_may_be_of_an_outer_graph),
		TEST(bodies_hold_kernels_copies_fills_and_children),
		TEST(bodies_take_no_other_nodes),
		TEST(what_follows_waits_for_a_body_that_runs),
		TEST(a_body_that_does_not_run_takes_no_time),
		TEST(a_handle_may_decide_for_several_nodes),
		TEST(handles_belong_to_a_graph),
		TEST(nodes_have_as_many_bodies_as_their_type_allows),
		TEST(unused_handles_fail_instantiation),
		TEST(graphs_with_them_are_used_once_at_a_time),
		TEST(bodies_end_with_their_node_and_not_with_what_runs),
		TEST(updates_take_values_and_parameters_over),
		TEST(updates_change_no_bodies),
		TEST(parameters_of_nodes_in_bodies_change_and_not_of_conditional_nodes),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
