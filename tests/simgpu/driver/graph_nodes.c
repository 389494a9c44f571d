/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Entry points that add nodes to a graph and ask for or change what they do.
 */
#include "conditional.h"
#include "copy.h"
#include "device.h"
#include "entry.h"
#include "event.h"
#include "graph.h"
#include "graph_params.h"

/* Where a node is to be added. */
struct place {
	CUgraphNode *ret_node;
	CUgraph graph;
	const CUgraphNode *deps;
	size_t dep_count;
};

#define PLACE                                                      \
	{                                                          \
		phGraphNode, hGraph, dependencies, numDependencies \
	}

static bool is_place(const struct place *place)
{
	return place->ret_node && handle_is(place->graph, HANDLE_GRAPH);
}

/* Adds a node that does `work`; made is how making the work went. Its reference is consumed. */
static CUresult add_work(const struct place *place, CUresult made, struct work *work)
{
	if (made != CUDA_SUCCESS)
		return made;
	CUresult result = CUDA_ERROR_INVALID_VALUE;

	driver_lock();
	if (is_place(place))
		result = graph_add_node(place->graph, graph_type_of(work), place->deps,
			place->dep_count, place->ret_node);
	if (result == CUDA_SUCCESS)
		(*place->ret_node)->work = work;
	driver_unlock();
	if (result != CUDA_SUCCESS)
		work_unref(work);
	return result;
}

static CUresult add_kernel(const struct place *place, const CUDA_KERNEL_NODE_PARAMS *params)
{
	struct work *work;
	const CUresult made = work_of_kernel_params(params, &work);

	return add_work(place, made, work);
}

static CUresult add_memcpy(const struct place *place, const CUDA_MEMCPY3D *params, CUcontext ctx)
{
	struct work *work = NULL;
	const CUresult made = copy_work_3d(params, &work);

	return add_work(place, place_in(ctx, made, work), work);
}

static CUresult add_memset(
	const struct place *place, const CUDA_MEMSET_NODE_PARAMS *params, CUcontext ctx)
{
	struct work *work = NULL;
	const CUresult made = work_of_memset_params(params, &work);

	return add_work(place, place_in(ctx, made, work), work);
}

static CUresult add_host(const struct place *place, const CUDA_HOST_NODE_PARAMS *params)
{
	struct work *work;
	const CUresult made = work_of_host_params(params, &work);

	return add_work(place, made, work);
}

static CUresult add_record(const struct place *place, CUevent event)
{
	struct work *work;
	const CUresult made = work_of_event(event, &work);

	return add_work(place, made, work);
}

/* Adds a node without work. */
static CUresult add_bare(const struct place *place, CUgraphNodeType type)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;

	driver_lock();
	if (is_place(place))
		result = graph_add_node(
			place->graph, type, place->deps, place->dep_count, place->ret_node);
	driver_unlock();
	return result;
}

static CUresult add_wait(const struct place *place, CUevent event)
{
	if (!handle_is(event, HANDLE_EVENT))
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = add_bare(place, CU_GRAPH_NODE_TYPE_WAIT_EVENT);

	if (result == CUDA_SUCCESS) {
		event_ref(event);
		(*place->ret_node)->event = event;
	}
	return result;
}

static CUresult add_child(const struct place *place, CUgraph child)
{
	if (!is_place(place) || !handle_is(child, HANDLE_GRAPH))
		return CUDA_ERROR_INVALID_VALUE;
	driver_lock();
	if (graph_has_memory(child) || graph_has_conditionals(child) ||
		!conditional_allows_all(place->graph, child)) {
		driver_unlock();
		return CUDA_ERROR_NOT_SUPPORTED;
	}
	CUgraph clone = graph_clone(child);
	CUresult result = CUDA_ERROR_OUT_OF_MEMORY;

	if (clone)
		result = graph_add_node(place->graph, CU_GRAPH_NODE_TYPE_GRAPH, place->deps,
			place->dep_count, place->ret_node);
	if (result == CUDA_SUCCESS) {
		(*place->ret_node)->child = clone;
		clone->parent = *place->ret_node;
	} else {
		graph_destroy(clone);
	}
	driver_unlock();
	return result;
}

CUresult cuGraphAddKernelNode(CUgraphNode *phGraphNode, CUgraph hGraph,
	const CUgraphNode *dependencies, size_t numDependencies,
	const CUDA_KERNEL_NODE_PARAMS_v1 *nodeParams)
{
	struct work *work;

	ENTER(cuGraphAddKernelNode);
	const struct place place = PLACE;
	const CUresult made = work_of_kernel_params_v1(nodeParams, &work);

	return add_work(&place, made, work);
}

