/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Entry points of memory nodes and of the devices' graph pools. Those of cuGraphAddNode are in
 * graph_nodes.c.
 */
#include "graph_memory.h"

#include <string.h>

#include "capture.h"
#include "context.h"
#include "entry.h"
#include "graph.h"
#include "graph_params.h"
#include "memory.h"

static CUresult check_alloc(const CUDA_MEM_ALLOC_NODE_PARAMS *params)
{
	if (!params || params->bytesize == 0 ||
		params->poolProps.allocType != CU_MEM_ALLOCATION_TYPE_PINNED ||
		params->poolProps.handleTypes != CU_MEM_HANDLE_TYPE_NONE)
		return CUDA_ERROR_INVALID_VALUE;
	if (params->poolProps.location.type != CU_MEM_LOCATION_TYPE_DEVICE)
		return CUDA_ERROR_NOT_SUPPORTED;
	return device_of(params->poolProps.location.id) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult graph_add_alloc(CUgraph graph, const CUgraphNode *deps, size_t count,
	CUDA_MEM_ALLOC_NODE_PARAMS *params, CUgraphNode *ret_node)
{
	CUcontext ctx;
	CUresult result = check_alloc(params);

	if (!ret_node || !handle_is(graph, HANDLE_GRAPH))
		return CUDA_ERROR_INVALID_VALUE;
	if (result != CUDA_SUCCESS)
		return result;
	if (context_current_home(&ctx) != CUDA_SUCCESS)
		ctx = NULL;
	driver_lock();
	struct graph_memory *memory = graph_memory_create(
		ctx, device_of(params->poolProps.location.id), graph, params->bytesize);

	result = memory ? graph_add_node(graph, CU_GRAPH_NODE_TYPE_MEM_ALLOC, deps, count, ret_node)
			: CUDA_ERROR_OUT_OF_MEMORY;
	if (result == CUDA_SUCCESS) {
		(*ret_node)->memory = memory;
		params->dptr = memory->base;
	} else if (memory) {
		graph_memory_unref(memory);
	}
	driver_unlock();
	return result;
}

static CUresult add_free_of(struct graph_memory *memory, CUgraph graph, const CUgraphNode *deps,
	size_t count, CUgraphNode *ret_node)
{
	CUgraphNode node;
	CUresult result = graph_add_node(graph, CU_GRAPH_NODE_TYPE_MEM_FREE, deps, count, &node);

	if (result != CUDA_SUCCESS)
		return result;
	graph_memory_ref(memory);
	node->memory = memory;
	result = graph_memory_free_by(memory, graph);
	if (result == CUDA_SUCCESS)
		*ret_node = node;
	else
		graph_remove_node(node);
	return result;
}

CUresult graph_add_free(CUgraph graph, const CUgraphNode *deps, size_t count, CUdeviceptr address,
	CUgraphNode *ret_node)
{
	struct memory found;

	if (!ret_node || !handle_is(graph, HANDLE_GRAPH))
		return CUDA_ERROR_INVALID_VALUE;
	driver_lock();
	CUresult result = CUDA_ERROR_INVALID_VALUE;

	if (memory_find(address, &found) && found.kind == MEMORY_GRAPH &&
		found.range.base == address)
		result = add_free_of(found.owner, graph, deps, count, ret_node);
	driver_unlock();
	return result;
}

CUresult cuGraphAddMemAllocNode(CUgraphNode *phGraphNode, CUgraph hGraph,
	const CUgraphNode *dependencies, size_t numDependencies,
	CUDA_MEM_ALLOC_NODE_PARAMS *nodeParams)
{
	ENTER(cuGraphAddMemAllocNode);
	return graph_add_alloc(hGraph, dependencies, numDependencies, nodeParams, phGraphNode);
}

CUresult cuGraphAddMemFreeNode(CUgraphNode *phGraphNode, CUgraph hGraph,
	const CUgraphNode *dependencies, size_t numDependencies, CUdeviceptr dptr)
{
	ENTER(cuGraphAddMemFreeNode);
	return graph_add_free(hGraph, dependencies, numDependencies, dptr, phGraphNode);
}

CUresult cuGraphMemAllocNodeGetParams(CUgraphNode hNode, CUDA_MEM_ALLOC_NODE_PARAMS *params_out)
{
	ENTER(cuGraphMemAllocNodeGetParams);
	if (!params_out || !handle_is(hNode, HANDLE_NODE) ||
		hNode->type != CU_GRAPH_NODE_TYPE_MEM_ALLOC)
		return CUDA_ERROR_INVALID_VALUE;
	*params_out = (CUDA_MEM_ALLOC_NODE_PARAMS){
		.poolProps = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
			.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE,
				.id = device_ordinal(hNode->memory->device)}},
		.bytesize = hNode->memory->size,
		.dptr = hNode->memory->base,
	};
	return CUDA_SUCCESS;
}

