/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_partition_bodies ways [FILLING] | walk SEED | in_capture | given_up | errors
 *
 * Conditional nodes whose bodies run. `ways` says how many SMs the kernel of a body used, by how
 * the contexts of handle and node are told (`null` or `named`) and how it came there, or for one
 * FILLING of them; `walk` those of random graphs with bodies in bodies, and how many there were;
 * `in_capture` those of a graph that gets its conditional node while a stream captures to it.
 * `given_up` makes a handle, ends the partition by a green context, and goes on. `errors` says what
 * mistakes are answered.
 */
#include "client.h"
#include "partition_gpu.h"

#include <string.h>

static struct gpu gpu;
static CUkernel kernel; /* census, of no context */
static uint32_t cycles = 1;
static void *values[] = {&gpu.seen, &cycles};

/* Ends the graph. */
static unsigned sms_of_graph(CUgraph graph)
{
	CUgraphExec exec;

	must(cuGraphInstantiateWithFlags(&exec, graph, 0), "instantiate");
	must(cuGraphLaunch(exec, NULL), "graph");
	must(cuGraphExecDestroy(exec), "destroy");
	must(cuGraphDestroy(graph), "destroy");
	return sms_of(&gpu);
}

static CUgraphConditionalHandle make_handle(CUgraph graph, CUcontext context)
{
	CUgraphConditionalHandle handle;

	must(cuGraphConditionalHandleCreate(
		     &handle, graph, context, 1, CU_GRAPH_COND_ASSIGN_DEFAULT),
		"handle");
	return handle;
}

/* What makes the node of a handle that is 1: the body runs. */
static CUgraphNodeParams node_of(CUgraphConditionalHandle handle, CUcontext context)
{
	return (CUgraphNodeParams){.type = CU_GRAPH_NODE_TYPE_CONDITIONAL,
		.conditional = {.handle = handle,
			.type = CU_GRAPH_COND_TYPE_IF,
			.size = 1,
			.ctx = context}};
}

static CUgraph add_body(CUgraph graph, CUgraphConditionalHandle handle, CUcontext context)
{
	CUgraphNodeParams params = node_of(handle, context);
	CUgraphNode node;

	must(cuGraphAddNode_v2(&node, graph, NULL, NULL, 0, &params), "conditional node");
	must_be(params.conditional.ctx == context, "the program's parameters are as they were");
	must_be(params.conditional.phGraph_out != NULL, "bodies");
	return params.conditional.phGraph_out[0];
}

static void fill_v1(CUgraph body)
{
	CUDA_KERNEL_NODE_PARAMS_v1 params = older_node(census_node(&gpu, values));
	CUgraphNode node;

	must(cuGraphAddKernelNode(&node, body, NULL, 0, &params), "v1");
}

static void fill_v2(CUgraph body)
{
	CUDA_KERNEL_NODE_PARAMS_v2 params = census_node(&gpu, values);
	CUgraphNode node;

	must(cuGraphAddKernelNode_v2(&node, body, NULL, 0, &params), "v2");
}

static void fill_any(CUgraph body)
{
	CUgraphNodeParams params = any_node(census_node(&gpu, values));
	CUgraphNode node;

	must(cuGraphAddNode_v2(&node, body, NULL, NULL, 0, &params), "any");
}

static void fill_kernel(CUgraph body)
{
	CUDA_KERNEL_NODE_PARAMS_v2 params = census_node(&gpu, values);
	CUgraphNode node;

	params.func = NULL;
	params.kern = kernel;
	must(cuGraphAddKernelNode_v2(&node, body, NULL, 0, &params), "kernel");
	params.ctx = gpu.primary;
	must(cuGraphAddKernelNode_v2(&node, body, &node, 1, &params), "kernel, named");
}

static void capture(CUgraph body, CUstream stream)
{
	CUgraph captured;

	must(cuStreamBeginCaptureToGraph(
		     stream, body, NULL, NULL, 0, CU_STREAM_CAPTURE_MODE_GLOBAL),
		"begin");
	bring_work(&gpu, stream);
	must(cuMemsetD8Async(gpu.seen + 64, 0, 1, stream), "memset");
	must(cuStreamEndCapture(stream, &captured), "end");
	must_be(captured == body, "the body");
}

static void fill_captured(CUgraph body)
{
	CUstream stream;

	must(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "stream");
	capture(body, stream);
	must(cuStreamDestroy_v2(stream), "destroy");
	capture(body, CU_STREAM_PER_THREAD);
}

static void fill_child(CUgraph body)
{
	CUgraph child = make_graph();
	CUgraphNode node;

	fill_v2(child);
	must(cuGraphAddChildGraphNode(&node, body, NULL, 0, child), "child");
	must(cuGraphDestroy(child), "destroy");
}

