/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_changes CHANGE
 *
 * Launches something until its cost is known, changes it so that it takes ten times as long,
 * launches it four times, changes it back, and launches it four times again. Says how much GPU time
 * was billed for each four: `longer NANOSECONDS`, `shorter NANOSECONDS`. A launch is BLOCKS blocks
 * of the kernel or BYTES, or ten times that.
 */
#include "client.h"

#include <dlfcn.h>
#include <string.h>

#define LAUNCHES 4
#define TIMES    10
/* As many as run at a time on 132 SMs. */
#define BLOCKS (132u * 32u)
#define BYTES  (64u << 10)

static struct functions cu;
static void *libcuda;

static CUcontext context;
static CUmodule module;
static CUfunction kernel;
static CUstream stream;
static CUdeviceptr dst, src;
static CUgraph graph;
static CUgraphNode node, second_node;
static CUgraphExec exec;

static void *find(const char *symbol)
{
	void *found = dlsym(libcuda, symbol);

	must_be(found != NULL, symbol);
	return found;
}
#define FIND(symbol) ((__typeof__(symbol) *)find(#symbol))

static CUDA_KERNEL_NODE_PARAMS kernel_params(unsigned times)
{
	return (CUDA_KERNEL_NODE_PARAMS){.func = kernel,
		.gridDimX = times * BLOCKS,
		.gridDimY = 1,
		.gridDimZ = 1,
		.blockDimX = 32,
		.blockDimY = 1,
		.blockDimZ = 1};
}

static CUDA_MEMSET_NODE_PARAMS fill_params(unsigned times)
{
	return (CUDA_MEMSET_NODE_PARAMS){
		.dst = dst, .elementSize = 1, .width = times * BYTES, .height = 1};
}

static CUDA_MEMCPY3D copy_params(unsigned times)
{
	return (CUDA_MEMCPY3D){.srcMemoryType = CU_MEMORYTYPE_DEVICE,
		.srcDevice = src,
		.srcPitch = times * BYTES,
		.srcHeight = 1,
		.dstMemoryType = CU_MEMORYTYPE_DEVICE,
		.dstDevice = dst,
		.dstPitch = times * BYTES,
		.dstHeight = 1,
		.WidthInBytes = times * BYTES,
		.Height = 1,
		.Depth = 1};
}

static CUgraph kernel_graph(unsigned times, CUgraphNode *ret_node)
{
	CUDA_KERNEL_NODE_PARAMS params = kernel_params(times);
	CUgraph made;

	must(cu.cuGraphCreate(&made, 0), "cuGraphCreate");
	must(FIND(cuGraphAddKernelNode_v2)(ret_node, made, NULL, 0, &params), "kernel node");
	return made;
}

static void instantiate(void)
{
	must(cu.cuGraphInstantiateWithFlags(&exec, graph, 0), "instantiate");
}

static void make_kernel_graph(void)
{
	graph = kernel_graph(1, &node);
	instantiate();
}

static void make_fill_graph(void)
{
	CUDA_MEMSET_NODE_PARAMS params = fill_params(1);

	must(cu.cuGraphCreate(&graph, 0), "cuGraphCreate");
	must(FIND(cuGraphAddMemsetNode)(&node, graph, NULL, 0, &params, context), "memset node");
	instantiate();
}

static void make_copy_graph(void)
{
	CUDA_MEMCPY3D params = copy_params(1);

	must(cu.cuGraphCreate(&graph, 0), "cuGraphCreate");
	must(FIND(cuGraphAddMemcpyNode)(&node, graph, NULL, 0, &params, context), "memcpy node");
	instantiate();
}

static void make_child_graph(void)
{
	CUgraphNode unused;
	CUgraph child = kernel_graph(1, &unused);

	must(cu.cuGraphCreate(&graph, 0), "cuGraphCreate");
	must(FIND(cuGraphAddChildGraphNode)(&node, graph, NULL, 0, child), "child graph");
	instantiate();
	must(cu.cuGraphDestroy(child), "cuGraphDestroy");
}

