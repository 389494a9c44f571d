/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What stands before the driver's functions about nodes, and about whole contexts, which a capture
 * of ours must not meet (nodes_capture.c).
 */
#include "partition/nodes.h"
#include "base/clock.h"
#include "partition/streams.h"

#include <stddef.h>
#include <string.h>

#define GET_OUT "nodes that the program puts into graphs run on other SMs too"
#define REFUSED "the driver takes a node that the program puts into a graph for other SMs only"

/* What the program asked for was done as it asked, outside of the partition. */
static CUresult outside(struct lanes *lanes, CUresult result)
{
	if (result == CUDA_SUCCESS)
		partition_refuse(lanes, REFUSED);
	return result;
}

/* A kernel node was made or changed. */
static CUresult inside(struct lanes *lanes, CUresult result)
{
	if (result == CUDA_SUCCESS && atomic_load(&lanes->nodes.get_out))
		partition_refuse(lanes, GET_OUT);
	return result;
}

/* The partition of work in `context`; NULL stands for the current one. */
static struct lanes *partition_around(CUcontext context)
{
	struct lanes *lanes;
	CUcontext popped;

	if (context == NULL)
		return partition_current();
	lanes = partition_of(context);
	if (lanes != NULL || partition_places() == 0 ||
		driver_real.cuCtxPushCurrent_v2(context) != CUDA_SUCCESS)
		return lanes;
	lanes = partition_current();
	driver_real.cuCtxPopCurrent_v2(&popped);
	return lanes;
}

/* The same where the driver lets nodes name it. All that is in a conditional node has to be of the
 * context of its handle, so nothing is named where that cannot be. */
static struct lanes *partition_in(CUcontext context)
{
	struct lanes *lanes = partition_around(context);

	return lanes != NULL && !atomic_load(&lanes->nodes.no_bodies) ? lanes : NULL;
}

static struct lanes *partition_named(CUcontext context)
{
	return context != NULL ? partition_in(context) : NULL;
}

/* A handle or a conditional node was made as the program asked, outside of the partition. */
static CUresult outside_with_bodies(struct lanes *lanes, CUresult result)
{
	if (result == CUDA_SUCCESS)
		atomic_store(&lanes->nodes.no_bodies, true);
	return outside(lanes, result);
}

/* Functions are those of the current context as a rule; a program that has none current has one
 * partition as a rule. NULL where a context is current that has no partition. */
static struct lanes *partition_of_function(void)
{
	struct lanes *lanes = partition_current();
	CUcontext current = NULL;

	if (lanes != NULL || driver_real.cuCtxGetCurrent(&current) != CUDA_SUCCESS ||
		current != NULL)
		return lanes;
	for (unsigned i = 0; i < partition_places() && lanes == NULL; i++)
		lanes = partition_at(i);
	return lanes;
}

/* Where the context stands that `params` name, and NULL there stands for the current one; NULL
 * where they name none that counts. */
static CUcontext *context_in(CUgraphNodeParams *params)
{
	switch (params->type) {
	case CU_GRAPH_NODE_TYPE_KERNEL:
		return params->kernel.func == NULL ? &params->kernel.ctx : NULL;
	case CU_GRAPH_NODE_TYPE_MEMCPY:
		return params->memcpy.copyCtx != NULL ? &params->memcpy.copyCtx : NULL;
	case CU_GRAPH_NODE_TYPE_MEMSET:
		return params->memset.ctx != NULL ? &params->memset.ctx : NULL;
	case CU_GRAPH_NODE_TYPE_CONDITIONAL:
		return &params->conditional.ctx;
	default:
		return NULL;
	}
}

/* What is done with parameters, by a function of the driver. */
struct use {
	CUresult (*call)(const struct use *use, CUgraphNodeParams *params);
	struct place place;
	CUgraphExec exec;
	CUgraphNode node;
};

static CUresult use_outside(const struct use *use, CUgraphNodeParams *params, struct lanes *lanes)
{
	CUresult result = use->call(use, params);

	return params->type == CU_GRAPH_NODE_TYPE_CONDITIONAL ? outside_with_bodies(lanes, result)
							      : outside(lanes, result);
}

