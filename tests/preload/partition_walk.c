/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_partition_walk SEED MILLISECONDS THREADS
 *
 * Brings work to a device by random calls of many threads: streams of all kinds that come and go,
 * copies and memsets whose results are looked at, graphs, captured and put together, with bodies of
 * conditional nodes, launches of
 * before CUDA 4.0, and contexts that are current or not. Says how many SMs were used.
 */
#include "client.h"
#include "partition_gpu.h"

#include <pthread.h>
#include <string.h>

#define WALKERS    16
#define WALK_DEPTH 8
#define KINDS      10

static const char image[] = ".version 7.0\n"
			    ".target sm_75\n"
			    ".address_size 64\n"
			    ".visible .entry cuslice_census(.param .u64 a, .param .u32 b)\n"
			    "{ ret; }\n";

static struct gpu gpu;
static CUkernel free_census; /* of no context */
static uint32_t cycles = 1;
static void *values[] = {&gpu.seen, &cycles};

static uint32_t draw(uint64_t *seed, uint32_t below)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*seed >> 33) % below;
}

static void launch_ex(CUstream stream)
{
	CUlaunchConfig config = {.gridDimX = CENSUS_BLOCKS,
		.gridDimY = 1,
		.gridDimZ = 1,
		.blockDimX = 1024,
		.blockDimY = 1,
		.blockDimZ = 1,
		.hStream = stream};

	must(cuLaunchKernelEx(&config, gpu.census, values, NULL), "ex");
}

/* One thread of the walk. */
struct walker {
	pthread_t thread;
	uint64_t seed, until_ns;
	CUdeviceptr data;
	CUstream own[WALK_DEPTH];
	CUevent event;
	CUfunction old; /* that no other thread launches: it remembers its parameters */
	unsigned steps[KINDS], all_steps, nodes, bodies;
};

static CUstream any_stream(struct walker *walker)
{
	unsigned which = draw(&walker->seed, WALK_DEPTH + 3);

	if (which < WALK_DEPTH && walker->own[which] != NULL)
		return walker->own[which];
	return which % 3 == 0 ? NULL : which % 3 == 1 ? CU_STREAM_LEGACY : CU_STREAM_PER_THREAD;
}

static void remake_stream(struct walker *walker)
{
	CUstream *place = &walker->own[draw(&walker->seed, WALK_DEPTH)];

	if (*place != NULL)
		must(cuStreamDestroy_v2(*place), "destroy");
	must(cuStreamCreateWithPriority(
		     place, draw(&walker->seed, 2), -(int)draw(&walker->seed, 3)),
		"create");
}

static void read_back(CUstream stream, CUdeviceptr from, uint32_t value)
{
	uint32_t seen;

	must(cuMemcpyDtoHAsync_v2(&seen, from, sizeof(seen), stream), "DtoH");
	must(cuStreamSynchronize(stream), "synchronize");
	must_be(seen == value, "a stream reads what was written before");
}

/* Of four bytes, without a stream. */
static void copy_somehow(struct walker *walker, CUdeviceptr to, CUdeviceptr from)
{
	CUDA_MEMCPY2D flat = {.srcMemoryType = CU_MEMORYTYPE_DEVICE,
		.srcDevice = from,
		.dstMemoryType = CU_MEMORYTYPE_DEVICE,
		.dstDevice = to,
		.WidthInBytes = 4,
		.Height = 1};

	switch (draw(&walker->seed, 4)) {
	case 0:
		must(cuMemcpyDtoD_v2(to, from, 4), "DtoD");
		break;
	case 1:
		must(cuMemcpy(to, from, 4), "memcpy");
		break;
	case 2:
		must(cuMemcpy2D_v2(&flat), "2D");
		break;
	default:
		must(cuMemcpy2DUnaligned_v2(&flat), "2D");
		break;
	}
}

/* By the legacy stream and those that wait for it, by the thread's own, and by one that does not
 * wait: each has a cell of its own. */