static void add_kernel_to_body(CUgraph body, unsigned times, CUgraphNode *ret_node)
{
	CUDA_KERNEL_NODE_PARAMS params = kernel_params(times);

	must(FIND(cuGraphAddKernelNode_v2)(ret_node, body, NULL, 0, &params), "kernel node");
}

/* One of two bodies runs: the kernel, or ten times that. */
static CUgraph choice_of_graphs(unsigned times, CUgraphNode *ret_node)
{
	CUgraphNodeParams params = {.type = CU_GRAPH_NODE_TYPE_CONDITIONAL,
		.conditional = {.type = CU_GRAPH_COND_TYPE_IF, .size = 2, .ctx = context}};
	CUgraphNode unused;
	CUgraph made;

	must(cu.cuGraphCreate(&made, 0), "cuGraphCreate");
	must(FIND(cuGraphConditionalHandleCreate)(&params.conditional.handle, made, context,
		     times == 1, CU_GRAPH_COND_ASSIGN_DEFAULT),
		"handle");
	must(FIND(cuGraphAddNode_v2)(&unused, made, NULL, NULL, 0, &params), "conditional node");
	add_kernel_to_body(params.conditional.phGraph_out[0], 1, ret_node);
	add_kernel_to_body(params.conditional.phGraph_out[1], TIMES, &unused);
	return made;
}

static void make_choice(void)
{
	graph = choice_of_graphs(1, &node);
	instantiate();
}

/* The second node makes the difference, and is disabled at first. */
static void make_graph_of_two(void)
{
	CUDA_KERNEL_NODE_PARAMS params = kernel_params(TIMES - 1);

	graph = kernel_graph(1, &node);
	must(FIND(cuGraphAddKernelNode_v2)(&second_node, graph, &node, 1, &params), "second node");
	instantiate();
	must(FIND(cuGraphNodeSetEnabled)(exec, second_node, 0), "disable");
}

static CUresult update_to(CUgraph other)
{
	CUgraphExecUpdateResultInfo info;
	CUresult res = FIND(cuGraphExecUpdate_v2)(exec, other, &info);

	must(cu.cuGraphDestroy(other), "cuGraphDestroy");
	return res;
}

static CUresult update(unsigned times)
{
	CUgraphNode unused;

	return update_to(kernel_graph(times, &unused));
}

static CUresult update_choice(unsigned times)
{
	CUgraphNode unused;

	return update_to(choice_of_graphs(times, &unused));
}

static CUresult update_v1(unsigned times)
{
	CUgraphExecUpdateResult result;
	CUgraphNode unused;
	CUgraph other = kernel_graph(times, &unused);
	CUresult res = FIND(cuGraphExecUpdate)(exec, other, &unused, &result);

	must(cu.cuGraphDestroy(other), "cuGraphDestroy");
	return res;
}

static CUresult set_kernel(unsigned times)
{
	CUDA_KERNEL_NODE_PARAMS params = kernel_params(times);

	return FIND(cuGraphExecKernelNodeSetParams_v2)(exec, node, &params);
}

static CUresult set_kernel_v1(unsigned times)
{
	CUDA_KERNEL_NODE_PARAMS_v1 params = {.func = kernel,
		.gridDimX = times * BLOCKS,
		.gridDimY = 1,
		.gridDimZ = 1,
		.blockDimX = 32,
		.blockDimY = 1,
		.blockDimZ = 1};

	return FIND(cuGraphExecKernelNodeSetParams)(exec, node, &params);
}

static CUresult set_any(unsigned times)
{
	CUgraphNodeParams params = {.type = CU_GRAPH_NODE_TYPE_KERNEL};
	CUDA_KERNEL_NODE_PARAMS of_kernel = kernel_params(times);

	memcpy(&params.kernel, &of_kernel, sizeof(of_kernel));
	return FIND(cuGraphExecNodeSetParams)(exec, node, &params);
}

