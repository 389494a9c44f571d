/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_partition_odd older | one | cluster | room | edge | devices | early | meet
 *
 * Nodes and calls that come where they are not expected. `older` says what becomes of nodes where
 * the driver may lack newer functions, `one` of a single one, `cluster` of one whose cluster may
 * not fit. `room` says for how many clusters the streams have room, and blocks the device, `edge`
 * what becomes of one behind a programmatic edge, `devices` of those of one device while the
 * context of the other is current, `early` before their own has had work. In `meet` threads wait
 * for the context before there is any work, and go on while it comes.
 */
#include "client.h"
#include "partition_gpu.h"

#include <pthread.h>
#include <string.h>

#define THREADS 4

static struct gpu gpu;
static uint32_t cycles = 1;
static void *values[] = {&gpu.seen, &cycles};

static CUDA_KERNEL_NODE_PARAMS_v2 of_function(void)
{
	return census_node(&gpu, values);
}

/* Says the answer, and the SMs of the graph that came of it, which ends. */
static void say_answer(const char *way, CUresult result, CUgraph graph)
{
	CUgraphExec exec;
	size_t count;

	must(cuGraphGetNodes(graph, NULL, &count), "nodes");
	say("answer_%s %d", way, (int)result);
	say("nodes_%s %zu", way, count);
	must(cuGraphInstantiateWithFlags(&exec, graph, 0), "instantiate");
	must(cuGraphLaunch(exec, NULL), "graph");
	say("%s %u", way, sms_of(&gpu));
	must(cuGraphExecDestroy(exec), "destroy");
	must(cuGraphDestroy(graph), "destroy");
}

static void older(void)
{
	CUDA_KERNEL_NODE_PARAMS_v1 v1 = older_node(of_function());
	CUDA_KERNEL_NODE_PARAMS_v2 v2 = of_function();
	CUgraphNodeParams any = any_node(v2);
	CUgraph graph = make_graph();
	CUgraphNode node;

	say_answer("v1", cuGraphAddKernelNode(&node, graph, NULL, 0, &v1), graph);
	graph = make_graph();
	say_answer("v2", cuGraphAddKernelNode_v2(&node, graph, NULL, 0, &v2), graph);
	graph = make_graph();
	say_answer("any", cuGraphAddNode(&node, graph, NULL, 0, &any), graph);
	graph = make_graph();
	say_answer("any_v2", cuGraphAddNode_v2(&node, graph, NULL, NULL, 0, &any), graph);
}

static void one(void)
{
	CUDA_KERNEL_NODE_PARAMS_v2 params = of_function();
	CUgraph graph = make_graph();
	CUgraphNode node;

	say_answer("one", cuGraphAddKernelNode_v2(&node, graph, NULL, 0, &params), graph);
}

#define CLUSTER 16
#define SHARED  (120 << 10) /* bytes: an SM holds one such block */

/* Sixteen blocks are on sixteen SMs then, which are not scheduled together. The first node is of
 * what fits. */
static void cluster(void)
{
	CUDA_KERNEL_NODE_PARAMS_v2 params = of_function();
	CUgraph graph = make_graph();
	CUgraphNode first, node;

	params.gridDimX = 2 * CLUSTER * 10;
	must(cuGraphAddKernelNode_v2(&first, graph, NULL, 0, &params), "what fits");
	must(cuFuncSetAttribute(gpu.census, CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1),
		"attribute");
	must(cuFuncSetAttribute(
		     gpu.census, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, SHARED),
		"attribute");
	must(cuFuncSetAttribute(gpu.census, CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT, 1),
		"height");
	must(cuFuncSetAttribute(gpu.census, CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH, 1), "depth");
	must(cuFuncSetAttribute(gpu.census, CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH, CLUSTER),
		"width");
	params.sharedMemBytes = SHARED;
	say_answer("cluster", cuGraphAddKernelNode_v2(&node, graph, &first, 1, &params), graph);
}

static int room_in(CUstream stream)
{
	CUlaunchAttribute attribute = {
		.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, .value.clusterDim = {8, 1, 1}};
	const CUlaunchConfig config = {.gridDimX = 8,
		.gridDimY = 1,
		.gridDimZ = 1,
		.blockDimX = 1024,
		.blockDimY = 1,
		.blockDimZ = 1,
		.hStream = stream,
		.attrs = &attribute,
		.numAttrs = 1};
	int clusters = -1;

	must(cuOccupancyMaxActiveClusters(&clusters, gpu.census, &config), "room");
	return clusters;
}

/* With as many blocks as all SMs hold at a time a cooperative launch is one that may be. */
static void say_grid(void)
{
	CUdeviceptr seen = gpu.seen;
	int grid, block, grid_by_flags;

	must(cuOccupancyMaxPotentialBlockSize(&grid, &block, gpu.census, NULL, 0, 0), "grid");
	must(cuOccupancyMaxPotentialBlockSizeWithFlags(
		     &grid_by_flags, &block, gpu.census, NULL, 0, 0, 0),
		"grid");
	say("grid %d %d", grid, grid_by_flags);
	say("launch %d", (int)cuLaunchCooperativeKernel(gpu.census, (unsigned)grid, 1, 1,
				 (unsigned)block, 1, 1, 0, NULL, (void *[]){&seen, &cycles}));
	say("no_grid %d",
		(int)cuOccupancyMaxPotentialBlockSize(NULL, &block, gpu.census, NULL, 0, 0));
}

