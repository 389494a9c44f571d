/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_partition_nodes ways | bytes | order SEED | errors | shown | add MILLISECONDS |
 *                               together MILLISECONDS
 *
 * Nodes that a program puts into graphs itself. `ways` says how many SMs each way of it used,
 * `bytes` those of copies and memsets, by the account of the machine, `order` whether nodes come in
 * the order of the graph, `errors` what mistakes are answered, `shown` which contexts the program
 * sees. `add` puts a node into a graph and then keeps the device busy, `together` does so in
 * threads while others wait for the context.
 */
#include "client.h"
#include "partition.h"
#include "partition_gpu.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct gpu gpu;
static CUkernel kernel; /* census, of no context */

static uint32_t cycles = 1;
static void *values[] = {&gpu.seen, &cycles};

static CUDA_KERNEL_NODE_PARAMS_v2 of_function(void)
{
	return census_node(&gpu, values);
}

static CUDA_KERNEL_NODE_PARAMS_v2 of_kernel(CUcontext context)
{
	CUDA_KERNEL_NODE_PARAMS_v2 params = of_function();

	params.func = NULL;
	params.kern = kernel;
	params.ctx = context;
	return params;
}

static CUgraphExec instantiate(CUgraph graph)
{
	CUgraphExec exec;

	must(cuGraphInstantiateWithFlags(&exec, graph, 0), "instantiate");
	return exec;
}

static void launch_and_say(const char *way, CUgraphExec exec)
{
	must(cuGraphLaunch(exec, NULL), "graph");
	say("%s %u", way, sms_of(&gpu));
}

/* Ends the graph. */
static void run_and_say(const char *way, CUgraph graph)
{
	CUgraphExec exec = instantiate(graph);

	launch_and_say(way, exec);
	must(cuGraphExecDestroy(exec), "destroy");
	must(cuGraphDestroy(graph), "destroy");
}

static void add_by_all_functions(void)
{
	CUDA_KERNEL_NODE_PARAMS_v1 v1 = older_node(of_function());
	CUDA_KERNEL_NODE_PARAMS_v2 v2 = of_function();
	CUgraphNodeParams any = any_node(v2);
	CUgraphEdgeData edge = {0};
	CUgraphNode node, next;
	CUgraph graph = make_graph();

	must(cuGraphAddKernelNode(&node, graph, NULL, 0, &v1), "v1");
	run_and_say("v1", graph);
	graph = make_graph();
	must(cuGraphAddKernelNode_v2(&node, graph, NULL, 0, &v2), "v2");
	run_and_say("v2", graph);
	graph = make_graph();
	must(cuGraphAddNode(&node, graph, NULL, 0, &any), "any");
	run_and_say("any", graph);
	graph = make_graph();
	must(cuGraphAddEmptyNode(&node, graph, NULL, 0), "empty");
	must(cuGraphAddNode_v2(&next, graph, &node, &edge, 1, &any), "any_v2");
	must_be(next != node, "another node");
	run_and_say("any_v2", graph);
}

static void *add_without_context(void *data)
{
	CUDA_KERNEL_NODE_PARAMS_v2 named = of_kernel(gpu.primary), function = of_function();
	CUgraph *graphs = data;
	CUcontext current;
	CUgraphNode node;

	must(cuCtxGetCurrent(&current), "current");
	must_be(current == NULL, "a new thread has no context");
	must(cuGraphAddKernelNode_v2(&node, graphs[0], NULL, 0, &named), "named");
	must(cuGraphAddKernelNode_v2(&node, graphs[1], NULL, 0, &function), "function");
	must(cuCtxGetCurrent(&current), "current");
	must_be(current == NULL, "and none afterwards");
	return NULL;
}

static void add_kernels_of_no_context(void)
{
	CUDA_KERNEL_NODE_PARAMS_v2 current = of_kernel(NULL), named = of_kernel(gpu.primary);
	CUgraphNodeParams any = any_node(named);
	CUgraph graphs[2];
	pthread_t thread;
	CUgraphNode node;

	graphs[0] = make_graph();
	must(cuGraphAddKernelNode_v2(&node, graphs[0], NULL, 0, &current), "current");
	run_and_say("kernel", graphs[0]);
	graphs[0] = make_graph();
	must(cuGraphAddNode_v2(&node, graphs[0], NULL, NULL, 0, &any), "named");
	must_be(any.kernel.ctx == gpu.primary, "the program's parameters are as they were");
	run_and_say("kernel_named", graphs[0]);
	graphs[0] = make_graph();
	graphs[1] = make_graph();
	must_be(pthread_create(&thread, NULL, add_without_context, graphs) == 0, "a thread");
	pthread_join(thread, NULL);
	run_and_say("kernel_elsewhere", graphs[0]);
	run_and_say("function_elsewhere", graphs[1]);
}