CUresult cuGraphAddKernelNode_v2(CUgraphNode *phGraphNode, CUgraph hGraph,
	const CUgraphNode *dependencies, size_t numDependencies,
	const CUDA_KERNEL_NODE_PARAMS *nodeParams)
{
	ENTER_SINCE(12000, cuGraphAddKernelNode_v2);
	const struct place place = PLACE;

	return add_kernel(&place, nodeParams);
}

CUresult cuGraphAddMemcpyNode(CUgraphNode *phGraphNode, CUgraph hGraph,
	const CUgraphNode *dependencies, size_t numDependencies, const CUDA_MEMCPY3D *copyParams,
	CUcontext ctx)
{
	ENTER(cuGraphAddMemcpyNode);
	const struct place place = PLACE;

	return add_memcpy(&place, copyParams, ctx);
}

CUresult cuGraphAddMemsetNode(CUgraphNode *phGraphNode, CUgraph hGraph,
	const CUgraphNode *dependencies, size_t numDependencies,
	const CUDA_MEMSET_NODE_PARAMS *memsetParams, CUcontext ctx)
{
	ENTER(cuGraphAddMemsetNode);
	const struct place place = PLACE;

	return add_memset(&place, memsetParams, ctx);
}

CUresult cuGraphAddHostNode(CUgraphNode *phGraphNode, CUgraph hGraph,
	const CUgraphNode *dependencies, size_t numDependencies,
	const CUDA_HOST_NODE_PARAMS *nodeParams)
{
	ENTER(cuGraphAddHostNode);
	const struct place place = PLACE;

	return add_host(&place, nodeParams);
}

CUresult cuGraphAddChildGraphNode(CUgraphNode *phGraphNode, CUgraph hGraph,
	const CUgraphNode *dependencies, size_t numDependencies, CUgraph childGraph)
{
	ENTER(cuGraphAddChildGraphNode);
	const struct place place = PLACE;

	return add_child(&place, childGraph);
}

CUresult cuGraphAddEmptyNode(CUgraphNode *phGraphNode, CUgraph hGraph,
	const CUgraphNode *dependencies, size_t numDependencies)
{
	ENTER(cuGraphAddEmptyNode);
	const struct place place = PLACE;

	return add_bare(&place, CU_GRAPH_NODE_TYPE_EMPTY);
}

CUresult cuGraphAddEventRecordNode(CUgraphNode *phGraphNode, CUgraph hGraph,
	const CUgraphNode *dependencies, size_t numDependencies, CUevent event)
{
	ENTER(cuGraphAddEventRecordNode);
	const struct place place = PLACE;

	return add_record(&place, event);
}

CUresult cuGraphAddEventWaitNode(CUgraphNode *phGraphNode, CUgraph hGraph,
	const CUgraphNode *dependencies, size_t numDependencies, CUevent event)
{
	ENTER(cuGraphAddEventWaitNode);
	const struct place place = PLACE;

	return add_wait(&place, event);
}

/* The newer structs begin as the older ones do; what they add is a context. */
static CUresult add_any(const struct place *place, CUgraphNodeParams *params)
{
	if (!params)
		return CUDA_ERROR_INVALID_VALUE;
	switch (params->type) {
	case CU_GRAPH_NODE_TYPE_KERNEL:
		return add_kernel(place, (const CUDA_KERNEL_NODE_PARAMS *)&params->kernel);
	case CU_GRAPH_NODE_TYPE_MEMCPY:
		return add_memcpy(place, &params->memcpy.copyParams, params->memcpy.copyCtx);
	case CU_GRAPH_NODE_TYPE_MEMSET:
		return add_memset(place, (const CUDA_MEMSET_NODE_PARAMS *)&params->memset,
			params->memset.ctx);
	case CU_GRAPH_NODE_TYPE_HOST:
		return add_host(place, (const CUDA_HOST_NODE_PARAMS *)&params->host);
	case CU_GRAPH_NODE_TYPE_GRAPH:
		return add_child(place, params->graph.graph);
	case CU_GRAPH_NODE_TYPE_EMPTY:
		return add_bare(place, CU_GRAPH_NODE_TYPE_EMPTY);
	case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
		return add_wait(place, params->eventWait.event);
	case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
		return add_record(place, params->eventRecord.event);
	case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
		return graph_add_alloc(place->graph, place->deps, place->dep_count,
			(CUDA_MEM_ALLOC_NODE_PARAMS *)&params->alloc, place->ret_node);
	case CU_GRAPH_NODE_TYPE_MEM_FREE:
		return graph_add_free(place->graph, place->deps, place->dep_count,
			params->free.dptr, place->ret_node);
	case CU_GRAPH_NODE_TYPE_CONDITIONAL:
		return graph_add_conditional(place->graph, place->deps, place->dep_count,
			&params->conditional, place->ret_node);
	default:
		return CUDA_ERROR_NOT_SUPPORTED;
	}
}