/* With the partition named in place of its primary context. */
static CUresult use_named(const struct use *use, CUgraphNodeParams *params)
{
	CUgraphNodeParams named = *params;
	CUcontext *context = context_in(&named);
	struct lanes *lanes = context != NULL ? partition_in(*context) : NULL;

	if (lanes == NULL)
		return use->call(use, params);
	CUcontext asked = *context;
	*context = lanes->green_context;
	CUresult result = use->call(use, &named);
	if (result != CUDA_SUCCESS)
		return use_outside(use, params, lanes);
	*context = asked;
	*params = named; /* the driver may have written to it */
	return params->type == CU_GRAPH_NODE_TYPE_KERNEL ? inside(lanes, result) : result;
}

/* Finds out without touching the program's graph, as what may be added to a graph, and also be
 * launched in the partition: a refused launch may lose the graph in whose capture it comes. */
static bool can_capture(struct lanes *lanes, const struct use *use, CUgraphNodeParams *params)
{
	struct use trial = *use;
	CUgraphNode node;

	trial.place = (struct place){.ret_node = &node};
	if (lanes == NULL || driver_real.cuGraphCreate(&trial.place.graph, 0) != CUDA_SUCCESS)
		return false;
	bool can = trial.call(&trial, params) == CUDA_SUCCESS &&
		   nodes_capture(lanes, &trial.place, &params->kernel) == CUDA_SUCCESS;
	driver_real.cuGraphDestroy(trial.place.graph);
	return can;
}

/* The driver does not tell whose a function is: with several devices it may be another one's than
 * the current context. NULL where no partition takes it. */
static struct lanes *partition_that_takes(
	struct lanes *first, const struct use *use, CUgraphNodeParams *params)
{
	if (can_capture(first, use, params))
		return first;
	for (unsigned i = 0; i < partition_places(); i++) {
		struct lanes *other = partition_at(i);
		if (other != first && can_capture(other, use, params))
			return other;
	}
	return NULL;
}

/* Such edges are those of programmatic launches. What captures make of them nobody has seen. */
static bool has_edge_data(const struct place *place)
{
	static const CUgraphEdgeData none;

	for (size_t i = 0; place->edges != NULL && i < place->count; i++) {
		if (memcmp(&place->edges[i], &none, sizeof(none)) != 0)
			return true;
	}
	return false;
}

/* A kernel of a context. What cannot be is refused by the driver itself, asked as the program asks.
 */
static CUresult add_function(const struct use *use, CUgraphNodeParams *params)
{
	if (partition_places() == 0 || use->place.ret_node == NULL)
		return use->call(use, params);
	struct lanes *current = partition_of_function();
	struct lanes *lanes = partition_that_takes(current, use, params);
	if (lanes != NULL && !atomic_load(&lanes->nodes.no_bodies) && !has_edge_data(&use->place) &&
		nodes_capture(lanes, &use->place, &params->kernel) == CUDA_SUCCESS)
		return inside(lanes, CUDA_SUCCESS);
	CUresult result = use->call(use, params);
	if (lanes == NULL && current != NULL && result == CUDA_SUCCESS)
		partition_refuse_all(REFUSED);
	return lanes != NULL ? outside(lanes, result) : result;
}

static CUresult add_any(const struct use *use, CUgraphNodeParams *params)
{
	if (params == NULL)
		return use->call(use, params);
	if (params->type == CU_GRAPH_NODE_TYPE_KERNEL && params->kernel.func != NULL)
		return add_function(use, params);
	return use_named(use, params);
}

static CUresult call_add_node(const struct use *use, CUgraphNodeParams *params)
{
	const struct place *place = &use->place;

	return driver_real.cuGraphAddNode_v2(place->ret_node, place->graph, place->dependencies,
		place->edges, place->count, params);
}