static CUresult set_child(unsigned times)
{
	CUgraphNode unused;
	CUgraph child = kernel_graph(times, &unused);
	CUresult res = FIND(cuGraphExecChildGraphNodeSetParams)(exec, node, child);

	must(cu.cuGraphDestroy(child), "cuGraphDestroy");
	return res;
}

static CUresult set_fill(unsigned times)
{
	CUDA_MEMSET_NODE_PARAMS params = fill_params(times);

	return FIND(cuGraphExecMemsetNodeSetParams)(exec, node, &params, context);
}

static CUresult set_copy(unsigned times)
{
	CUDA_MEMCPY3D params = copy_params(times);

	return FIND(cuGraphExecMemcpyNodeSetParams)(exec, node, &params, context);
}

static CUresult set_enabled(unsigned times)
{
	return FIND(cuGraphNodeSetEnabled)(exec, second_node, times > 1);
}

/* Another graph, which may come to lie where this one was. */
static CUresult make_another(unsigned times)
{
	must(cu.cuGraphExecDestroy(exec), "cuGraphExecDestroy");
	must(cu.cuGraphDestroy(graph), "cuGraphDestroy");
	graph = kernel_graph(times, &node);
	return cu.cuGraphInstantiateWithFlags(&exec, graph, 0);
}

static const struct {
	const char *name;
	void (*make)(void);
	CUresult (*change)(unsigned times);
} changes[] = {
	{"cuGraphExecUpdate_v2", make_kernel_graph, update},
	{"cuGraphExecUpdate", make_kernel_graph, update_v1},
	{"cuGraphExecKernelNodeSetParams_v2", make_kernel_graph, set_kernel},
	{"cuGraphExecKernelNodeSetParams", make_kernel_graph, set_kernel_v1},
	{"cuGraphExecNodeSetParams", make_kernel_graph, set_any},
	{"cuGraphExecChildGraphNodeSetParams", make_child_graph, set_child},
	{"cuGraphExecMemsetNodeSetParams", make_fill_graph, set_fill},
	{"cuGraphExecMemcpyNodeSetParams", make_copy_graph, set_copy},
	{"cuGraphNodeSetEnabled", make_graph_of_two, set_enabled},
	{"cuGraphExecUpdate_v2 to another body", make_choice, update_choice},
	{"cuGraphExecKernelNodeSetParams_v2 in a body", make_choice, set_kernel},
	{"cuGraphExecDestroy", make_kernel_graph, make_another},
};

static unsigned long long billed_ns(void)
{
	return read_slice(0).gpu_time_ns;
}

/* Each launch sees the end of the one before, so that at the end one bill is as predicted. */
static unsigned long long launch_some(unsigned count)
{
	unsigned long long before_ns = billed_ns();

	for (unsigned i = 0; i < count; i++) {
		must(cu.cuGraphLaunch(exec, stream), "cuGraphLaunch");
		must(cu.cuStreamSynchronize(stream), "cuStreamSynchronize");
	}
	return billed_ns() - before_ns;
}

static void open_gpu(void)
{
	libcuda = functions_from_dlopen(&cu, "libcuda.so.1");
	must(cu.cuInit(0), "cuInit");
	must(cu.cuCtxCreate_v2(&context, 0, 0), "cuCtxCreate");
	kernel = load_kernel(&cu, &module);
	must(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
	must(cu.cuMemAlloc_v2(&dst, TIMES * BYTES), "cuMemAlloc");
	must(cu.cuMemAlloc_v2(&src, TIMES * BYTES), "cuMemAlloc");
}

int main(int argc, char *argv[])
{
	size_t at = 0;

	while (at < sizeof(changes) / sizeof(changes[0]) && argc > 1 &&
		strcmp(changes[at].name, argv[1]) != 0)
		at++;
	must_be(argc > 1 && at < sizeof(changes) / sizeof(changes[0]), "a change");
	open_gpu();
	changes[at].make();
	launch_some(20);
	must(changes[at].change(TIMES), changes[at].name);
	say("longer %llu", launch_some(LAUNCHES));
	must(changes[at].change(1), changes[at].name);
	say("shorter %llu", launch_some(LAUNCHES));
	return 0;
}