static void move_data(struct walker *walker)
{
	CUdeviceptr legacy = walker->data, own = walker->data + 64, other = walker->data + 128;
	uint32_t value = draw(&walker->seed, UINT32_MAX), copied;

	switch (draw(&walker->seed, 5)) {
	case 0:
		must(cuMemcpyHtoD_v2(legacy, &value, sizeof(value)), "HtoD");
		read_back(CU_STREAM_PER_THREAD, legacy, value);
		break;
	case 1:
		must(cuMemsetD32Async(own, value, 1, CU_STREAM_PER_THREAD), "memset");
		read_back(CU_STREAM_PER_THREAD, own, value);
		break;
	case 2:
		must(cuMemsetD32_v2(legacy, value, 1), "memset");
		must(cuMemcpyDtoH_v2(&copied, legacy, sizeof(copied)), "DtoH");
		must_be(copied == value, "the legacy stream reads what it wrote");
		break;
	case 3:
		must(cuMemsetD8Async(walker->data + 192, 1, 64, any_stream(walker)), "memset");
		break;
	default:
		must(cuMemsetD32_v2(legacy, value, 1), "memset");
		copy_somehow(walker, other, legacy);
		read_back(NULL, other, value);
		break;
	}
}

static void swap_context(struct walker *walker)
{
	CUcontext popped;

	(void)walker;
	must(cuCtxPopCurrent_v2(&popped), "pop");
	must_be(popped == gpu.primary, "the context that was current");
	must(cuCtxPushCurrent_v2(popped), "push");
}

/* A node of a kind that is drawn, behind the one before. */
static CUgraphNode add_node(struct walker *walker, CUgraph graph, const CUgraphNode *before)
{
	CUDA_KERNEL_NODE_PARAMS_v2 params = census_node(&gpu, values);
	CUDA_MEMSET_NODE_PARAMS fill = {
		.dst = walker->data + 192, .value = 1, .elementSize = 1, .width = 64, .height = 1};
	CUgraphNodeParams any = {.type = CU_GRAPH_NODE_TYPE_KERNEL};
	CUDA_KERNEL_NODE_PARAMS_v1 older;
	size_t count = before != NULL ? 1 : 0;
	CUgraphNode node;

	walker->nodes++;
	switch (draw(&walker->seed, 5)) {
	case 0:
		memcpy(&older, &params, sizeof(older));
		must(cuGraphAddKernelNode(&node, graph, before, count, &older), "node");
		break;
	case 1:
		must(cuGraphAddMemsetNode(&node, graph, before, count, &fill, gpu.primary), "node");
		return node;
	case 2:
		params.func = NULL;
		params.kern = free_census;
		params.ctx = draw(&walker->seed, 2) != 0 ? gpu.primary : NULL;
		must(cuGraphAddKernelNode_v2(&node, graph, before, count, &params), "node");
		break;
	default:
		memcpy(&any.kernel, &params, sizeof(params));
		must(cuGraphAddNode_v2(&node, graph, before, NULL, count, &any), "node");
		break;
	}
	if (draw(&walker->seed, 2) != 0)
		must(cuGraphKernelNodeSetParams_v2(node, &params), "set");
	return node;
}

/* Of a conditional node, and runs. */
static CUgraph add_body(struct walker *walker, CUgraph graph)
{
	CUgraphNodeParams params = {.type = CU_GRAPH_NODE_TYPE_CONDITIONAL,
		.conditional = {.type = CU_GRAPH_COND_TYPE_IF, .size = 1}};
	CUgraphNode node;

	must(cuGraphConditionalHandleCreate(&params.conditional.handle, graph,
		     draw(&walker->seed, 2) != 0 ? gpu.primary : NULL, 1,
		     CU_GRAPH_COND_ASSIGN_DEFAULT),
		"handle");
	if (draw(&walker->seed, 2) != 0)
		params.conditional.ctx = gpu.primary;
	must(cuGraphAddNode_v2(&node, graph, NULL, NULL, 0, &params), "conditional node");
	walker->bodies++;
	return params.conditional.phGraph_out[0];
}

/* With bodies it cannot be nested. */
static void put_nodes_into_body(struct walker *walker)
{
	CUgraph graph, body;
	CUgraphNode node;
	CUgraphExec exec;

	must(cuGraphCreate(&graph, 0), "graph");
	body = add_body(walker, graph);
	node = add_node(walker, body, NULL);
	add_node(walker, body, &node);
	add_node(walker, add_body(walker, body), NULL);
	must(cuGraphInstantiateWithFlags(&exec, graph, 0), "instantiate");
	must(cuGraphLaunch(exec, any_stream(walker)), "graph");
	must(cuGraphExecDestroy(exec), "destroy");
	must(cuGraphDestroy(graph), "destroy");
}