/* Fills and copies name a context by their own; work of a body is of its context. */
static void fill_with_bytes(CUgraph body)
{
	CUDA_MEMSET_NODE_PARAMS fill = {
		.dst = gpu.seen + 64, .elementSize = 1, .width = 1, .height = 1};
	CUgraphNode node;

	must(cuGraphAddMemsetNode(&node, body, NULL, 0, &fill, gpu.primary), "memset");
	fill_v2(body);
}

static void fill_and_set(CUgraph body)
{
	CUDA_KERNEL_NODE_PARAMS_v2 params = census_node(&gpu, values);
	CUgraphNode node;

	must(cuGraphAddKernelNode_v2(&node, body, NULL, 0, &params), "node");
	must(cuGraphKernelNodeGetParams_v2(node, &params), "get");
	must(cuGraphKernelNodeSetParams_v2(node, &params), "set");
}

static const struct {
	const char *name;
	void (*fill)(CUgraph body);
} fillings[] = {
	{"v1", fill_v1},
	{"v2", fill_v2},
	{"any", fill_any},
	{"kernel", fill_kernel},
	{"captured", fill_captured},
	{"child", fill_child},
	{"bytes", fill_with_bytes},
	{"set", fill_and_set},
};
#define FILLINGS (sizeof(fillings) / sizeof(fillings[0]))

/* Into the graph of a capture that is under way, between two kernels of it. */
static void in_capture(void)
{
	CUgraphNodeParams params;
	CUstreamCaptureStatus status;
	const CUgraphNode *before;
	CUgraph graph, body;
	CUgraphNode node;
	CUstream stream;
	cuuint64_t id;
	size_t count;

	must(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "stream");
	must(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL), "begin");
	bring_work(&gpu, stream);
	must(cuStreamGetCaptureInfo_v2(stream, &status, &id, &graph, &before, &count), "info");
	params = node_of(make_handle(graph, gpu.primary), gpu.primary);
	must(cuGraphAddNode_v2(&node, graph, before, NULL, count, &params), "conditional node");
	must(cuStreamUpdateCaptureDependencies(
		     stream, &node, 1, CU_STREAM_SET_CAPTURE_DEPENDENCIES),
		"update");
	body = params.conditional.phGraph_out[0];
	fill_captured(body);
	fill_any(body);
	bring_work(&gpu, stream);
	must(cuStreamEndCapture(stream, &graph), "end");
	must(cuStreamDestroy_v2(stream), "destroy");
	say("in_capture %u", sms_of_graph(graph));
}

static const char *name_of(CUcontext context)
{
	return context != NULL ? "named" : "null";
}

static void ways_with(CUcontext of_handle, CUcontext of_node, const char *only)
{
	for (size_t i = 0; i < FILLINGS; i++) {
		if (only != NULL && strcmp(only, fillings[i].name) != 0)
			continue;
		CUgraph graph = make_graph();
		CUgraph body = add_body(graph, make_handle(graph, of_handle), of_node);

		fillings[i].fill(body);
		say("%s_%s_%s %u", name_of(of_handle), name_of(of_node), fillings[i].name,
			sms_of_graph(graph));
	}
}

static void ways(const char *only)
{
	CUcontext contexts[] = {NULL, gpu.primary};

	for (unsigned i = 0; i < 4; i++)
		ways_with(contexts[i / 2], contexts[i % 2], only);
}

static uint32_t draw(uint64_t *seed, uint32_t below)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*seed >> 33) % below;
}

static CUcontext any_context(uint64_t *seed)
{
	return draw(seed, 2) != 0 ? gpu.primary : NULL;
}

/* Fills the graph and bodies in it. The handle is made for the outermost graph, or for this one.
 * Says how many bodies. */
static unsigned grow(CUgraph outermost, CUgraph graph, unsigned depth, uint64_t *seed)
{
	unsigned bodies = 0;

	fillings[draw(seed, FILLINGS)].fill(graph);
	for (unsigned i = depth < 4 ? draw(seed, 3) : 0; i > 0; i--) {
		CUgraphConditionalHandle handle =
			make_handle(draw(seed, 2) != 0 ? outermost : graph, any_context(seed));
		bodies += 1 + grow(outermost, add_body(graph, handle, any_context(seed)), depth + 1,
				      seed);
	}
	return bodies;
}

#define GRAPHS 30

static void walk(uint64_t seed)
{
	unsigned bodies = 0, most = 0;

	for (unsigned i = 0; i < GRAPHS; i++) {
		CUgraph graph = make_graph();

		bodies += grow(graph, graph, 0, &seed);
		unsigned sms = sms_of_graph(graph);
		most = sms > most ? sms : most;
	}
	say("sms %u", most);
	say("bodies %u", bodies);
}

/* Of all SMs, which a partition does not outlive. */
static void make_green_context(void)
{
	CUdevResource all;
	CUdevResourceDesc desc;
	CUgreenCtx green;

	must(cuDeviceGetDevResource(0, &all, CU_DEV_RESOURCE_TYPE_SM), "resource");
	must(cuDevResourceGenerateDesc(&desc, &all, 1), "descriptor");
	must(cuGreenCtxCreate(&green, desc, 0, CU_GREEN_CTX_DEFAULT_STREAM), "green context");
}