static void room(void)
{
	CUstream made;
	int clusters;

	say("legacy %d %d", room_in(NULL), room_in(CU_STREAM_LEGACY));
	say("of_thread %d", room_in(CU_STREAM_PER_THREAD));
	must(cuStreamCreate(&made, CU_STREAM_DEFAULT), "stream");
	say("made %d", room_in(made));
	say_grid();
	say("refused %d", (int)cuOccupancyMaxActiveClusters(&clusters, gpu.census, NULL));
}

static void edge(void)
{
	const CUgraphEdgeData plain = {0},
			      early = {.from_port = CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC,
				      .type = CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC};
	CUgraphNodeParams any = any_node(of_function());
	CUgraph graph = make_graph();
	CUgraphNode first, second, third;

	must(cuGraphAddNode_v2(&first, graph, NULL, NULL, 0, &any), "first");
	say_answer("plain", cuGraphAddNode_v2(&second, graph, &first, &plain, 1, &any), graph);
	graph = make_graph();
	must(cuGraphAddNode_v2(&first, graph, NULL, NULL, 0, &any), "first");
	say_answer("early", cuGraphAddNode_v2(&third, graph, &first, &early, 1, &any), graph);
}

/* The function and its graph are the second device's. */
static void devices(void)
{
	struct gpu gpus[2];
	CUDA_KERNEL_NODE_PARAMS_v2 params;
	CUgraph graph;
	CUgraphNode node;
	int sms;

	must(cuInit(0), "cuInit");
	for (int i = 0; i < 2; i++)
		open_gpu(&gpus[i], i);
	gpu = gpus[1];
	params = of_function();
	graph = make_graph();
	must(cuCtxSetCurrent(gpus[0].primary), "current");
	CUresult result = cuGraphAddKernelNode_v2(&node, graph, NULL, 0, &params);
	must(cuCtxSetCurrent(gpus[1].primary), "current");
	say_answer("other", result, graph);
	for (int i = 0; i < 2; i++) {
		must(cuDeviceGetAttribute(&sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, i),
			"SMs");
		say("told_%d %d", i, sms);
	}
}

/* The same before the second device has had any work, and with it a partition. */
static void early(void)
{
	struct gpu gpus[2];
	CUDA_KERNEL_NODE_PARAMS_v2 params;
	CUgraph graph;
	CUgraphNode node;

	must(cuInit(0), "cuInit");
	open_gpu(&gpus[0], 0);
	load_gpu(&gpus[1], 1);
	gpu = gpus[1];
	must(cuMemAlloc_v2(&gpu.seen, 512), "memory");
	params = of_function();
	must(cuCtxSetCurrent(gpus[0].primary), "current");
	graph = make_graph();
	CUresult result = cuGraphAddKernelNode_v2(&node, graph, NULL, 0, &params);
	must(cuCtxSetCurrent(gpus[1].primary), "current");
	must(cuMemsetD8_v2(gpu.seen, 0, 512), "clear");
	say_answer("early", result, graph);
}

static _Atomic bool is_over;
static _Atomic unsigned long waited;

static void *wait_for_context(void *data)
{
	CUcontext primary = data;
	CUevent event;

	must(cuCtxSetCurrent(primary), "current");
	must(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING), "event");
	while (!is_over) {
		must(cuCtxSynchronize(), "synchronize");
		must(cuCtxRecordEvent(primary, event), "record");
		must(cuCtxWaitEvent(primary, event), "wait");
		waited++;
	}
	return NULL;
}

/* The partition is made, and tested, while others wait for the context again and again. */
static void meet(void)
{
	pthread_t threads[THREADS];
	CUcontext primary;

	must(cuInit(0), "cuInit");
	must(cuDevicePrimaryCtxRetain(&primary, 0), "primary");
	for (unsigned i = 0; i < THREADS; i++)
		must_be(pthread_create(&threads[i], NULL, wait_for_context, primary) == 0,
			"a thread");
	while (waited < THREADS)
		;
	open_gpu(&gpu, 0);
	is_over = true;
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	bring_work(&gpu, NULL);
	say("sms %u", sms_of(&gpu));
}

int main(int argc, char *argv[])
{
	const char *what = argc > 1 ? argv[1] : "";

	if (strcmp(what, "meet") == 0) {
		meet();
		return 0;
	}
	if (strcmp(what, "devices") == 0) {
		devices();
		return 0;
	}
	if (strcmp(what, "early") == 0) {
		early();
		return 0;
	}
	gpu = begin();
	if (strcmp(what, "older") == 0)
		older();
	else if (strcmp(what, "one") == 0)
		one();
	else if (strcmp(what, "cluster") == 0)
		cluster();
	else if (strcmp(what, "room") == 0)
		room();
	else if (strcmp(what, "edge") == 0)
		edge();
	else
		must_be(false, "see the usage");
	return 0;
}