static void put_nodes_into_graph(struct walker *walker)
{
	unsigned count = 1 + draw(&walker->seed, 4);
	CUgraph graph, outer;
	CUgraphNode nodes[4], child;
	CUgraphExec exec;

	must(cuGraphCreate(&graph, 0), "graph");
	must(cuGraphCreate(&outer, 0), "graph");
	for (unsigned i = 0; i < count; i++)
		nodes[i] = add_node(walker, graph, i > 0 ? &nodes[i - 1] : NULL);
	must(cuGraphAddChildGraphNode(&child, outer, NULL, 0, graph), "child");
	must(cuGraphInstantiateWithFlags(&exec, draw(&walker->seed, 2) != 0 ? graph : outer, 0),
		"instantiate");
	must(cuGraphLaunch(exec, any_stream(walker)), "graph");
	must(cuGraphLaunch(exec, any_stream(walker)), "graph");
	must(cuGraphExecDestroy(exec), "destroy");
	must(cuGraphDestroy(outer), "destroy");
	must(cuGraphDestroy(graph), "destroy");
}

static void launch_old(struct walker *walker)
{
	must(cuFuncSetBlockShape(walker->old, 1024, 1, 1), "shape");
	must(cuParamSetSize(walker->old, 12), "size");
	must(cuParamSetv(walker->old, 0, &gpu.seen, 8), "seen");
	must(cuParamSeti(walker->old, 8, 1), "cycles");
	if (draw(&walker->seed, 2) != 0)
		must(cuLaunchGrid(walker->old, CENSUS_BLOCKS, 1), "grid");
	else
		must(cuLaunch(walker->old), "launch");
}

/* Questions, and what is answered whatever runs. */
static void ask(struct walker *walker)
{
	CUstream stream = any_stream(walker);
	CUresult result = cuStreamQuery(stream);
	CUcontext context;

	must_be(result == CUDA_SUCCESS || result == CUDA_ERROR_NOT_READY, "query");
	result = cuEventQuery(walker->event);
	must_be(result == CUDA_SUCCESS || result == CUDA_ERROR_NOT_READY, "query");
	must(cuStreamGetCtx(stream, &context), "the stream's context");
	must_be(context == gpu.primary, "the stream's context");
	must(cuCtxSetCurrent(NULL), "current");
	must(cuCtxSetCurrent(gpu.primary), "current");
}

static void pass_event(struct walker *walker)
{
	must(cuEventRecord(walker->event, any_stream(walker)), "record");
	must(cuStreamWaitEvent(any_stream(walker), walker->event, 0), "wait");
}

static void wait_for_one(struct walker *walker)
{
	must(cuStreamSynchronize(any_stream(walker)), "synchronize");
}

static void launch_somehow(struct walker *walker)
{
	CUstream stream = any_stream(walker);

	switch (draw(&walker->seed, 4)) {
	case 0:
		launch_ex(stream);
		break;
	case 1:
		must(cuLaunchKernel_ptsz(
			     gpu.census, CENSUS_BLOCKS, 1, 1, 1024, 1, 1, 0, stream, values, NULL),
			"launch");
		break;
	default:
		bring_work(&gpu, stream);
		break;
	}
}

/* So often of all together. */
static const struct kind {
	const char *name;
	unsigned weight;
	void (*run)(struct walker *walker);
} kinds[KINDS] = {
	{"launches", 7, launch_somehow},
	{"old_launches", 1, launch_old},
	{"graphs", 1, put_nodes_into_graph},
	{"conditional_graphs", 1, put_nodes_into_body},
	{"copies_and_memsets", 1, move_data},
	{"streams_remade", 1, remake_stream},
	{"events", 1, pass_event},
	{"waits", 1, wait_for_one},
	{"contexts_swapped", 1, swap_context},
	{"questions", 1, ask},
};

