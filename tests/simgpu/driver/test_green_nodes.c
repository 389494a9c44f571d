/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Where the nodes of a graph run that were not captured: device 0 has 132 SMs of compute capability
 * 9.0, `green` are the SMs 32 to 39 of it.
 */
#include "test_census.h"

#include <stdlib.h>
#include <string.h>

#define FIRST 32u
#define END   40u

static struct {
	CUgreenCtx green;
	CUcontext ctx;
	CUlibrary library;
	CUkernel kernel; /* census, in no context */
	CUdeviceptr filled;
	CUgraph graph;
	CUgraphNode node;
	CUgraphExec exec;
} on;

static const char library_ptx[] = ".version 7.0\n"
				  ".target sm_75\n"
				  ".address_size 64\n"
				  ".visible .entry census(.param .u64 census_0)\n"
				  "{\n"
				  "	ret;\n"
				  "}\n";

static int set_up(void **state)
{
	census_setup(state);
	on.green = green_of(END - FIRST, FIRST / (END - FIRST));
	on.ctx = context_of(on.green);
	must(cuLibraryLoadData(&on.library, library_ptx, NULL, NULL, 0, NULL, NULL, 0));
	must(cuLibraryGetKernel(&on.kernel, on.library, "census"));
	must(cuMemAlloc(&on.filled, 4096));
	return 0;
}

static int tear_down(void **state)
{
	must(cuMemFree(on.filled));
	must(cuLibraryUnload(on.library));
	must(cuGreenCtxDestroy(on.green));
	return census_teardown(state);
}

static int begin(void **state)
{
	(void)state;
	must(cuGraphCreate(&on.graph, 0));
	on.exec = NULL;
	return 0;
}

static int end(void **state)
{
	(void)state;
	if (on.exec)
		must(cuGraphExecDestroy(on.exec));
	must(cuGraphDestroy(on.graph));
	return 0;
}

/* Of the function, or of the kernel where `is_kernel`. */
static CUDA_KERNEL_NODE_PARAMS params_of(bool is_kernel, CUcontext ctx)
{
	static void *values[] = {&census.bits};

	return (CUDA_KERNEL_NODE_PARAMS){.func = is_kernel ? NULL : census.kernel,
		.kern = is_kernel ? on.kernel : NULL,
		.ctx = ctx,
		.gridDimX = CENSUS_SMS,
		.gridDimY = 1,
		.gridDimZ = 1,
		.blockDimX = 1024,
		.blockDimY = 1,
		.blockDimZ = 1,
		.kernelParams = values};
}

static void add(bool is_kernel, CUcontext ctx)
{
	const CUDA_KERNEL_NODE_PARAMS params = params_of(is_kernel, ctx);

	must(cuGraphAddKernelNode(&on.node, on.graph, NULL, 0, &params));
}

/* Instantiates the graph unless it is, and launches it. */
static void replay(void)
{
	if (!on.exec)
		must(cuGraphInstantiateWithFlags(&on.exec, on.graph, 0));
	census_clear();
	must(cuGraphLaunch(on.exec, NULL));
	must(cuCtxSynchronize());
}

static void node_of_a_function_runs_in_the_functions_context(void **state)
{
	CUgraphNode captured;
	CUDA_KERNEL_NODE_PARAMS params = params_of(false, on.ctx);

	(void)state;
	must(cuCtxPushCurrent(on.ctx));
	must(cuGraphAddKernelNode(&captured, on.graph, NULL, 0, &params));
	must(cuCtxPopCurrent(NULL));
	replay();
	census_assert(0, CENSUS_SMS);
}

static void node_of_a_kernel_runs_in_the_context_that_is_current_when_it_is_made(void **state)
{
	CUDA_KERNEL_NODE_PARAMS found;

	(void)state;
	must(cuCtxPushCurrent(on.ctx));
	add(true, NULL);
	must(cuCtxPopCurrent(NULL));
	must(cuGraphKernelNodeGetParams(on.node, &found));
	assert_ptr_equal(found.ctx, on.ctx);
	replay();
	census_assert(FIRST, END);
}