CUresult CUDAAPI beneath_cuGraphAddNode_v2(CUgraphNode *node, CUgraph graph,
	const CUgraphNode *dependencies, const CUgraphEdgeData *edges, size_t count,
	CUgraphNodeParams *params)
{
	const struct use use = {
		.call = call_add_node, .place = {node, graph, dependencies, edges, count}};

	return add_any(&use, params);
}

/* Drivers of before CUDA 12.3 have no other. */
static CUresult call_add_node_v1(const struct use *use, CUgraphNodeParams *params)
{
	const struct place *place = &use->place;

	return driver_real.cuGraphAddNode(
		place->ret_node, place->graph, place->dependencies, place->count, params);
}

CUresult CUDAAPI beneath_cuGraphAddNode(CUgraphNode *node, CUgraph graph,
	const CUgraphNode *dependencies, size_t count, CUgraphNodeParams *params)
{
	const struct use use = {
		.call = call_add_node_v1, .place = {node, graph, dependencies, NULL, count}};

	return add_any(&use, params);
}

_Static_assert(sizeof(CUDA_KERNEL_NODE_PARAMS_v2) == sizeof(CUDA_KERNEL_NODE_PARAMS_v3) &&
		       offsetof(CUDA_KERNEL_NODE_PARAMS_v2, ctx) ==
			       offsetof(CUDA_KERNEL_NODE_PARAMS_v3, ctx),
	"the same struct");

static CUgraphNodeParams any_of(const CUDA_KERNEL_NODE_PARAMS_v2 *kernel)
{
	CUgraphNodeParams any;

	memset(&any, 0, sizeof(any));
	any.type = CU_GRAPH_NODE_TYPE_KERNEL;
	memcpy(&any.kernel, kernel, sizeof(*kernel));
	return any;
}

/* The older struct is the beginning of the newer one. */
static CUgraphNodeParams any_of_v1(const CUDA_KERNEL_NODE_PARAMS_v1 *kernel)
{
	CUDA_KERNEL_NODE_PARAMS_v2 newer = {0};

	memcpy(&newer, kernel, sizeof(*kernel));
	return any_of(&newer);
}

static CUresult call_add_kernel(const struct use *use, CUgraphNodeParams *params)
{
	const struct place *place = &use->place;

	return driver_real.cuGraphAddKernelNode_v2(place->ret_node, place->graph,
		place->dependencies, place->count,
		(const CUDA_KERNEL_NODE_PARAMS_v2 *)&params->kernel);
}

CUresult CUDAAPI beneath_cuGraphAddKernelNode_v2(CUgraphNode *node, CUgraph graph,
	const CUgraphNode *dependencies, size_t count, const CUDA_KERNEL_NODE_PARAMS_v2 *kernel)
{
	const struct use use = {
		.call = call_add_kernel, .place = {node, graph, dependencies, NULL, count}};
	CUgraphNodeParams any;

	if (kernel == NULL)
		return driver_real.cuGraphAddKernelNode_v2(
			node, graph, dependencies, count, kernel);
	any = any_of(kernel);
	return add_any(&use, &any);
}

CUresult CUDAAPI beneath_cuGraphAddKernelNode(CUgraphNode *node, CUgraph graph,
	const CUgraphNode *dependencies, size_t count, const CUDA_KERNEL_NODE_PARAMS_v1 *kernel)
{
	const struct use use = {
		.call = call_add_kernel, .place = {node, graph, dependencies, NULL, count}};
	CUgraphNodeParams any;

	/* Drivers of before CUDA 12.0 have no other, and no partition. */
	if (kernel == NULL || kernel->func == NULL || partition_places() == 0)
		return driver_real.cuGraphAddKernelNode(node, graph, dependencies, count, kernel);
	any = any_of_v1(kernel);
	return add_any(&use, &any);
}

/* A function was set: its node stays where it is, if the self-test has seen that. */
static CUresult set_function(CUresult result)
{
	struct lanes *lanes = partition_of_function();

	return lanes != NULL ? inside(lanes, result) : result;
}

static CUresult set_any(const struct use *use, CUgraphNodeParams *params)
{
	if (params == NULL)
		return use->call(use, params);
	if (params->type == CU_GRAPH_NODE_TYPE_KERNEL && params->kernel.func != NULL)
		return set_function(use->call(use, params));
	return use_named(use, params);
}