static void step(struct walker *walker)
{
	unsigned all = 0, drawn;

	for (unsigned i = 0; i < KINDS; i++)
		all += kinds[i].weight;
	drawn = draw(&walker->seed, all);
	for (unsigned i = 0; i < KINDS; i++) {
		if (drawn < kinds[i].weight) {
			kinds[i].run(walker);
			walker->steps[i]++;
			return;
		}
		drawn -= kinds[i].weight;
	}
}

/* Not the whole context: another thread captures in it. */
static void wait_for_all(struct walker *walker)
{
	for (unsigned i = 0; i < WALK_DEPTH; i++) {
		if (walker->own[i] != NULL)
			must(cuStreamSynchronize(walker->own[i]), "synchronize");
	}
	must(cuStreamSynchronize(NULL), "synchronize");
	must(cuStreamSynchronize(CU_STREAM_PER_THREAD), "synchronize");
}

static void *walk_on(void *data)
{
	struct walker *walker = data;
	CUmodule own;

	must(cuCtxSetCurrent(gpu.primary), "current");
	must(cuModuleLoadData(&own, image), "module");
	must(cuModuleGetFunction(&walker->old, own, "cuslice_census"), "census");
	must(cuEventCreate(&walker->event, CU_EVENT_DISABLE_TIMING), "event");
	while (now_ns() < walker->until_ns) {
		step(walker);
		if (++walker->all_steps % 64 == 0)
			wait_for_all(walker);
	}
	wait_for_all(walker);
	return NULL;
}

/* Says how many graphs these were. */
static unsigned capture_meanwhile(uint64_t until_ns)
{
	unsigned graphs = 0;
	CUstream stream;
	CUgraph graph;
	CUgraphExec exec;

	must(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "stream");
	while (now_ns() < until_ns) {
		must(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_RELAXED), "begin");
		bring_work(&gpu, stream);
		must(cuStreamEndCapture(stream, &graph), "end");
		must(cuGraphInstantiateWithFlags(&exec, graph, 0), "instantiate");
		must(cuGraphLaunch(exec, stream), "graph");
		must(cuGraphLaunch(exec, NULL), "graph");
		must(cuStreamSynchronize(NULL), "synchronize");
		must(cuStreamSynchronize(stream), "synchronize");
		must(cuGraphExecDestroy(exec), "destroy");
		must(cuGraphDestroy(graph), "destroy");
		graphs++;
	}
	return graphs;
}

static void walk(uint64_t seed, unsigned long milliseconds, unsigned long threads)
{
	static struct walker walkers[WALKERS];
	uint64_t until_ns = now_ns() + milliseconds * 1000000u;
	unsigned steps[KINDS] = {0}, all_steps = 0, nodes = 0, bodies = 0;

	must_be(threads <= WALKERS, "so many threads");
	for (unsigned long i = 0; i < threads; i++) {
		walkers[i] = (struct walker){.seed = seed + i, .until_ns = until_ns};
		must(cuMemAlloc_v2(&walkers[i].data, 256), "memory");
		must_be(pthread_create(&walkers[i].thread, NULL, walk_on, &walkers[i]) == 0,
			"a thread");
	}
	unsigned captured = capture_meanwhile(until_ns);
	for (unsigned long i = 0; i < threads; i++) {
		pthread_join(walkers[i].thread, NULL);
		for (unsigned j = 0; j < KINDS; j++)
			steps[j] += walkers[i].steps[j];
		all_steps += walkers[i].all_steps;
		nodes += walkers[i].nodes;
		bodies += walkers[i].bodies;
	}
	say("sms %u", sms_of(&gpu));
	say("steps %u", all_steps);
	for (unsigned i = 0; i < KINDS; i++)
		say("%s %u", kinds[i].name, steps[i]);
	say("nodes %u", nodes);
	say("bodies %u", bodies);
	say("captured %u", captured);
}

int main(int argc, char *argv[])
{
	CUlibrary library;

	gpu = begin();
	must(cuLibraryLoadData(&library, image, NULL, NULL, 0, NULL, NULL, 0), "library");
	must(cuLibraryGetKernel(&free_census, library, "cuslice_census"), "kernel");
	walk(argument(argc, argv, 1, 1), argument(argc, argv, 2, 1000), argument(argc, argv, 3, 8));
	return 0;
}
