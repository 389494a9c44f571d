/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Conditional handles and nodes. What runs of them is decided in exec.c.
 */
#include "conditional.h"

#include <stdlib.h>

#include "context.h"
#include "device.h"
#include "entry.h"
#include "graph.h"
#include "work.h"

#define MOST_BODIES 65536u /* of a switch; cuda.h names no limit */

void conditional_ref(struct conditional *conditional)
{
	conditional->refs++;
}

void conditional_unref(struct conditional *conditional)
{
	if (--conditional->refs == 0)
		handle_recycle(&conditional->handle, HANDLE_CONDITIONAL);
}

void conditional_end_all(CUgraph graph)
{
	while (graph->conditionals) {
		struct conditional *conditional = graph->conditionals;

		graph->conditionals = conditional->next;
		handle_retire(&conditional->handle);
		conditional_unref(conditional);
	}
}

void branches_destroy(struct branches *branches)
{
	if (!branches)
		return;
	for (unsigned i = 0; branches->bodies && i < branches->size; i++)
		graph_destroy(branches->bodies[i]);
	free(branches->bodies);
	branches->conditional->node_count--;
	free(branches);
}

static bool is_within(CUgraph graph, CUgraphNodeType type)
{
	while (graph->parent && graph->parent->type != type)
		graph = graph->parent->graph;
	return graph->parent != NULL;
}

bool conditional_allows(CUgraph graph, CUgraphNodeType type)
{
	if (!is_within(graph, CU_GRAPH_NODE_TYPE_CONDITIONAL))
		return true;
	return type == CU_GRAPH_NODE_TYPE_KERNEL || type == CU_GRAPH_NODE_TYPE_EMPTY ||
	       type == CU_GRAPH_NODE_TYPE_GRAPH || type == CU_GRAPH_NODE_TYPE_MEMSET ||
	       type == CU_GRAPH_NODE_TYPE_MEMCPY || type == CU_GRAPH_NODE_TYPE_CONDITIONAL;
}

bool conditional_allows_all(CUgraph graph, CUgraph child)
{
	for (uint32_t i = 0; i < child->nodes.count; i++) {
		const struct CUgraphNode_st *node = child->nodes.nodes[i];

		if (!conditional_allows(graph, node->type) ||
			(node->child && !conditional_allows_all(graph, node->child)))
			return false;
	}
	return true;
}

bool graph_has_conditionals(CUgraph graph)
{
	for (uint32_t i = 0; i < graph->nodes.count; i++) {
		if (graph->nodes.nodes[i]->branches)
			return true;
	}
	return false;
}

bool graph_has_unused_handle(CUgraph graph)
{
	for (struct conditional *one = graph->conditionals; one; one = one->next) {
		if (!one->node_count)
			return true;
	}
	for (uint32_t i = 0; i < graph->nodes.count; i++) {
		const struct branches *branches = graph->nodes.nodes[i]->branches;

		for (unsigned j = 0; branches && j < branches->size; j++) {
			if (graph_has_unused_handle(branches->bodies[j]))
				return true;
		}
	}
	return false;
}

bool conditional_fits(const struct conditional *conditional, const struct work *work)
{
	CUcontext ctx;

	return work_context(work, conditional->ctx, &ctx) == CUDA_SUCCESS &&
	       ctx == conditional->ctx;
}