CUresult cuGraphMemFreeNodeGetParams(CUgraphNode hNode, CUdeviceptr *dptr_out)
{
	ENTER(cuGraphMemFreeNodeGetParams);
	if (!dptr_out || !handle_is(hNode, HANDLE_NODE) ||
		hNode->type != CU_GRAPH_NODE_TYPE_MEM_FREE)
		return CUDA_ERROR_INVALID_VALUE;
	*dptr_out = hNode->memory->base;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGraphMemTrim(CUdevice device)
{
	ENTER(cuDeviceGraphMemTrim);
	if (!device_of(device))
		return CUDA_ERROR_INVALID_DEVICE;
	driver_lock();
	graph_memory_trim(device_of(device));
	driver_unlock();
	return CUDA_SUCCESS;
}

static uint64_t *number_of(struct graph_pool *pool, CUgraphMem_attribute attribute)
{
	switch (attribute) {
	case CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT:
		return &pool->used;
	case CU_GRAPH_MEM_ATTR_USED_MEM_HIGH:
		return &pool->used_high;
	case CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT:
		return &pool->reserved;
	case CU_GRAPH_MEM_ATTR_RESERVED_MEM_HIGH:
		return &pool->reserved_high;
	default:
		return NULL;
	}
}

CUresult cuDeviceGetGraphMemAttribute(CUdevice device, CUgraphMem_attribute attr, void *value)
{
	ENTER(cuDeviceGetGraphMemAttribute);
	const CUresult refusal = capture_check_question();

	if (refusal != CUDA_SUCCESS)
		return refusal;
	if (!device_of(device))
		return CUDA_ERROR_INVALID_DEVICE;
	const uint64_t *number = number_of(graph_pool_of(device_of(device)), attr);

	if (!number || !value)
		return CUDA_ERROR_INVALID_VALUE;
	driver_lock();
	memcpy(value, number, sizeof(*number));
	driver_unlock();
	return CUDA_SUCCESS;
}

CUresult cuDeviceSetGraphMemAttribute(CUdevice device, CUgraphMem_attribute attr, void *value)
{
	static const uint64_t zero;

	ENTER(cuDeviceSetGraphMemAttribute);
	if (!device_of(device))
		return CUDA_ERROR_INVALID_DEVICE;
	struct graph_pool *pool = graph_pool_of(device_of(device));

	if (!value || memcmp(value, &zero, sizeof(zero)) != 0 ||
		(attr != CU_GRAPH_MEM_ATTR_USED_MEM_HIGH &&
			attr != CU_GRAPH_MEM_ATTR_RESERVED_MEM_HIGH))
		return CUDA_ERROR_INVALID_VALUE;
	driver_lock();
	if (attr == CU_GRAPH_MEM_ATTR_USED_MEM_HIGH)
		pool->used_high = pool->used;
	else
		pool->reserved_high = pool->reserved;
	driver_unlock();
	return CUDA_SUCCESS;
}