CUresult cuGraphAddNode(CUgraphNode *phGraphNode, CUgraph hGraph, const CUgraphNode *dependencies,
	size_t numDependencies, CUgraphNodeParams *nodeParams)
{
	ENTER_SINCE(12020, cuGraphAddNode);
	const struct place place = PLACE;

	return add_any(&place, nodeParams);
}

CUresult cuGraphAddNode_v2(CUgraphNode *phGraphNode, CUgraph hGraph,
	const CUgraphNode *dependencies, const CUgraphEdgeData *dependencyData,
	size_t numDependencies, CUgraphNodeParams *nodeParams)
{
	(void)dependencyData;
	ENTER_SINCE(12030, cuGraphAddNode_v2);
	const struct place place = PLACE;

	return add_any(&place, nodeParams);
}

static bool is_node_of(CUgraphNode node, CUgraphNodeType type)
{
	return handle_is(node, HANDLE_NODE) && node->type == type;
}

CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode hNode, CUDA_KERNEL_NODE_PARAMS *nodeParams)
{
	ENTER(cuGraphKernelNodeGetParams_v2);
	if (!nodeParams || !is_node_of(hNode, CU_GRAPH_NODE_TYPE_KERNEL))
		return CUDA_ERROR_INVALID_VALUE;
	kernel_params_of_work(hNode->work, nodeParams);
	return CUDA_SUCCESS;
}

CUresult cuGraphKernelNodeGetParams(CUgraphNode hNode, CUDA_KERNEL_NODE_PARAMS_v1 *nodeParams)
{
	CUDA_KERNEL_NODE_PARAMS params;

	ENTER(cuGraphKernelNodeGetParams);
	if (!nodeParams || !is_node_of(hNode, CU_GRAPH_NODE_TYPE_KERNEL))
		return CUDA_ERROR_INVALID_VALUE;
	kernel_params_of_work(hNode->work, &params);
	*nodeParams = (CUDA_KERNEL_NODE_PARAMS_v1){
		.func = params.func,
		.gridDimX = params.gridDimX,
		.gridDimY = params.gridDimY,
		.gridDimZ = params.gridDimZ,
		.blockDimX = params.blockDimX,
		.blockDimY = params.blockDimY,
		.blockDimZ = params.blockDimZ,
		.sharedMemBytes = params.sharedMemBytes,
		.kernelParams = params.kernelParams,
	};
	return CUDA_SUCCESS;
}

CUresult cuGraphMemcpyNodeGetParams(CUgraphNode hNode, CUDA_MEMCPY3D *nodeParams)
{
	ENTER(cuGraphMemcpyNodeGetParams);
	if (!nodeParams || !is_node_of(hNode, CU_GRAPH_NODE_TYPE_MEMCPY))
		return CUDA_ERROR_INVALID_VALUE;
	memcpy_params_of_work(hNode->work, nodeParams);
	return CUDA_SUCCESS;
}

CUresult cuGraphMemsetNodeGetParams(CUgraphNode hNode, CUDA_MEMSET_NODE_PARAMS *nodeParams)
{
	ENTER(cuGraphMemsetNodeGetParams);
	if (!nodeParams || !is_node_of(hNode, CU_GRAPH_NODE_TYPE_MEMSET))
		return CUDA_ERROR_INVALID_VALUE;
	memset_params_of_work(hNode->work, nodeParams);
	return CUDA_SUCCESS;
}

CUresult cuGraphHostNodeGetParams(CUgraphNode hNode, CUDA_HOST_NODE_PARAMS *nodeParams)
{
	ENTER(cuGraphHostNodeGetParams);
	if (!nodeParams || !is_node_of(hNode, CU_GRAPH_NODE_TYPE_HOST))
		return CUDA_ERROR_INVALID_VALUE;
	nodeParams->fn = hNode->work->host.function;
	nodeParams->userData = hNode->work->host.user_data;
	return CUDA_SUCCESS;
}

