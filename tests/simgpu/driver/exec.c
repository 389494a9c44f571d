/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Making graphs executable, and their launch.
 */
#include "exec.h"

#include <stdlib.h>
#include <string.h>

#include "conditional.h"
#include "context.h"
#include "event.h"
#include "graph.h"
#include "graph_memory.h"
#include "green.h"
#include "module.h"
#include "stream.h"
#include "work.h"

/* Indices of nodes. */
struct index_list {
	uint32_t *items;
	uint32_t count, room;
};

/* How far the flattening of one graph has come. */
struct flattening {
	CUgraphExec exec;
	const struct index_list *outer; /* what roots of a child graph depend on; or NULL */
	uint32_t body;                  /* number of the body that all of it is in; or 0 */
};

static CUresult flatten(
	CUgraphExec exec, CUgraph graph, const struct index_list *outer, uint32_t body);

static bool add_index(struct index_list *list, uint32_t index)
{
	if (list->count == list->room) {
		const uint32_t room = list->room ? 2 * list->room : 8;
		uint32_t *items = realloc(list->items, room * sizeof(*items));

		if (!items)
			return false;
		list->items = items;
		list->room = room;
	}
	list->items[list->count++] = index;
	return true;
}

static bool make_room(CUgraphExec exec)
{
	const uint32_t room = exec->room ? 2 * exec->room : 16;
	struct exec_node *nodes = realloc(exec->nodes, room * sizeof(*nodes));

	if (!nodes)
		return false;
	exec->nodes = nodes;
	exec->room = room;
	return true;
}

/* Adds the node made of `source`. What `deps` lists is the node's from now on. */
static CUresult append(CUgraphExec exec, CUgraphNode source, uint32_t body, struct index_list *deps)
{
	struct work *work = source->work;

	if (exec->count == exec->room && !make_room(exec))
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (work)
		work_ref(work);
	else
		work = work_create(WORK_EMPTY);
	if (!work)
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (source->event)
		event_ref(source->event);
	if (source->memory)
		graph_memory_ref(source->memory);
	for (uint32_t i = 0; i < deps->count; i++)
		exec->nodes[deps->items[i]].is_leaf = false;
	source->scratch = exec->count;
	exec->nodes[exec->count++] = (struct exec_node){
		.source = source,
		.type = source->type,
		.work = work,
		.event = source->event,
		.memory = source->memory,
		.deps = deps->items,
		.dep_count = deps->count,
		.body = body,
		.is_leaf = true,
		.is_enabled = true,
	};
	*deps = (struct index_list){0};
	return CUDA_SUCCESS;
}

static bool add_leaves(const struct CUgraphExec_st *exec, uint32_t first, struct index_list *list)
{
	for (uint32_t i = first; i < exec->count; i++) {
		if (exec->nodes[i].is_leaf && !add_index(list, i))
			return false;
	}
	return true;
}

