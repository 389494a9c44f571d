/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "partition_nodes.h"
#include "census.h"
#include "green.h"

#include <stddef.h>

extern const char kernels_ptx[]; /* partition.ptx */

/* A census as a kernel without a context. */
static CUkernel load_kernel(void)
{
	CUlibrary library;
	CUkernel kernel;

	MUST(cuLibraryLoadData(&library, kernels_ptx, NULL, NULL, 0, NULL, NULL, 0));
	MUST(cuLibraryGetKernel(&kernel, library, "gpu_census"));
	return kernel;
}

/* One of the two, with the context that is named, or NULL. */
static CUDA_KERNEL_NODE_PARAMS params_of(CUfunction function, CUkernel kernel, CUcontext context)
{
	static unsigned cycles = 20000;
	static void *values[] = {&census.seen, &cycles};

	return (CUDA_KERNEL_NODE_PARAMS){.func = function,
		.gridDimX = 8 * census.sms,
		.gridDimY = 1,
		.gridDimZ = 1,
		.blockDimX = 1024,
		.blockDimY = 1,
		.blockDimZ = 1,
		.kernelParams = values,
		.kern = kernel,
		.ctx = context};
}

static CUgraph new_graph(void)
{
	CUgraph graph;

	MUST(cuGraphCreate(&graph, 0));
	return graph;
}

static CUgraphNode add_node(CUgraph graph, const CUDA_KERNEL_NODE_PARAMS *params)
{
	CUgraphNode node;

	MUST(cuGraphAddKernelNode(&node, graph, NULL, 0, params));
	return node;
}

static CUgraphExec instantiate(CUgraph graph)
{
	CUgraphExec exec;

	MUST(cuGraphInstantiate(&exec, graph, 0));
	return exec;
}

static void tell_exec(const char *key, CUgraphExec exec)
{
	MUST(cuGraphLaunch(exec, NULL));
	probe_say(key, "%u", census_take());
}

static void tell_graph(const char *key, CUgraph graph)
{
	CUgraphExec exec = instantiate(graph);

	tell_exec(key, exec);
	MUST(cuGraphExecDestroy(exec));
}

/* A graph of one node; then that node with its parameters set in the graph. */
static void tell_node(const char *key, const char *key_set, const CUDA_KERNEL_NODE_PARAMS *params)
{
	CUgraph graph = new_graph();
	CUgraphNode node = add_node(graph, params);

	tell_graph(key, graph);
	MUST(cuGraphKernelNodeSetParams(node, params));
	tell_graph(key_set, graph);
	MUST(cuGraphDestroy(graph));
}

static CUgraphNode capture_into(CUgraph graph, CUstream stream)
{
	CUgraph ended;
	CUgraphNode node;
	size_t count = 1;

	MUST(cuStreamBeginCaptureToGraph(
		stream, graph, NULL, NULL, 0, CU_STREAM_CAPTURE_MODE_RELAXED));
	MUST(census_launch(stream));
	MUST(cuStreamEndCapture(stream, &ended));
	MUST(cuGraphGetNodes(graph, &node, &count));
	return node;
}

/* What a stream of the green context has captured, and what becomes of it. The function is of the
 * primary context, and stays what it is. */
static void tell_captured(CUstream stream)
{
	CUDA_KERNEL_NODE_PARAMS params = params_of(census.kernel, NULL, NULL);
	CUgraph graph = new_graph(), clone;
	CUgraphNode node = capture_into(graph, stream);
	CUgraphExec exec = instantiate(graph);

	tell_exec("captured", exec);
	MUST(cuGraphExecKernelNodeSetParams(exec, node, &params));
	tell_exec("captured_exec_set", exec);
	MUST(cuGraphExecDestroy(exec));
	MUST(cuGraphClone(&clone, graph));
	tell_graph("captured_cloned", clone);
	MUST(cuGraphDestroy(clone));
	MUST(cuGraphKernelNodeSetParams(node, &params));
	tell_graph("captured_set", graph);
	MUST(cuGraphDestroy(graph));
}