static void node_of_a_kernel_runs_in_the_context_that_is_named(void **state)
{
	const CUDA_KERNEL_NODE_PARAMS unconverted = params_of(true, (CUcontext)on.green);

	(void)state;
	assert_cuda(CUDA_ERROR_INVALID_CONTEXT,
		cuGraphAddKernelNode(&on.node, on.graph, NULL, 0, &unconverted));
	add(true, on.ctx);
	replay();
	census_assert(FIRST, END);
}

static void node_of_a_kernel_that_names_a_context_leaks(void **state)
{
	(void)state;
	assert_int_equal(system(SIMGPU_COMMAND " set leak=named"), 0);
	add(true, on.ctx);
	assert_int_equal(system(SIMGPU_COMMAND " set leak=none"), 0);
	replay();
	census_assert(0, CENSUS_SMS);
}

static void capture_into_the_graph(CUstream stream)
{
	CUgraph captured;

	must(cuStreamBeginCaptureToGraph(
		stream, on.graph, NULL, NULL, 0, CU_STREAM_CAPTURE_MODE_RELAXED));
	must(census_launch(CENSUS_SMS, stream));
	must(cuStreamEndCapture(stream, &captured));
	assert_ptr_equal(captured, on.graph);
}

/* Sets the parameters of the only node, of the graph and of what was instantiated. */
static void set_params_twice(unsigned first_after, unsigned end_after)
{
	const CUDA_KERNEL_NODE_PARAMS params = params_of(false, NULL);
	size_t count = 1;

	must(cuGraphGetNodes(on.graph, &on.node, &count));
	replay();
	census_assert(FIRST, END);
	must(cuGraphExecKernelNodeSetParams(on.exec, on.node, &params));
	replay();
	census_assert(first_after, end_after);
	must(cuGraphExecDestroy(on.exec));
	on.exec = NULL;
	must(cuGraphKernelNodeSetParams(on.node, &params));
	replay();
	census_assert(first_after, end_after);
}

static void captured_node_stays_when_its_parameters_are_set(void **state)
{
	CUstream stream;

	(void)state;
	must(cuGreenCtxStreamCreate(&stream, on.green, CU_STREAM_NON_BLOCKING, 0));
	capture_into_the_graph(stream);
	set_params_twice(FIRST, END);
	must(cuStreamDestroy(stream));
}

static void captured_node_leaks_when_its_parameters_are_set(void **state)
{
	CUstream stream;

	(void)state;
	assert_int_equal(system(SIMGPU_COMMAND " set leak=set_params"), 0);
	must(cuGreenCtxStreamCreate(&stream, on.green, CU_STREAM_NON_BLOCKING, 0));
	capture_into_the_graph(stream);
	set_params_twice(0, CENSUS_SMS);
	must(cuStreamDestroy(stream));
	assert_int_equal(system(SIMGPU_COMMAND " set leak=none"), 0);
}

static void parameters_of_a_kernel_move_a_node(void **state)
{
	CUgraphNodeParams params = {.type = CU_GRAPH_NODE_TYPE_KERNEL};
	const CUDA_KERNEL_NODE_PARAMS kernel = params_of(true, fixture.ctx);

	(void)state;
	add(true, on.ctx);
	replay();
	census_assert(FIRST, END);
	memcpy(&params.kernel, &kernel, sizeof(kernel));
	must(cuGraphNodeSetParams(on.node, &params));
	must(cuGraphExecDestroy(on.exec));
	on.exec = NULL;
	replay();
	census_assert(0, CENSUS_SMS);
}

static void memset_and_copy_run_in_the_context_that_is_named(void **state)
{
	const CUDA_MEMSET_NODE_PARAMS fill = {
		.dst = on.filled, .value = 7, .elementSize = 1, .width = 64, .height = 1};
	const CUDA_MEMCPY3D copy = {.srcMemoryType = CU_MEMORYTYPE_DEVICE,
		.srcDevice = on.filled,
		.dstMemoryType = CU_MEMORYTYPE_DEVICE,
		.dstDevice = on.filled + 64,
		.WidthInBytes = 64,
		.Height = 1,
		.Depth = 1};
	CUgraphNode copied;
	char bytes[128];

	(void)state;
	assert_cuda(CUDA_ERROR_INVALID_CONTEXT,
		cuGraphAddMemsetNode(&on.node, on.graph, NULL, 0, &fill, (CUcontext)on.green));
	must(cuGraphAddMemsetNode(&on.node, on.graph, NULL, 0, &fill, on.ctx));
	must(cuGraphAddMemcpyNode(&copied, on.graph, &on.node, 1, &copy, on.ctx));
	must(cuGraphMemsetNodeSetParams(on.node, &fill));
	replay();
	must(cuGraphExecMemsetNodeSetParams(on.exec, on.node, &fill, fixture.ctx));
	must(cuGraphExecMemcpyNodeSetParams(on.exec, copied, &copy, on.ctx));
	replay();
	must(cuMemcpyDtoH(bytes, on.filled, sizeof(bytes)));
	assert_int_equal(bytes[0], 7);
	assert_int_equal(bytes[127], 7);
}