static CUgraph graph_of_function(CUgraphNode *ret_node)
{
	CUDA_KERNEL_NODE_PARAMS_v2 params = of_function();
	CUgraph graph = make_graph();

	must(cuGraphAddKernelNode_v2(ret_node, graph, NULL, 0, &params), "node");
	return graph;
}

static void nest(void)
{
	CUgraph inner, outer = make_graph(), clone;
	CUgraphNode node;

	inner = graph_of_function(&node);
	must(cuGraphAddChildGraphNode(&node, outer, NULL, 0, inner), "child");
	must(cuGraphClone(&clone, inner), "clone");
	run_and_say("clone", clone);
	run_and_say("child", outer);
	run_and_say("cloned_and_nested", inner);
}

/* Into the graph of a capture that is under way. */
static void add_to_capture(void)
{
	CUDA_KERNEL_NODE_PARAMS_v2 params = of_function();
	CUstreamCaptureStatus status;
	const CUgraphNode *before;
	CUgraph graph, ended;
	CUgraphNode node;
	CUstream stream;
	cuuint64_t id;
	size_t count;

	must(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "stream");
	must(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL), "begin");
	bring_work(&gpu, stream);
	must(cuStreamGetCaptureInfo_v2(stream, &status, &id, &graph, &before, &count), "info");
	must(cuGraphAddKernelNode_v2(&node, graph, before, count, &params), "node");
	must(cuStreamUpdateCaptureDependencies(
		     stream, &node, 1, CU_STREAM_SET_CAPTURE_DEPENDENCIES),
		"update");
	bring_work(&gpu, stream);
	must(cuStreamEndCapture(stream, &ended), "end");
	must(cuStreamDestroy_v2(stream), "destroy");
	run_and_say("in_capture", ended);
}

static void set_in_graph(void)
{
	CUDA_KERNEL_NODE_PARAMS_v1 v1 = older_node(of_function());
	CUDA_KERNEL_NODE_PARAMS_v2 function = of_function(), current = of_kernel(NULL);
	CUgraphNodeParams any = any_node(of_kernel(gpu.primary));
	CUgraphNode node;
	CUgraph graph = graph_of_function(&node);

	must(cuGraphKernelNodeSetParams(node, &v1), "v1");
	run_and_say("set_v1", graph);
	graph = graph_of_function(&node);
	must(cuGraphKernelNodeSetParams_v2(node, &function), "v2");
	run_and_say("set_v2", graph);
	graph = graph_of_function(&node);
	must(cuGraphKernelNodeSetParams_v2(node, &current), "kernel");
	run_and_say("set_kernel", graph);
	graph = graph_of_function(&node);
	must(cuGraphNodeSetParams(node, &any), "any");
	run_and_say("set_any", graph);
}

static void set_in_exec(void)
{
	CUDA_KERNEL_NODE_PARAMS_v1 v1 = older_node(of_function());
	CUDA_KERNEL_NODE_PARAMS_v2 function = of_function(), named = of_kernel(gpu.primary);
	CUgraphNodeParams any = any_node(of_kernel(NULL));
	CUgraphExecUpdateResultInfo info;
	CUgraphNode node, other;
	CUgraph graph = graph_of_function(&node), graph_2 = graph_of_function(&other);
	CUgraphExec exec = instantiate(graph);

	must(cuGraphExecKernelNodeSetParams(exec, node, &v1), "v1");
	launch_and_say("exec_v1", exec);
	must(cuGraphExecKernelNodeSetParams_v2(exec, node, &function), "v2");
	launch_and_say("exec_v2", exec);
	must(cuGraphExecKernelNodeSetParams_v2(exec, node, &named), "named");
	launch_and_say("exec_named", exec);
	must(cuGraphExecNodeSetParams(exec, node, &any), "any");
	launch_and_say("exec_any", exec);
	must(cuGraphExecUpdate_v2(exec, graph_2, &info), "update");
	launch_and_say("exec_update", exec);
	must(cuGraphExecDestroy(exec), "destroy");
}