static CUresult call_set(const struct use *use, CUgraphNodeParams *params)
{
	return driver_real.cuGraphNodeSetParams(use->node, params);
}

CUresult CUDAAPI beneath_cuGraphNodeSetParams(CUgraphNode node, CUgraphNodeParams *params)
{
	const struct use use = {.call = call_set, .node = node};

	return set_any(&use, params);
}

static CUresult call_exec_set(const struct use *use, CUgraphNodeParams *params)
{
	return driver_real.cuGraphExecNodeSetParams(use->exec, use->node, params);
}

CUresult CUDAAPI beneath_cuGraphExecNodeSetParams(
	CUgraphExec exec, CUgraphNode node, CUgraphNodeParams *params)
{
	const struct use use = {.call = call_exec_set, .exec = exec, .node = node};

	return set_any(&use, params);
}

static CUresult call_set_kernel(const struct use *use, CUgraphNodeParams *params)
{
	return driver_real.cuGraphKernelNodeSetParams_v2(
		use->node, (const CUDA_KERNEL_NODE_PARAMS_v2 *)&params->kernel);
}

CUresult CUDAAPI beneath_cuGraphKernelNodeSetParams_v2(
	CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS_v2 *kernel)
{
	const struct use use = {.call = call_set_kernel, .node = node};
	CUgraphNodeParams any;

	if (kernel == NULL)
		return driver_real.cuGraphKernelNodeSetParams_v2(node, kernel);
	any = any_of(kernel);
	return set_any(&use, &any);
}

CUresult CUDAAPI beneath_cuGraphKernelNodeSetParams(
	CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS_v1 *kernel)
{
	return set_function(driver_real.cuGraphKernelNodeSetParams(node, kernel));
}

static CUresult call_exec_set_kernel(const struct use *use, CUgraphNodeParams *params)
{
	return driver_real.cuGraphExecKernelNodeSetParams_v2(
		use->exec, use->node, (const CUDA_KERNEL_NODE_PARAMS_v2 *)&params->kernel);
}

CUresult CUDAAPI beneath_cuGraphExecKernelNodeSetParams_v2(
	CUgraphExec exec, CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS_v2 *kernel)
{
	const struct use use = {.call = call_exec_set_kernel, .exec = exec, .node = node};
	CUgraphNodeParams any;

	if (kernel == NULL)
		return driver_real.cuGraphExecKernelNodeSetParams_v2(exec, node, kernel);
	any = any_of(kernel);
	return set_any(&use, &any);
}

CUresult CUDAAPI beneath_cuGraphExecKernelNodeSetParams(
	CUgraphExec exec, CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS_v1 *kernel)
{
	return set_function(driver_real.cuGraphExecKernelNodeSetParams(exec, node, kernel));
}

/* The program knows the primary context, and no partition. */
CUresult CUDAAPI beneath_cuGraphKernelNodeGetParams_v2(
	CUgraphNode node, CUDA_KERNEL_NODE_PARAMS_v2 *kernel)
{
	CUresult result = driver_real.cuGraphKernelNodeGetParams_v2(node, kernel);

	for (unsigned i = 0; i < partition_places() && result == CUDA_SUCCESS; i++) {
		struct lanes *lanes = partition_at(i);
		if (lanes != NULL && kernel->ctx == lanes->green_context)
			kernel->ctx = lanes->primary;
	}
	return result;
}

/* Functions to which the context of a node is an argument, here by the name `context`: `find` tells
 * its partition, `leave` is told of what was done outside. */
#define IN_CONTEXT(symbol, find, leave, parameters, arguments)                              \
	CUresult CUDAAPI beneath_##symbol parameters                                        \
	{                                                                                   \
		CUcontext asked = context;                                                  \
		struct lanes *lanes = find(context);                                        \
		if (lanes == NULL)                                                          \
			return driver_real.symbol arguments;                                \
		context = lanes->green_context;                                             \
		CUresult result = driver_real.symbol arguments;                             \
		context = asked;                                                            \
		return result == CUDA_SUCCESS ? result                                      \
					      : leave(lanes, driver_real.symbol arguments); \
	}