CUresult cuGraphChildGraphNodeGetGraph(CUgraphNode hNode, CUgraph *phGraph)
{
	ENTER(cuGraphChildGraphNodeGetGraph);
	if (!phGraph || !is_node_of(hNode, CU_GRAPH_NODE_TYPE_GRAPH))
		return CUDA_ERROR_INVALID_VALUE;
	*phGraph = hNode->child;
	return CUDA_SUCCESS;
}

CUresult cuGraphEventRecordNodeGetEvent(CUgraphNode hNode, CUevent *event_out)
{
	ENTER(cuGraphEventRecordNodeGetEvent);
	if (!event_out || !is_node_of(hNode, CU_GRAPH_NODE_TYPE_EVENT_RECORD))
		return CUDA_ERROR_INVALID_VALUE;
	*event_out = hNode->work->event;
	return CUDA_SUCCESS;
}

CUresult cuGraphEventWaitNodeGetEvent(CUgraphNode hNode, CUevent *event_out)
{
	ENTER(cuGraphEventWaitNodeGetEvent);
	if (!event_out || !is_node_of(hNode, CU_GRAPH_NODE_TYPE_WAIT_EVENT))
		return CUDA_ERROR_INVALID_VALUE;
	*event_out = hNode->event;
	return CUDA_SUCCESS;
}

/* Replaces what a node does, and not where; work in flight keeps the old one. The reference is
 * consumed. */
static CUresult set_work(CUgraphNode node, CUgraphNodeType type, CUresult made, struct work *work)
{
	if (made != CUDA_SUCCESS)
		return made;
	driver_lock();
	const bool fits = is_node_of(node, type);

	if (fits) {
		struct work *old = node->work;

		work_replace(work, old);
		node->work = work;
		work = old;
	}
	driver_unlock();
	work_unref(work);
	return fits ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGraphKernelNodeSetParams(CUgraphNode hNode, const CUDA_KERNEL_NODE_PARAMS_v1 *nodeParams)
{
	struct work *work;

	ENTER(cuGraphKernelNodeSetParams);
	const CUresult made = work_of_kernel_params_v1(nodeParams, &work);

	return set_work(hNode, CU_GRAPH_NODE_TYPE_KERNEL, made, work);
}

CUresult cuGraphKernelNodeSetParams_v2(CUgraphNode hNode, const CUDA_KERNEL_NODE_PARAMS *nodeParams)
{
	struct work *work;

	ENTER(cuGraphKernelNodeSetParams_v2);
	const CUresult made = work_of_kernel_params(nodeParams, &work);

	return set_work(hNode, CU_GRAPH_NODE_TYPE_KERNEL, made, work);
}

CUresult cuGraphMemcpyNodeSetParams(CUgraphNode hNode, const CUDA_MEMCPY3D *nodeParams)
{
	struct work *work;

	ENTER(cuGraphMemcpyNodeSetParams);
	const CUresult made = copy_work_3d(nodeParams, &work);

	return set_work(hNode, CU_GRAPH_NODE_TYPE_MEMCPY, made, work);
}

CUresult cuGraphMemsetNodeSetParams(CUgraphNode hNode, const CUDA_MEMSET_NODE_PARAMS *nodeParams)
{
	struct work *work;

	ENTER(cuGraphMemsetNodeSetParams);
	const CUresult made = work_of_memset_params(nodeParams, &work);

	return set_work(hNode, CU_GRAPH_NODE_TYPE_MEMSET, made, work);
}

CUresult cuGraphHostNodeSetParams(CUgraphNode hNode, const CUDA_HOST_NODE_PARAMS *nodeParams)
{
	struct work *work;

	ENTER(cuGraphHostNodeSetParams);
	const CUresult made = work_of_host_params(nodeParams, &work);

	return set_work(hNode, CU_GRAPH_NODE_TYPE_HOST, made, work);
}

CUresult cuGraphNodeSetParams(CUgraphNode hNode, CUgraphNodeParams *nodeParams)
{
	struct work *work = NULL;

	ENTER(cuGraphNodeSetParams);
	if (!nodeParams)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult made = work_of_any_params(nodeParams, &work);

	return set_work(hNode, nodeParams->type, made, work);
}

CUresult cuGraphEventRecordNodeSetEvent(CUgraphNode hNode, CUevent event)
{
	struct work *work;

	ENTER(cuGraphEventRecordNodeSetEvent);
	const CUresult made = work_of_event(event, &work);

	return set_work(hNode, CU_GRAPH_NODE_TYPE_EVENT_RECORD, made, work);
}