/* A captured node, whose parameters are set afterwards. */
static void set_captured(void)
{
	CUDA_KERNEL_NODE_PARAMS_v2 params = of_function();
	CUstream stream;
	CUgraph graph;
	CUgraphNode node;
	size_t count = 1;

	must(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "stream");
	must(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL), "begin");
	bring_work(&gpu, stream);
	must(cuStreamEndCapture(stream, &graph), "end");
	must(cuStreamDestroy_v2(stream), "destroy");
	must(cuGraphGetNodes(graph, &node, &count), "nodes");
	must(cuGraphKernelNodeSetParams_v2(node, &params), "set");
	run_and_say("set_captured", graph);
}

static void ways(void)
{
	add_by_all_functions();
	add_kernels_of_no_context();
	nest();
	add_to_capture();
	set_in_graph();
	set_in_exec();
	set_captured();
}

static CUDA_MEMSET_NODE_PARAMS fill_of(CUdeviceptr to, unsigned value)
{
	return (CUDA_MEMSET_NODE_PARAMS){
		.dst = to, .value = value, .elementSize = 1, .width = MIB, .height = 1};
}

static CUDA_MEMCPY3D copy_of(CUdeviceptr to, CUdeviceptr from)
{
	return (CUDA_MEMCPY3D){.srcMemoryType = CU_MEMORYTYPE_DEVICE,
		.srcDevice = from,
		.dstMemoryType = CU_MEMORYTYPE_DEVICE,
		.dstDevice = to,
		.WidthInBytes = MIB,
		.Height = 1,
		.Depth = 1};
}

/* Each is one block on a machine that fills and copies by its SMs: so often that they would get
 * around. */
static void bytes(void)
{
	CUdeviceptr from, to;
	CUgraphNode fill, copy;
	CUgraphNodeParams any = {.type = CU_GRAPH_NODE_TYPE_MEMSET};
	CUgraph graph = make_graph();
	unsigned char seen;

	must(cuMemAlloc_v2(&from, MIB), "memory");
	must(cuMemAlloc_v2(&to, MIB), "memory");
	CUDA_MEMSET_NODE_PARAMS filling = fill_of(from, 5);
	CUDA_MEMCPY3D copying = copy_of(to, from);
	memcpy(&any.memset, &filling, sizeof(filling));
	any.memset.ctx = gpu.primary;
	must(cuGraphAddNode_v2(&fill, graph, NULL, NULL, 0, &any), "memset");
	must(cuGraphAddMemcpyNode(&copy, graph, &fill, 1, &copying, gpu.primary), "copy");
	must(cuGraphAddMemsetNode(&fill, graph, &copy, 1, &filling, gpu.primary), "memset");
	CUgraphExec exec = instantiate(graph);
	for (unsigned i = 0; i < 100; i++)
		must(cuGraphLaunch(exec, NULL), "graph");
	must(cuGraphExecMemsetNodeSetParams(exec, fill, &filling, gpu.primary), "set");
	must(cuGraphExecMemcpyNodeSetParams(exec, copy, &copying, gpu.primary), "set");
	for (unsigned i = 0; i < 100; i++)
		must(cuGraphLaunch(exec, NULL), "graph");
	must(cuCtxSynchronize(), "synchronize");
	must(cuMemcpyDtoH_v2(&seen, to + MIB - 1, 1), "read");
	say("copied %u", seen);
}

#define CHAIN 200u

/* A random graph of kernels that note their numbers: each comes behind what it depends on. */
static void order(uint64_t seed)
{
	static struct marks marks;
	static CUgraphNode nodes[CHAIN];
	static uint32_t before[CHAIN], place[CHAIN];
	CUgraph graph = make_graph();
	CUdeviceptr marked, cell;

	must(cuMemAlloc_v2(&marked, sizeof(marks)), "memory");
	must(cuMemAlloc_v2(&cell, 4), "memory");
	must(cuMemsetD8_v2(cell, 0, 4), "clear");
	marks.cell = (const uint32_t *)(uintptr_t)cell;
	must(cuMemcpyHtoD_v2(marked, &marks, sizeof(marks)), "clear");
	for (uint32_t i = 0; i < CHAIN; i++) {
		CUDA_KERNEL_NODE_PARAMS_v2 params = of_function();
		params.func = gpu.mark;
		params.gridDimX = params.blockDimX = 1;
		params.kernelParams = (void *[]){&marked, &i};
		seed = seed * UINT64_C(6364136223846793005) + 1;
		before[i] = i == 0 ? 0 : (uint32_t)(seed >> 33) % i;
		must(cuGraphAddKernelNode_v2(
			     &nodes[i], graph, &nodes[before[i]], i == 0 ? 0 : 1, &params),
			"node");
	}
	CUgraphExec exec = instantiate(graph);
	must(cuGraphLaunch(exec, NULL), "graph");
	must(cuMemcpyDtoH_v2(&marks, marked, sizeof(marks)), "read");
	must_be(marks.count == CHAIN, "each node runs once");
	for (uint32_t i = 0; i < CHAIN; i++)
		place[marks.list[i].number] = i;
	for (uint32_t i = 1; i < CHAIN; i++)
		must_be(place[before[i]] < place[i], "a node comes behind what it depends on");
	say("ordered %u", CHAIN);
}