/* Puts a child graph in, and in `deps` what its end depends on. */
static CUresult flatten_child(
	CUgraphExec exec, CUgraph child, uint32_t body, struct index_list *deps)
{
	const uint32_t first = exec->count;
	const CUresult result = flatten(exec, child, deps, body);

	if (result != CUDA_SUCCESS || exec->count == first)
		return result;
	deps->count = 0;
	return add_leaves(exec, first, deps) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

/* Adds a body. Loops end only by what a kernel sets: those that begin are not there. */
static CUresult add_body(CUgraphExec exec, CUgraphNode node, unsigned index, uint32_t outer)
{
	const struct branches *branches = node->branches;
	struct conditional *conditional = branches->conditional;

	if (branches->type == CU_GRAPH_COND_TYPE_WHILE && conditional->value)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (outer && exec->bodies[outer - 1].conditional->ctx != conditional->ctx)
		return CUDA_ERROR_INVALID_VALUE;
	struct exec_body *bodies =
		realloc(exec->bodies, (exec->body_count + (size_t)1) * sizeof(*bodies));

	if (!bodies)
		return CUDA_ERROR_OUT_OF_MEMORY;
	exec->bodies = bodies;
	conditional_ref(conditional);
	bodies[exec->body_count++] = (struct exec_body){
		.outer = outer,
		.conditional = conditional,
		.source = node,
		.type = branches->type,
		.index = index,
		.size = branches->size,
		.value = conditional->value,
	};
	return CUDA_SUCCESS;
}

/* Puts all bodies in, side by side, and in `deps` what the end of the node depends on. */
static CUresult flatten_bodies(
	CUgraphExec exec, CUgraphNode node, uint32_t outer, struct index_list *deps)
{
	const struct branches *branches = node->branches;
	CUresult result = CUDA_SUCCESS;
	struct index_list ends = {0};

	for (unsigned i = 0; i < branches->size && result == CUDA_SUCCESS; i++) {
		const uint32_t first = exec->count;

		result = add_body(exec, node, i, outer);
		if (result == CUDA_SUCCESS)
			result = flatten(exec, branches->bodies[i], deps, exec->body_count);
		if (result == CUDA_SUCCESS && !add_leaves(exec, first, &ends))
			result = CUDA_ERROR_OUT_OF_MEMORY;
	}
	if (result != CUDA_SUCCESS || !ends.count) {
		free(ends.items);
		return result;
	}
	free(deps->items);
	*deps = ends;
	return CUDA_SUCCESS;
}

/* Whether what the node does may stand in the body that it is in. */
static bool fits(const struct CUgraphExec_st *exec, CUgraphNode node, uint32_t body)
{
	return !body || !node->work ||
	       conditional_fits(exec->bodies[body - 1].conditional, node->work);
}

static CUresult flatten_node(CUgraphNode node, void *arg)
{
	const struct flattening *flattening = arg;
	const struct index_list *outer = flattening->outer;
	CUgraphExec exec = flattening->exec;
	struct index_list deps = {0};
	bool complete = true;

	if (!fits(exec, node, flattening->body))
		return CUDA_ERROR_INVALID_VALUE;
	for (uint32_t i = 0; i < node->deps.count && complete; i++)
		complete = add_index(&deps, node->deps.nodes[i]->scratch);
	for (uint32_t i = 0; !node->deps.count && outer && i < outer->count && complete; i++)
		complete = add_index(&deps, outer->items[i]);
	CUresult result = complete ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;

	if (result == CUDA_SUCCESS && node->child)
		result = flatten_child(exec, node->child, flattening->body, &deps);
	if (result == CUDA_SUCCESS && node->branches)
		result = flatten_bodies(exec, node, flattening->body, &deps);
	if (result == CUDA_SUCCESS)
		result = append(exec, node, flattening->body, &deps);
	free(deps.items);
	return result;
}

static CUresult flatten(
	CUgraphExec exec, CUgraph graph, const struct index_list *outer, uint32_t body)
{
	struct flattening flattening = {.exec = exec, .outer = outer, .body = body};

	return graph_walk(graph, flatten_node, &flattening);
}

static bool allocates(const struct exec_node *node)
{
	return node->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC;
}

/* Memory is in one executable graph at most. */
static CUresult claim_memory(CUgraphExec exec)
{
	for (uint32_t i = 0; i < exec->count; i++) {
		if (allocates(&exec->nodes[i]) && exec->nodes[i].memory->is_instantiated)
			return CUDA_ERROR_NOT_SUPPORTED;
	}
	for (uint32_t i = 0; i < exec->count; i++) {
		if (allocates(&exec->nodes[i]))
			exec->nodes[i].memory->is_instantiated = true;
	}
	exec->has_claimed = true;
	return CUDA_SUCCESS;
}

/* So are conditional nodes. */
static CUresult claim_conditionals(CUgraphExec exec)
{
	for (uint32_t i = 0; i < exec->body_count; i++) {
		if (exec->bodies[i].conditional->is_instantiated)
			return CUDA_ERROR_NOT_SUPPORTED;
	}
	for (uint32_t i = 0; i < exec->body_count; i++)
		exec->bodies[i].conditional->is_instantiated = true;
	exec->has_conditionals = true;
	return CUDA_SUCCESS;
}

/* The same as exec_create(), but not the one executable graph of its conditional nodes. */
static CUresult build(CUgraph graph, unsigned long long flags, CUgraphExec *ret_exec)
{
	if (graph_has_unused_handle(graph))
		return CUDA_ERROR_INVALID_VALUE;
	CUgraphExec exec = handle_create(HANDLE_EXEC, sizeof(*exec));

	if (!exec)
		return CUDA_ERROR_OUT_OF_MEMORY;
	exec->flags = flags;
	CUresult result = flatten(exec, graph, NULL, 0);

	if (result == CUDA_SUCCESS)
		result = claim_memory(exec);
	if (result == CUDA_SUCCESS)
		*ret_exec = exec;
	else
		exec_destroy(exec);
	return result;
}

CUresult exec_create(CUgraph graph, unsigned long long flags, CUgraphExec *ret_exec)
{
	CUgraphExec exec;
	CUresult result = build(graph, flags, &exec);

	if (result != CUDA_SUCCESS)
		return result;
	result = claim_conditionals(exec);
	if (result == CUDA_SUCCESS)
		*ret_exec = exec;
	else
		exec_destroy(exec);
	return result;
}

static void destroy_bodies(CUgraphExec exec)
{
	for (uint32_t i = 0; i < exec->body_count; i++) {
		if (exec->has_conditionals)
			exec->bodies[i].conditional->is_instantiated = false;
		conditional_unref(exec->bodies[i].conditional);
	}
	free(exec->bodies);
}

void exec_destroy(CUgraphExec exec)
{
	for (uint32_t i = 0; i < exec->count; i++) {
		work_unref(exec->nodes[i].work);
		if (exec->nodes[i].event)
			event_unref(exec->nodes[i].event);
		if (exec->has_claimed && allocates(&exec->nodes[i]))
			exec->nodes[i].memory->is_instantiated = false;
		if (exec->nodes[i].memory)
			graph_memory_unref(exec->nodes[i].memory);
		free(exec->nodes[i].deps);
	}
	free(exec->nodes);
	destroy_bodies(exec);
	handle_recycle(&exec->handle, HANDLE_EXEC);
}

struct exec_node *exec_find(CUgraphExec exec, CUgraphNode source)
{
	for (uint32_t i = 0; i < exec->count; i++) {
		if (exec->nodes[i].source == source)
			return &exec->nodes[i];
	}
	return NULL;
}

static bool is_chosen(const struct exec_body *body)
{
	if (body->type == CU_GRAPH_COND_TYPE_SWITCH)
		return body->value == body->index;
	return (body->value != 0) == (body->index == 0);
}

static bool runs(const struct CUgraphExec_st *exec, const struct exec_node *node)
{
	uint32_t number = node->body;

	while (number && is_chosen(&exec->bodies[number - 1]))
		number = exec->bodies[number - 1].outer;
	return number == 0 && node->is_enabled;
}

/* Submits one node after those that it depends on, or after `start` if there are none. */
static CUresult submit_node(CUgraphExec exec, struct exec_node *node, CUstream stream,
	const struct deps *start, struct work *nothing)
{
	struct work *work = runs(exec, node) ? node->work : nothing;
	struct deps deps = {0};
	bool complete = true;
	CUcontext ctx;
	const CUresult result = work_context(work, stream->ctx, &ctx);

	if (result != CUDA_SUCCESS)
		return result;

	for (uint32_t i = 0; i < node->dep_count && complete; i++)
		complete = deps_add(&deps, exec->nodes[node->deps[i]].seq);
	if (!node->dep_count)
		complete = deps_add_all(&deps, start);
	if (node->event)
		complete = complete && deps_add(&deps, node->event->seq);
	node->seq =
		complete ? work_submit(work, green_leak(ctx, false, true), stream->priority, &deps)
			 : 0;
	deps_clear(&deps);
	if (!node->seq)
		return CUDA_ERROR_DEVICE_UNAVAILABLE;
	if (work->kind == WORK_EVENT) {
		work->event->seq = node->seq;
		work->event->capture_id = 0;
	}
	return CUDA_SUCCESS;
}

/* Submits the end of a launch: what the stream and the next launch wait for. */
static CUresult submit_end(
	CUgraphExec exec, CUstream stream, const struct deps *start, struct work *nothing)
{
	struct deps leaves = {0};
	bool complete = exec->count || deps_add_all(&leaves, start);

	for (uint32_t i = 0; i < exec->count && complete; i++) {
		if (exec->nodes[i].is_leaf)
			complete = deps_add(&leaves, exec->nodes[i].seq);
	}
	const uint64_t seq =
		complete ? work_submit(nothing, stream->ctx, stream->priority, &leaves) : 0;

	deps_clear(&leaves);
	if (!seq)
		return CUDA_ERROR_DEVICE_UNAVAILABLE;
	exec->last = seq;
	stream_advance(stream, seq);
	return CUDA_SUCCESS;
}

CUresult exec_launch(CUgraphExec exec, CUstream stream)
{
	struct work *nothing = work_create(WORK_EMPTY);
	struct deps start = {0};
	CUresult result = CUDA_SUCCESS;

	if (!nothing || !stream_collect_deps(stream, &start) || !deps_add(&start, exec->last))
		result = CUDA_ERROR_OUT_OF_MEMORY;
	if (result == CUDA_SUCCESS)
		result = graph_memory_launch(exec);
	for (uint32_t i = 0; i < exec->count && result == CUDA_SUCCESS; i++)
		result = submit_node(exec, &exec->nodes[i], stream, &start, nothing);
	if (result == CUDA_SUCCESS)
		result = submit_end(exec, stream, &start, nothing);
	if (result == CUDA_SUCCESS)
		graph_memory_launched(exec);
	deps_clear(&start);
	work_unref(nothing);
	return result;
}

/* Compares the same node of two flattened graphs. */
static CUgraphExecUpdateResult compare(
	const struct exec_node *old_node, const struct exec_node *new_node)
{
	if (old_node->type != new_node->type)
		return CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED;
	if (old_node->dep_count != new_node->dep_count || old_node->body != new_node->body)
		return CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
	for (uint32_t i = 0; i < old_node->dep_count; i++) {
		if (old_node->deps[i] != new_node->deps[i])
			return CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
	}
	return CU_GRAPH_EXEC_UPDATE_SUCCESS;
}

/* Compares all bodies, whose conditions alone may differ. */
static CUgraphExecUpdateResult compare_bodies(const struct CUgraphExec_st *old_exec,
	const struct CUgraphExec_st *new_exec, CUgraphNode *ret_node)
{
	for (uint32_t i = 0; i < new_exec->body_count; i++) {
		const struct exec_body *old = &old_exec->bodies[i], *new = &new_exec->bodies[i];

		if (i < old_exec->body_count && old->type == new->type && old->size == new->size &&
			old->outer == new->outer && old->conditional->ctx == new->conditional->ctx)
			continue;
		*ret_node = new->source;
		return CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED;
	}
	return CU_GRAPH_EXEC_UPDATE_SUCCESS;
}

static void take_over(struct exec_node *to, struct exec_node *from)
{
	struct work *work = to->work;
	CUevent event = to->event;

	to->work = from->work;
	to->event = from->event;
	from->work = work;
	from->event = event;
}

CUresult exec_update(CUgraphExec exec, CUgraph graph, CUgraphExecUpdateResultInfo *ret_info)
{
	CUgraphExec fresh;
	const CUresult result = build(graph, exec->flags, &fresh);

	*ret_info = (CUgraphExecUpdateResultInfo){.result = CU_GRAPH_EXEC_UPDATE_ERROR};
	if (result != CUDA_SUCCESS)
		return result;
	ret_info->result = exec->count == fresh->count
				   ? CU_GRAPH_EXEC_UPDATE_SUCCESS
				   : CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
	for (uint32_t i = 0; i < exec->count && !ret_info->result; i++) {
		ret_info->result = compare(&exec->nodes[i], &fresh->nodes[i]);
		if (ret_info->result)
			ret_info->errorNode = fresh->nodes[i].source;
	}
	if (!ret_info->result)
		ret_info->result = compare_bodies(exec, fresh, &ret_info->errorNode);
	for (uint32_t i = 0; i < exec->count && !ret_info->result; i++)
		take_over(&exec->nodes[i], &fresh->nodes[i]);
	for (uint32_t i = 0; i < exec->body_count && !ret_info->result; i++)
		exec->bodies[i].value = fresh->bodies[i].value;
	exec_destroy(fresh);
	return ret_info->result ? CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE : CUDA_SUCCESS;
}

CUresult exec_update_child(CUgraphExec exec, CUgraphNode source, CUgraph child)
{
	const struct exec_node *end = exec_find(exec, source);
	CUgraphExec fresh;

	if (!end || end->type != CU_GRAPH_NODE_TYPE_GRAPH)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult result = exec_create(child, exec->flags, &fresh);

	if (result != CUDA_SUCCESS)
		return result;
	/* The child's nodes stand before its end. */
	const uint32_t at = (uint32_t)(end - exec->nodes);
	const uint32_t first = fresh->count <= at ? at - fresh->count : 0;

	if (fresh->count > at)
		result = CUDA_ERROR_INVALID_VALUE;
	for (uint32_t i = 0; i < fresh->count && result == CUDA_SUCCESS; i++) {
		if (exec->nodes[first + i].type != fresh->nodes[i].type)
			result = CUDA_ERROR_INVALID_VALUE;
	}
	for (uint32_t i = 0; i < fresh->count && result == CUDA_SUCCESS; i++)
		take_over(&exec->nodes[first + i], &fresh->nodes[i]);
	exec_destroy(fresh);
	return result;
}
