/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Entry points for graphs as a whole: life, nodes and edges.
 */
#include <stdlib.h>
#include <string.h>

#include "conditional.h"
#include "device.h"
#include "entry.h"
#include "graph.h"

CUresult cuGraphCreate(CUgraph *phGraph, unsigned int flags)
{
	ENTER(cuGraphCreate);
	if (!phGraph || flags)
		return CUDA_ERROR_INVALID_VALUE;
	CUgraph graph = graph_create();

	if (!graph)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*phGraph = graph;
	return CUDA_SUCCESS;
}

CUresult cuGraphDestroy(CUgraph hGraph)
{
	ENTER(cuGraphDestroy);
	if (!handle_is(hGraph, HANDLE_GRAPH) || hGraph->parent)
		return CUDA_ERROR_INVALID_VALUE;
	driver_lock();
	graph_destroy(hGraph);
	driver_unlock();
	return CUDA_SUCCESS;
}

CUresult cuGraphClone(CUgraph *phGraphClone, CUgraph originalGraph)
{
	ENTER(cuGraphClone);
	if (!phGraphClone || !handle_is(originalGraph, HANDLE_GRAPH))
		return CUDA_ERROR_INVALID_VALUE;
	driver_lock();
	const bool can_be_cloned =
		!graph_has_memory(originalGraph) && !graph_has_conditionals(originalGraph);
	CUgraph clone = can_be_cloned ? graph_clone(originalGraph) : NULL;

	driver_unlock();
	if (!can_be_cloned)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (!clone)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*phGraphClone = clone;
	return CUDA_SUCCESS;
}

CUresult cuGraphNodeFindInClone(
	CUgraphNode *phNode, CUgraphNode hOriginalNode, CUgraph hClonedGraph)
{
	ENTER(cuGraphNodeFindInClone);
	if (!phNode || !handle_is(hOriginalNode, HANDLE_NODE) ||
		!handle_is(hClonedGraph, HANDLE_GRAPH))
		return CUDA_ERROR_INVALID_VALUE;
	driver_lock();
	CUgraphNode found = NULL;

	for (uint32_t i = 0; i < hClonedGraph->nodes.count && !found; i++) {
		if (hClonedGraph->nodes.nodes[i]->original == hOriginalNode)
			found = hClonedGraph->nodes.nodes[i];
	}
	driver_unlock();
	if (!found)
		return CUDA_ERROR_INVALID_VALUE;
	*phNode = found;
	return CUDA_SUCCESS;
}

CUresult cuGraphNodeGetType(CUgraphNode hNode, CUgraphNodeType *type)
{
	ENTER(cuGraphNodeGetType);
	if (!type || !handle_is(hNode, HANDLE_NODE))
		return CUDA_ERROR_INVALID_VALUE;
	*type = hNode->type;
	return CUDA_SUCCESS;
}

CUresult cuGraphDestroyNode(CUgraphNode hNode)
{
	ENTER(cuGraphDestroyNode);
	if (!handle_is(hNode, HANDLE_NODE))
		return CUDA_ERROR_INVALID_VALUE;
	driver_lock();
	const bool can_be_changed = !graph_has_memory(hNode->graph);

	if (can_be_changed)
		graph_remove_node(hNode);
	driver_unlock();
	return can_be_changed ? CUDA_SUCCESS : CUDA_ERROR_NOT_SUPPORTED;
}

/* Hands a list out as the API does: its length, or up to *count of it and NULL for the rest. */
static CUresult hand_out(const struct node_list *list, CUgraphNode *nodes, size_t *count)
{
	if (!count)
		return CUDA_ERROR_INVALID_VALUE;
	if (nodes) {
		for (size_t i = 0; i < *count; i++)
			nodes[i] = i < list->count ? list->nodes[i] : NULL;
	}
	if (!nodes || *count > list->count)
		*count = list->count;
	return CUDA_SUCCESS;
}

/* Lists the nodes of `graph` for which `is_listed` holds. */
static CUresult list_nodes(CUgraph graph, bool (*is_listed)(CUgraphNode node, CUgraphNode arg),
	CUgraphNode arg, CUgraphNode *nodes, size_t *count)
{
	struct node_list list = {0};
	bool complete = true;

	for (uint32_t i = 0; i < graph->nodes.count && complete; i++) {
		if (is_listed(graph->nodes.nodes[i], arg))
			complete = node_list_add(&list, graph->nodes.nodes[i]);
	}
	const CUresult result = complete ? hand_out(&list, nodes, count) : CUDA_ERROR_OUT_OF_MEMORY;

	free(list.nodes);
	return result;
}