static void answer(int line, CUresult result)
{
	say("line_%d %d", line, (int)result);
}
#define ANSWER(call) answer(__LINE__, call)

static void errors(void)
{
	CUDA_KERNEL_NODE_PARAMS_v2 good = of_function(), bad = of_function(), none = of_function();
	CUDA_KERNEL_NODE_PARAMS_v1 none_v1 = older_node(of_function());
	CUDA_KERNEL_NODE_PARAMS_v2 astray = of_kernel((CUcontext)&gpu);
	CUgraphNodeParams unknown = {.type = (CUgraphNodeType)99};
	CUDA_MEMSET_NODE_PARAMS fill = fill_of(gpu.seen, 0);
	CUgraphNode node = NULL, foreign;
	CUgraph graph = make_graph(), other = make_graph();
	CUgraphExec exec;
	size_t count;

	bad.blockDimX = 2048;
	none.func = NULL;
	none_v1.func = NULL;
	must(cuGraphAddKernelNode_v2(&foreign, other, NULL, 0, &good), "node");
	ANSWER(cuGraphAddKernelNode_v2(NULL, graph, NULL, 0, &good));
	ANSWER(cuGraphAddKernelNode_v2(&node, NULL, NULL, 0, &good));
	ANSWER(cuGraphAddKernelNode_v2(&node, graph, NULL, 0, NULL));
	ANSWER(cuGraphAddKernelNode(&node, graph, NULL, 0, NULL));
	ANSWER(cuGraphAddKernelNode(&node, graph, NULL, 0, &none_v1));
	ANSWER(cuGraphAddKernelNode_v2(&node, graph, NULL, 1, &good));
	ANSWER(cuGraphAddKernelNode_v2(&node, graph, &foreign, 1, &good));
	ANSWER(cuGraphAddKernelNode_v2(&node, graph, NULL, 0, &bad));
	ANSWER(cuGraphAddKernelNode_v2(&node, graph, NULL, 0, &none));
	ANSWER(cuGraphAddKernelNode_v2(&node, graph, NULL, 0, &astray));
	ANSWER(cuGraphAddNode_v2(&node, graph, NULL, NULL, 0, NULL));
	ANSWER(cuGraphAddNode_v2(&node, graph, NULL, NULL, 0, &unknown));
	ANSWER(cuGraphAddNode(&node, graph, NULL, 0, &unknown));
	ANSWER(cuGraphAddMemsetNode(&node, graph, NULL, 0, NULL, gpu.primary));
	ANSWER(cuGraphAddMemsetNode(&node, graph, NULL, 0, &fill, (CUcontext)&gpu));
	must_be(node == NULL, "what is refused gives no node");
	must(cuGraphGetNodes(graph, NULL, &count), "nodes");
	must_be(count == 0, "nor leaves one");
	must(cuGraphAddKernelNode_v2(&node, graph, NULL, 0, &good), "node");
	ANSWER(cuGraphKernelNodeSetParams_v2(node, NULL));
	ANSWER(cuGraphKernelNodeSetParams_v2(node, &bad));
	ANSWER(cuGraphKernelNodeSetParams_v2(node, &astray));
	ANSWER(cuGraphKernelNodeSetParams(node, NULL));
	ANSWER(cuGraphNodeSetParams(node, NULL));
	ANSWER(cuGraphNodeSetParams(node, &unknown));
	ANSWER(cuGraphKernelNodeGetParams_v2(node, NULL));
	exec = instantiate(graph);
	ANSWER(cuGraphExecKernelNodeSetParams_v2(exec, node, &bad));
	ANSWER(cuGraphExecKernelNodeSetParams_v2(exec, foreign, &good));
	ANSWER(cuGraphExecKernelNodeSetParams(exec, node, NULL));
	ANSWER(cuGraphExecNodeSetParams(exec, node, NULL));
	ANSWER(cuGraphExecMemsetNodeSetParams(exec, node, &fill, gpu.primary));
	ANSWER(cuLaunch(NULL));
	ANSWER(cuLaunchGrid(gpu.census, 0, 1));
	ANSWER(cuGreenCtxCreate(NULL, NULL, 0, 0));
	ANSWER(cuCtxRecordEvent(gpu.primary, NULL));
	ANSWER(cuCtxSynchronize());
}

