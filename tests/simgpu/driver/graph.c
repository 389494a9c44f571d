/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The structure of graphs.
 */
#include "graph.h"

#include <stdlib.h>
#include <string.h>

#include "conditional.h"
#include "event.h"
#include "graph_memory.h"

static bool append(struct node_list *list, CUgraphNode node)
{
	if (list->count == list->room) {
		const uint32_t room = list->room ? 2 * list->room : 4;
		CUgraphNode *nodes = realloc(list->nodes, room * sizeof(*nodes));

		if (!nodes)
			return false;
		list->nodes = nodes;
		list->room = room;
	}
	list->nodes[list->count++] = node;
	return true;
}

bool node_list_add(struct node_list *list, CUgraphNode node)
{
	for (uint32_t i = 0; i < list->count; i++) {
		if (list->nodes[i] == node)
			return true;
	}
	return append(list, node);
}

bool node_list_copy(struct node_list *list, const struct node_list *from)
{
	list->count = 0;
	for (uint32_t i = 0; i < from->count; i++) {
		if (!node_list_add(list, from->nodes[i]))
			return false;
	}
	return true;
}

void node_list_remove(struct node_list *list, CUgraphNode node)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < list->count; i++) {
		if (list->nodes[i] != node)
			list->nodes[kept++] = list->nodes[i];
	}
	list->count = kept;
}

CUgraph graph_create(void)
{
	return handle_create(HANDLE_GRAPH, sizeof(struct CUgraph_st));
}

static void destroy_node(CUgraphNode node)
{
	work_unref(node->work);
	if (node->event)
		event_unref(node->event);
	if (node->memory)
		graph_memory_unref(node->memory);
	graph_destroy(node->child);
	branches_destroy(node->branches);
	free(node->deps.nodes);
	handle_recycle(&node->handle, HANDLE_NODE);
}

void graph_destroy(CUgraph graph)
{
	if (!graph)
		return;
	for (uint32_t i = 0; i < graph->nodes.count; i++)
		destroy_node(graph->nodes.nodes[i]);
	free(graph->nodes.nodes);
	conditional_end_all(graph);
	handle_recycle(&graph->handle, HANDLE_GRAPH);
}

CUresult graph_add_node(CUgraph graph, CUgraphNodeType type, const CUgraphNode *deps, size_t count,
	CUgraphNode *ret_node)
{
	if (graph->is_lost || (count && !deps))
		return CUDA_ERROR_INVALID_VALUE;
	if (!conditional_allows(graph, type))
		return CUDA_ERROR_NOT_SUPPORTED;
	CUgraphNode node = handle_create(HANDLE_NODE, sizeof(*node));
	CUresult result = CUDA_SUCCESS;

	if (!node)
		return CUDA_ERROR_OUT_OF_MEMORY;
	node->graph = graph;
	node->type = type;
	for (size_t i = 0; i < count && result == CUDA_SUCCESS; i++) {
		if (!handle_is(deps[i], HANDLE_NODE) || deps[i]->graph != graph)
			result = CUDA_ERROR_INVALID_VALUE;
		else if (!node_list_add(&node->deps, deps[i]))
			result = CUDA_ERROR_OUT_OF_MEMORY;
	}
	/* It cannot be there: a search would make large graphs slow. */
	if (result == CUDA_SUCCESS && !append(&graph->nodes, node))
		result = CUDA_ERROR_OUT_OF_MEMORY;
	if (result == CUDA_SUCCESS)
		*ret_node = node;
	else
		destroy_node(node);
	return result;
}

bool graph_has_memory(CUgraph graph)
{
	for (uint32_t i = 0; i < graph->nodes.count; i++) {
		if (graph->nodes.nodes[i]->memory)
			return true;
	}
	return false;
}

void graph_remove_node(CUgraphNode node)
{
	CUgraph graph = node->graph;

	node_list_remove(&graph->nodes, node);
	for (uint32_t i = 0; i < graph->nodes.count; i++)
		node_list_remove(&graph->nodes.nodes[i]->deps, node);
	destroy_node(node);
}

CUgraphNodeType graph_type_of(const struct work *work)
{
	switch (work->kind) {
	case WORK_KERNEL:
		return CU_GRAPH_NODE_TYPE_KERNEL;
	case WORK_COPY:
		return CU_GRAPH_NODE_TYPE_MEMCPY;
	case WORK_FILL:
		return CU_GRAPH_NODE_TYPE_MEMSET;
	case WORK_HOST:
		return CU_GRAPH_NODE_TYPE_HOST;
	case WORK_EVENT:
		return CU_GRAPH_NODE_TYPE_EVENT_RECORD;
	default:
		return CU_GRAPH_NODE_TYPE_EMPTY;
	}
}

/* Gives the clone what the original does; work is shared, for it does not change. */
static bool clone_contents(CUgraphNode clone, CUgraphNode original)
{
	clone->original = original;
	if (original->work) {
		clone->work = original->work;
		work_ref(clone->work);
	}
	if (original->event) {
		clone->event = original->event;
		event_ref(clone->event);
	}
	if (original->child) {
		clone->child = graph_clone(original->child);
		if (!clone->child)
			return false;
		clone->child->parent = clone;
	}
	return true;
}

CUgraph graph_clone(CUgraph graph)
{
	CUgraph clone = graph_create();
	bool complete = clone != NULL;

	for (uint32_t i = 0; complete && i < graph->nodes.count; i++) {
		CUgraphNode original = graph->nodes.nodes[i], node;

		original->scratch = i;
		complete = graph_add_node(clone, original->type, NULL, 0, &node) == CUDA_SUCCESS &&
			   clone_contents(node, original);
	}
	for (uint32_t i = 0; complete && i < graph->nodes.count; i++) {
		const struct node_list *deps = &graph->nodes.nodes[i]->deps;

		for (uint32_t j = 0; complete && j < deps->count; j++)
			complete = node_list_add(&clone->nodes.nodes[i]->deps,
				clone->nodes.nodes[deps->nodes[j]->scratch]);
	}
	if (complete) {
		clone->original = graph;
		return clone;
	}
	graph_destroy(clone);
	return NULL;
}

/* Deep only where a node was made to depend on one that was added after it. */
static CUresult walk_from(
	CUgraphNode node, CUresult (*visit)(CUgraphNode node, void *arg), void *arg)
{
	if (node->mark == NODE_DONE)
		return CUDA_SUCCESS;
	if (node->mark == NODE_OPEN)
		return CUDA_ERROR_INVALID_VALUE;
	node->mark = NODE_OPEN;
	for (uint32_t i = 0; i < node->deps.count; i++) {
		const CUresult result = walk_from(node->deps.nodes[i], visit, arg);

		if (result != CUDA_SUCCESS)
			return result;
	}
	node->mark = NODE_DONE;
	return visit(node, arg);
}

CUresult graph_walk(CUgraph graph, CUresult (*visit)(CUgraphNode node, void *arg), void *arg)
{
	CUresult result = CUDA_SUCCESS;

	for (uint32_t i = 0; i < graph->nodes.count; i++)
		graph->nodes.nodes[i]->mark = NODE_NEW;
	for (uint32_t i = 0; i < graph->nodes.count && result == CUDA_SUCCESS; i++)
		result = walk_from(graph->nodes.nodes[i], visit, arg);
	return result;
}