CUresult cuGraphGetNodes(CUgraph hGraph, CUgraphNode *nodes, size_t *numNodes)
{
	ENTER(cuGraphGetNodes);
	if (!handle_is(hGraph, HANDLE_GRAPH))
		return CUDA_ERROR_INVALID_VALUE;
	driver_lock();
	const CUresult result = hand_out(&hGraph->nodes, nodes, numNodes);

	driver_unlock();
	return result;
}

static bool is_root(CUgraphNode node, CUgraphNode arg)
{
	(void)arg;
	return node->deps.count == 0;
}

CUresult cuGraphGetRootNodes(CUgraph hGraph, CUgraphNode *rootNodes, size_t *numRootNodes)
{
	ENTER(cuGraphGetRootNodes);
	if (!handle_is(hGraph, HANDLE_GRAPH))
		return CUDA_ERROR_INVALID_VALUE;
	driver_lock();
	const CUresult result = list_nodes(hGraph, is_root, NULL, rootNodes, numRootNodes);

	driver_unlock();
	return result;
}

/* Edges carry no data here: all are full dependencies. */
static void clear_data(CUgraphEdgeData *data, size_t count)
{
	if (data)
		memset(data, 0, count * sizeof(*data));
}

static CUresult get_dependencies(
	CUgraphNode node, CUgraphNode *deps, CUgraphEdgeData *data, size_t *count)
{
	if (!handle_is(node, HANDLE_NODE))
		return CUDA_ERROR_INVALID_VALUE;
	driver_lock();
	const CUresult result = hand_out(&node->deps, deps, count);

	driver_unlock();
	if (result == CUDA_SUCCESS)
		clear_data(data, *count);
	return result;
}

CUresult cuGraphNodeGetDependencies(
	CUgraphNode hNode, CUgraphNode *dependencies, size_t *numDependencies)
{
	ENTER(cuGraphNodeGetDependencies);
	return get_dependencies(hNode, dependencies, NULL, numDependencies);
}

CUresult cuGraphNodeGetDependencies_v2(CUgraphNode hNode, CUgraphNode *dependencies,
	CUgraphEdgeData *edgeData, size_t *numDependencies)
{
	ENTER(cuGraphNodeGetDependencies_v2);
	return get_dependencies(hNode, dependencies, edgeData, numDependencies);
}

static bool depends_on(CUgraphNode node, CUgraphNode on)
{
	for (uint32_t i = 0; i < node->deps.count; i++) {
		if (node->deps.nodes[i] == on)
			return true;
	}
	return false;
}

static CUresult get_dependents(
	CUgraphNode node, CUgraphNode *dependents, CUgraphEdgeData *data, size_t *count)
{
	if (!handle_is(node, HANDLE_NODE))
		return CUDA_ERROR_INVALID_VALUE;
	driver_lock();
	const CUresult result = list_nodes(node->graph, depends_on, node, dependents, count);

	driver_unlock();
	if (result == CUDA_SUCCESS)
		clear_data(data, *count);
	return result;
}

CUresult cuGraphNodeGetDependentNodes(
	CUgraphNode hNode, CUgraphNode *dependentNodes, size_t *numDependentNodes)
{
	ENTER(cuGraphNodeGetDependentNodes);
	return get_dependents(hNode, dependentNodes, NULL, numDependentNodes);
}

CUresult cuGraphNodeGetDependentNodes_v2(CUgraphNode hNode, CUgraphNode *dependentNodes,
	CUgraphEdgeData *edgeData, size_t *numDependentNodes)
{
	ENTER(cuGraphNodeGetDependentNodes_v2);
	return get_dependents(hNode, dependentNodes, edgeData, numDependentNodes);
}

static size_t list_edges(CUgraph graph, CUgraphNode *from, CUgraphNode *to, size_t room)
{
	size_t edges = 0;

	for (uint32_t i = 0; i < graph->nodes.count; i++) {
		CUgraphNode node = graph->nodes.nodes[i];

		for (uint32_t j = 0; j < node->deps.count; j++, edges++) {
			if (edges >= room)
				continue;
			from[edges] = node->deps.nodes[j];
			to[edges] = node;
		}
	}
	return edges;
}