IN_CONTEXT(cuGraphAddMemcpyNode, partition_named, outside,
	(CUgraphNode * node, CUgraph graph, const CUgraphNode *dependencies, size_t count,
		const CUDA_MEMCPY3D *params, CUcontext context),
	(node, graph, dependencies, count, params, context))
IN_CONTEXT(cuGraphAddMemsetNode, partition_named, outside,
	(CUgraphNode * node, CUgraph graph, const CUgraphNode *dependencies, size_t count,
		const CUDA_MEMSET_NODE_PARAMS *params, CUcontext context),
	(node, graph, dependencies, count, params, context))
IN_CONTEXT(cuGraphExecMemcpyNodeSetParams, partition_named, outside,
	(CUgraphExec exec, CUgraphNode node, const CUDA_MEMCPY3D *params, CUcontext context),
	(exec, node, params, context))
IN_CONTEXT(cuGraphExecMemsetNodeSetParams, partition_named, outside,
	(CUgraphExec exec, CUgraphNode node, const CUDA_MEMSET_NODE_PARAMS *params,
		CUcontext context),
	(exec, node, params, context))
IN_CONTEXT(cuGraphConditionalHandleCreate, partition_in, outside_with_bodies,
	(CUgraphConditionalHandle * handle, CUgraph graph, CUcontext context, unsigned int value,
		unsigned int flags),
	(handle, graph, context, value, flags))

/* A call about a whole context. */
struct call {
	struct nodes *nodes; /* NULL: no partition is concerned */
	uint64_t captures;
};

static struct call begin_call(CUcontext context)
{
	struct lanes *lanes = partition_of(context);
	struct call call = {.nodes = lanes != NULL ? &lanes->nodes : NULL};

	if (call.nodes == NULL)
		return call;
	lock_take(&call.nodes->lock);
	call.captures = atomic_load(&call.nodes->captures);
	call.nodes->last_call_ns = clock_now_ns();
	atomic_fetch_add(&call.nodes->calls, 1);
	lock_drop(&call.nodes->lock);
	return call;
}

/* True where a capture of ours was in the way all the same, be it of the self-test of a partition
 * that was not there when the call began: to be called once more. */
static bool end_call(const struct call *call, CUcontext context, CUresult result)
{
	if (call->nodes == NULL)
		return result == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED &&
		       partition_of(context) != NULL;
	atomic_fetch_sub(&call->nodes->calls, 1);
	return result == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED &&
	       call->captures != atomic_load(&call->nodes->captures);
}

#define ABOUT_CONTEXT(symbol, context, parameters, arguments)  \
	CUresult CUDAAPI beneath_##symbol parameters           \
	{                                                      \
		struct call call;                              \
		CUresult result;                               \
		do {                                           \
			call = begin_call(context);            \
			result = driver_real.symbol arguments; \
		} while (end_call(&call, context, result));    \
		return result;                                 \
	}

ABOUT_CONTEXT(cuCtxSynchronize, NULL, (void), ())
ABOUT_CONTEXT(cuCtxSynchronize_v2, context, (CUcontext context), (context))
ABOUT_CONTEXT(cuCtxRecordEvent, context, (CUcontext context, CUevent event), (context, event))
ABOUT_CONTEXT(cuCtxWaitEvent, context, (CUcontext context, CUevent event), (context, event))

/* Hooks that nothing but the partition needs. */
#define STREAM_HOOK(symbol)
#define STREAM_HOOK_IN_C(symbol)
#define STREAM_HOOK_IN_CALLS(symbol)
#define NODE_HOOK(symbol)                       \
	extern __typeof__(symbol) hook_##symbol \
		__attribute__((alias("beneath_" #symbol), visibility("hidden")));
#include "partition/streams_hooks.def"
#undef STREAM_HOOK
#undef STREAM_HOOK_IN_C
#undef STREAM_HOOK_IN_CALLS
#undef NODE_HOOK