static void shown(void)
{
	CUDA_KERNEL_NODE_PARAMS_v2 named = of_kernel(gpu.primary), seen;
	CUgraphNode node;
	CUgraph graph = make_graph();

	must(cuGraphAddKernelNode_v2(&node, graph, NULL, 0, &named), "node");
	must(cuGraphKernelNodeGetParams_v2(node, &seen), "params");
	say("named %d", seen.ctx == gpu.primary);
	must(cuGraphKernelNodeSetParams_v2(node, &seen), "set");
	run_and_say("set_as_shown", graph);
	graph = graph_of_function(&node);
	must(cuGraphKernelNodeGetParams_v2(node, &seen), "params");
	say("function %d",
		seen.func == gpu.census && (seen.ctx == gpu.primary || seen.ctx == NULL));
	must(cuGraphKernelNodeSetParams_v2(node, &seen), "set");
	run_and_say("function_as_shown", graph);
}

static void add(unsigned long milliseconds)
{
	int sms;
	CUgraphNode node;

	bring_work(&gpu, NULL);
	say("before %u", sms_of(&gpu));
	run_and_say("node", graph_of_function(&node));
	must(cuDeviceGetAttribute(&sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0), "SMs");
	say("told %d", sms);
	keep_busy(&gpu, NULL, milliseconds);
}

#define THREADS 4

static _Atomic bool is_over;
static _Atomic unsigned long added, waited;

static void *add_nodes(void *data)
{
	CUgraphNode node;

	(void)data;
	must(cuCtxSetCurrent(gpu.primary), "current");
	while (!is_over) {
		CUgraph graph = graph_of_function(&node);
		CUgraphExec exec = instantiate(graph);
		must(cuGraphLaunch(exec, NULL), "graph");
		must(cuGraphExecDestroy(exec), "destroy");
		must(cuGraphDestroy(graph), "destroy");
		if (++added % 16 == 0)
			must(cuStreamSynchronize(NULL), "synchronize");
	}
	return NULL;
}

static void *wait_for_context(void *data)
{
	CUevent event;

	(void)data;
	must(cuCtxSetCurrent(gpu.primary), "current");
	must(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING), "event");
	while (!is_over) {
		must(cuCtxSynchronize(), "synchronize");
		must(cuCtxSynchronize_v2(gpu.primary), "synchronize");
		must(cuCtxRecordEvent(gpu.primary, event), "record");
		must(cuCtxWaitEvent(gpu.primary, event), "wait");
		waited++;
	}
	return NULL;
}

static void together(unsigned long milliseconds)
{
	struct timespec span = {(time_t)milliseconds / 1000, (long)(milliseconds % 1000) * 1000000};
	pthread_t threads[THREADS];

	for (unsigned i = 0; i < THREADS; i++)
		must_be(pthread_create(&threads[i], NULL, i % 2 == 0 ? add_nodes : wait_for_context,
				NULL) == 0,
			"a thread");
	nanosleep(&span, NULL);
	is_over = true;
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	say("sms %u", sms_of(&gpu));
	say("added %lu", added);
	say("waited %lu", waited);
}

int main(int argc, char *argv[])
{
	const char *what = argc > 1 ? argv[1] : "";

	gpu = begin();
	kernel = load_census_kernel();
	if (strcmp(what, "ways") == 0)
		ways();
	else if (strcmp(what, "bytes") == 0)
		bytes();
	else if (strcmp(what, "order") == 0)
		order(argument(argc, argv, 2, 1));
	else if (strcmp(what, "errors") == 0)
		errors();
	else if (strcmp(what, "shown") == 0)
		shown();
	else if (strcmp(what, "add") == 0)
		add(argument(argc, argv, 2, 1000));
	else if (strcmp(what, "together") == 0)
		together(argument(argc, argv, 2, 1000));
	else
		must_be(false, "see the usage");
	return 0;
}