/* One graph has its handle made before, one its node too, one its kernel too. */
static void given_up(void)
{
	CUgraphConditionalHandle handles[3];
	CUgraph graphs[3], bodies[3];

	for (unsigned i = 0; i < 3; i++) {
		graphs[i] = make_graph();
		handles[i] = make_handle(graphs[i], gpu.primary);
		if (i > 0)
			bodies[i] = add_body(graphs[i], handles[i], gpu.primary);
		if (i > 1)
			fill_v2(bodies[i]);
	}
	bring_work(&gpu, NULL);
	say("before %u", sms_of(&gpu));
	make_green_context();
	bodies[0] = add_body(graphs[0], handles[0], gpu.primary);
	for (unsigned i = 0; i < 3; i++) {
		fill_v2(bodies[i]);
		fill_captured(bodies[i]);
		fill_kernel(bodies[i]);
		say("graph_%u %u", i, sms_of_graph(graphs[i]));
	}
	graphs[0] = make_graph();
	bodies[0] = add_body(graphs[0], make_handle(graphs[0], NULL), gpu.primary);
	fill_v2(bodies[0]);
	say("after %u", sms_of_graph(graphs[0]));
}

static void answer(int line, CUresult result)
{
	say("line_%d %d", line, (int)result);
}
#define ANSWER(call) answer(__LINE__, call)

static void errors(void)
{
	CUgraph graph = make_graph(), other = make_graph(), body;
	CUgraphConditionalHandle handle = 0, foreign = make_handle(other, NULL);
	CUcontext astray = (CUcontext)&gpu;
	CUDA_HOST_NODE_PARAMS host = {.fn = NULL};
	CUgraphNodeParams params;
	CUgraphNode node = NULL;
	CUgraphExec exec;
	CUstream stream;

	ANSWER(cuGraphConditionalHandleCreate(NULL, graph, NULL, 0, 0));
	ANSWER(cuGraphConditionalHandleCreate(&handle, NULL, gpu.primary, 0, 0));
	ANSWER(cuGraphConditionalHandleCreate(&handle, graph, gpu.primary, 0, 2));
	ANSWER(cuGraphConditionalHandleCreate(&handle, graph, astray, 0, 0));
	must(cuCtxSetCurrent(NULL), "current");
	ANSWER(cuGraphConditionalHandleCreate(&handle, graph, NULL, 0, 0));
	must(cuCtxSetCurrent(gpu.primary), "current");
	must_be(handle == 0, "what is refused gives no handle");
	params = node_of(foreign, NULL);
	ANSWER(cuGraphAddNode_v2(&node, graph, NULL, NULL, 0, &params));
	params = node_of(make_handle(graph, NULL), astray);
	ANSWER(cuGraphAddNode_v2(&node, graph, NULL, NULL, 0, &params));
	params.conditional.ctx = NULL;
	params.conditional.size = 3;
	ANSWER(cuGraphAddNode_v2(&node, graph, NULL, NULL, 0, &params));
	must_be(node == NULL && params.conditional.phGraph_out == NULL, "nor a node");
	ANSWER(cuGraphInstantiateWithFlags(&exec, graph, 0));
	params.conditional.size = 1;
	ANSWER(cuGraphAddNode_v2(&node, graph, NULL, NULL, 0, &params));
	ANSWER(cuGraphNodeSetParams(node, &params));
	body = params.conditional.phGraph_out[0];
	ANSWER(cuGraphAddNode_v2(&node, graph, NULL, NULL, 0, &params));
	ANSWER(cuGraphAddHostNode(&node, body, NULL, 0, &host));
	ANSWER(cuGraphClone(&other, graph));
	ANSWER(cuGraphDestroy(body));
	must(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "stream");
	must(cuStreamBeginCaptureToGraph(
		     stream, body, NULL, NULL, 0, CU_STREAM_CAPTURE_MODE_RELAXED),
		"begin");
	ANSWER(cuMemAllocAsync(&gpu.seen, 1, stream));
	ANSWER(cuStreamEndCapture(stream, &other));
}

int main(int argc, char *argv[])
{
	const char *what = argc > 1 ? argv[1] : "";

	gpu = begin();
	kernel = load_census_kernel();
	if (strcmp(what, "ways") == 0)
		ways(argc > 2 ? argv[2] : NULL);
	else if (strcmp(what, "in_capture") == 0)
		in_capture();
	else if (strcmp(what, "walk") == 0)
		walk(argument(argc, argv, 2, 1));
	else if (strcmp(what, "given_up") == 0)
		given_up();
	else if (strcmp(what, "errors") == 0)
		errors();
	else
		must_be(false, "see the usage");
	return 0;
}