static CUresult get_edges(
	CUgraph graph, CUgraphNode *from, CUgraphNode *to, CUgraphEdgeData *data, size_t *count)
{
	if (!handle_is(graph, HANDLE_GRAPH) || !count || !from != !to)
		return CUDA_ERROR_INVALID_VALUE;
	const size_t room = from ? *count : 0;

	driver_lock();
	const size_t edges = list_edges(graph, from, to, room);

	driver_unlock();
	for (size_t i = edges; i < room; i++)
		from[i] = to[i] = NULL;
	if (!from || room > edges)
		*count = edges;
	clear_data(data, *count);
	return CUDA_SUCCESS;
}

CUresult cuGraphGetEdges(CUgraph hGraph, CUgraphNode *from, CUgraphNode *to, size_t *numEdges)
{
	ENTER(cuGraphGetEdges);
	return get_edges(hGraph, from, to, NULL, numEdges);
}

CUresult cuGraphGetEdges_v2(CUgraph hGraph, CUgraphNode *from, CUgraphNode *to,
	CUgraphEdgeData *edgeData, size_t *numEdges)
{
	ENTER(cuGraphGetEdges_v2);
	return get_edges(hGraph, from, to, edgeData, numEdges);
}

static bool are_edges_of(
	CUgraph graph, const CUgraphNode *from, const CUgraphNode *to, size_t count)
{
	if (!handle_is(graph, HANDLE_GRAPH) || (count && (!from || !to)))
		return false;
	for (size_t i = 0; i < count; i++) {
		if (!handle_is(from[i], HANDLE_NODE) || !handle_is(to[i], HANDLE_NODE) ||
			from[i]->graph != graph || to[i]->graph != graph || from[i] == to[i])
			return false;
	}
	return true;
}

static CUresult add_edges(
	CUgraph graph, const CUgraphNode *from, const CUgraphNode *to, size_t count)
{
	CUresult result = CUDA_SUCCESS;

	driver_lock();
	if (!are_edges_of(graph, from, to, count))
		result = CUDA_ERROR_INVALID_VALUE;
	for (size_t i = 0; i < count && result == CUDA_SUCCESS; i++) {
		if (depends_on(to[i], from[i]))
			result = CUDA_ERROR_INVALID_VALUE;
		else if (!node_list_add(&to[i]->deps, from[i]))
			result = CUDA_ERROR_OUT_OF_MEMORY;
	}
	driver_unlock();
	return result;
}

CUresult cuGraphAddDependencies(
	CUgraph hGraph, const CUgraphNode *from, const CUgraphNode *to, size_t numDependencies)
{
	ENTER(cuGraphAddDependencies);
	return add_edges(hGraph, from, to, numDependencies);
}

CUresult cuGraphAddDependencies_v2(CUgraph hGraph, const CUgraphNode *from, const CUgraphNode *to,
	const CUgraphEdgeData *edgeData, size_t numDependencies)
{
	(void)edgeData;
	ENTER(cuGraphAddDependencies_v2);
	return add_edges(hGraph, from, to, numDependencies);
}

static CUresult remove_edges(
	CUgraph graph, const CUgraphNode *from, const CUgraphNode *to, size_t count)
{
	CUresult result = CUDA_SUCCESS;

	driver_lock();
	if (!are_edges_of(graph, from, to, count))
		result = CUDA_ERROR_INVALID_VALUE;
	for (size_t i = 0; i < count && result == CUDA_SUCCESS; i++) {
		if (!depends_on(to[i], from[i]))
			result = CUDA_ERROR_INVALID_VALUE;
		else
			node_list_remove(&to[i]->deps, from[i]);
	}
	driver_unlock();
	return result;
}

CUresult cuGraphRemoveDependencies(
	CUgraph hGraph, const CUgraphNode *from, const CUgraphNode *to, size_t numDependencies)
{
	ENTER(cuGraphRemoveDependencies);
	return remove_edges(hGraph, from, to, numDependencies);
}

CUresult cuGraphRemoveDependencies_v2(CUgraph hGraph, const CUgraphNode *from,
	const CUgraphNode *to, const CUgraphEdgeData *edgeData, size_t numDependencies)
{
	(void)edgeData;
	ENTER(cuGraphRemoveDependencies_v2);
	return remove_edges(hGraph, from, to, numDependencies);
}