CUresult cuGraphConditionalHandleCreate(CUgraphConditionalHandle *pHandle_out, CUgraph hGraph,
	CUcontext ctx, unsigned int defaultLaunchValue, unsigned int flags)
{
	ENTER_SINCE(12030, cuGraphConditionalHandleCreate);
	if (!pHandle_out || !handle_is(hGraph, HANDLE_GRAPH) ||
		(flags & ~(unsigned)CU_GRAPH_COND_ASSIGN_DEFAULT))
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = context_resolve(&ctx);

	if (result != CUDA_SUCCESS)
		return result;
	struct conditional *made = handle_create(HANDLE_CONDITIONAL, sizeof(*made));

	if (!made)
		return CUDA_ERROR_OUT_OF_MEMORY;
	made->refs = 1;
	made->graph = hGraph;
	made->ctx = ctx;
	made->value = flags & CU_GRAPH_COND_ASSIGN_DEFAULT ? defaultLaunchValue : 0;
	driver_lock();
	made->next = hGraph->conditionals;
	hGraph->conditionals = made;
	driver_unlock();
	*pHandle_out = (uintptr_t)made;
	return CUDA_SUCCESS;
}

static bool is_size(CUgraphConditionalNodeType type, unsigned size)
{
	switch (type) {
	case CU_GRAPH_COND_TYPE_IF:
		return size == 1 || size == 2;
	case CU_GRAPH_COND_TYPE_WHILE:
		return size == 1;
	case CU_GRAPH_COND_TYPE_SWITCH:
		return size > 0;
	default:
		return false;
	}
}

/* The handle is of this graph, or of one that this is a body in. */
static bool is_handle_for(const struct conditional *conditional, CUgraph graph)
{
	while (graph != conditional->graph && graph->parent)
		graph = graph->parent->graph;
	return graph == conditional->graph;
}

static struct branches *make_branches(
	struct conditional *conditional, const CUDA_CONDITIONAL_NODE_PARAMS *params)
{
	struct branches *branches = calloc(1, sizeof(*branches));

	if (!branches)
		return NULL;
	*branches = (struct branches){
		.conditional = conditional, .type = params->type, .size = params->size};
	conditional->node_count++;
	bool complete = params->size <= MOST_BODIES;

	branches->bodies = complete ? calloc(params->size, sizeof(*branches->bodies)) : NULL;
	complete = branches->bodies != NULL;
	for (unsigned i = 0; complete && i < params->size; i++)
		complete = (branches->bodies[i] = graph_create()) != NULL;
	if (complete)
		return branches;
	branches_destroy(branches);
	return NULL;
}

static CUresult add(CUgraph graph, const CUgraphNode *deps, size_t count, CUcontext ctx,
	CUDA_CONDITIONAL_NODE_PARAMS *params, CUgraphNode *ret_node)
{
	struct conditional *conditional = (struct conditional *)(uintptr_t)params->handle;
	CUgraphNode node;

	if (!handle_is(conditional, HANDLE_CONDITIONAL) || conditional->ctx != ctx ||
		!is_handle_for(conditional, graph))
		return CUDA_ERROR_INVALID_VALUE;
	if (is_within(graph, CU_GRAPH_NODE_TYPE_GRAPH))
		return CUDA_ERROR_NOT_SUPPORTED;
	CUresult result = graph_add_node(graph, CU_GRAPH_NODE_TYPE_CONDITIONAL, deps, count, &node);

	if (result != CUDA_SUCCESS)
		return result;
	struct branches *branches = make_branches(conditional, params);

	if (!branches) {
		graph_remove_node(node);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	for (unsigned i = 0; i < branches->size; i++)
		branches->bodies[i]->parent = node;
	node->branches = branches;
	params->phGraph_out = branches->bodies;
	*ret_node = node;
	return CUDA_SUCCESS;
}

CUresult graph_add_conditional(CUgraph graph, const CUgraphNode *deps, size_t count,
	CUDA_CONDITIONAL_NODE_PARAMS *params, CUgraphNode *ret_node)
{
	CUcontext ctx = params->ctx;

	if (!ret_node || !handle_is(graph, HANDLE_GRAPH) || !is_size(params->type, params->size))
		return CUDA_ERROR_INVALID_VALUE;
	CUresult result = context_resolve(&ctx);

	if (result != CUDA_SUCCESS)
		return result;
	driver_lock();
	result = add(graph, deps, count, ctx, params, ret_node);
	driver_unlock();
	return result;
}