/* Adds a conditional node of `ctx` to `graph`, whose body runs. */
static CUgraph add_body(CUgraph graph, CUcontext ctx)
{
	CUgraphNodeParams params = {.type = CU_GRAPH_NODE_TYPE_CONDITIONAL,
		.conditional = {.type = CU_GRAPH_COND_TYPE_IF, .size = 1, .ctx = ctx}};

	must(cuGraphConditionalHandleCreate(
		&params.conditional.handle, graph, ctx, 1, CU_GRAPH_COND_ASSIGN_DEFAULT));
	must(cuGraphAddNode(&on.node, graph, NULL, NULL, 0, &params));
	return params.conditional.phGraph_out[0];
}

/* Puts a captured census of `ctx` into a body of `body_ctx`. */
static void capture_into_body(CUgreenCtx green, CUcontext body_ctx)
{
	CUgraph graph = on.graph;
	CUstream stream;

	on.graph = add_body(graph, body_ctx);
	must(cuGreenCtxStreamCreate(&stream, green, CU_STREAM_NON_BLOCKING, 0));
	capture_into_the_graph(stream);
	must(cuStreamDestroy(stream));
	on.graph = graph;
}

static void body_runs_in_the_context_of_its_node(void **state)
{
	(void)state;
	capture_into_body(on.green, on.ctx);
	replay();
	census_assert(FIRST, END);
}

static void body_of_another_context_cannot_be_instantiated(void **state)
{
	(void)state;
	capture_into_body(on.green, fixture.ctx);
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuGraphInstantiate(&on.exec, on.graph, 0));
}

static void body_in_a_body_is_of_its_context(void **state)
{
	(void)state;
	add_body(add_body(on.graph, on.ctx), fixture.ctx);
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuGraphInstantiate(&on.exec, on.graph, 0));
}

static void handle_and_node_are_of_one_context(void **state)
{
	CUgraphNodeParams params = {.type = CU_GRAPH_NODE_TYPE_CONDITIONAL,
		.conditional = {.type = CU_GRAPH_COND_TYPE_IF, .size = 1, .ctx = on.ctx}};

	(void)state;
	must(cuGraphConditionalHandleCreate(&params.conditional.handle, on.graph, NULL, 1, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuGraphAddNode(&on.node, on.graph, NULL, NULL, 0, &params));
	must(cuCtxPushCurrent(on.ctx));
	must(cuGraphConditionalHandleCreate(&params.conditional.handle, on.graph, NULL, 1, 0));
	must(cuCtxPopCurrent(NULL));
	must(cuGraphAddNode(&on.node, on.graph, NULL, NULL, 0, &params));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
		TEST(node_of_a_function_runs_in_the_functions_context),
		TEST(node_of_a_kernel_runs_in_the_context_that_is_current_when_it_is_made),
		TEST(node_of_a_kernel_runs_in_the_context_that_is_named),
		TEST(node_of_a_kernel_that_names_a_context_leaks),
		TEST(captured_node_stays_when_its_parameters_are_set),
		TEST(captured_node_leaks_when_its_parameters_are_set),
		TEST(parameters_of_a_kernel_move_a_node),
		TEST(memset_and_copy_run_in_the_context_that_is_named),
		TEST(body_runs_in_the_context_of_its_node),
		TEST(body_of_another_context_cannot_be_instantiated),
		TEST(body_in_a_body_is_of_its_context),
		TEST(handle_and_node_are_of_one_context),
#undef TEST
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