/* A conditional node whose body runs. */
static CUresult add_body(CUgraph graph, CUcontext of_handle, CUcontext of_node, CUgraph *ret_body)
{
	CUgraphNodeParams params = {.type = CU_GRAPH_NODE_TYPE_CONDITIONAL,
		.conditional = {.type = CU_GRAPH_COND_TYPE_IF, .size = 1, .ctx = of_node}};
	CUgraphNode node;
	CUresult result = cuGraphConditionalHandleCreate(
		&params.conditional.handle, graph, of_handle, 1, CU_GRAPH_COND_ASSIGN_DEFAULT);

	if (result == CUDA_SUCCESS)
		result = cuGraphAddNode(&node, graph, NULL, NULL, 0, &params);
	if (result == CUDA_SUCCESS)
		*ret_body = params.conditional.phGraph_out[0];
	return result;
}

/* A body that `stream` fills: its SMs, or what the driver refuses it with. */
static void tell_body(const char *key, CUcontext of_handle, CUcontext of_node, CUstream stream)
{
	CUgraph graph = new_graph(), body = NULL;
	CUgraphExec exec;
	CUresult result = add_body(graph, of_handle, of_node, &body);

	if (result == CUDA_SUCCESS) {
		capture_into(body, stream);
		result = cuGraphInstantiate(&exec, graph, 0);
	}
	if (result == CUDA_SUCCESS) {
		tell_exec(key, exec);
		MUST(cuGraphExecDestroy(exec));
	} else {
		probe_say_result(key, result);
	}
	MUST(cuGraphDestroy(graph));
}

void nodes_tell_green(CUgreenCtx green)
{
	CUcontext context = green_context(green);
	CUDA_KERNEL_NODE_PARAMS of_function = params_of(census.kernel, NULL, context);
	CUDA_KERNEL_NODE_PARAMS of_kernel = params_of(NULL, load_kernel(), context);
	CUstream stream = green_stream(green);

	tell_node("function_named", "function_named_set", &of_function);
	tell_node("kernel_named", "kernel_named_set", &of_kernel);
	tell_captured(stream);
	tell_body("body_named", context, context, stream);
	tell_body("body_of_primary", NULL, NULL, stream);
	tell_body("body_of_both", NULL, context, stream);
	MUST(cuStreamDestroy(stream));
}

/* The same as a program may do it, which nothing refuses. */
static void tell_own_body(const char *key, CUcontext context, bool is_captured)
{
	CUDA_KERNEL_NODE_PARAMS params = params_of(census.kernel, NULL, NULL);
	CUgraph graph = new_graph(), body = NULL;
	CUstream stream;

	MUST(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	MUST(add_body(graph, context, context, &body));
	if (is_captured)
		capture_into(body, stream);
	else
		add_node(body, &params);
	tell_graph(key, graph);
	MUST(cuGraphDestroy(graph));
	MUST(cuStreamDestroy(stream));
}

void nodes_tell_own(void)
{
	CUDA_KERNEL_NODE_PARAMS of_function = params_of(census.kernel, NULL, NULL);
	CUDA_KERNEL_NODE_PARAMS of_kernel = params_of(NULL, load_kernel(), NULL);
	CUcontext current;
	int told;

	MUST(census_launch(NULL));
	probe_say("default", "%u", census_take());
	tell_node("function", "function_set", &of_function);
	tell_node("kernel", "kernel_set", &of_kernel);
	MUST(cuCtxGetCurrent(&current));
	tell_own_body("body_function", current, false);
	tell_own_body("body_captured", current, true);
	tell_own_body("body_left_out", NULL, true);
	/* A slice that cannot keep nodes in has given its partition up. */
	MUST(cuDeviceGetAttribute(&told, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0));
	probe_say("told_afterwards", "%d", told);
}
