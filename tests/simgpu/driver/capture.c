/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Captures in progress. The entry points are in capture_api.c.
 */
#include "capture.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "context.h"
#include "entry.h"
#include "event.h"
#include "graph.h"
#include "graph_memory.h"
#include "stream.h"
#include "thread.h"
#include "work.h"

static struct capture *captures;
static uint64_t last_id;
/* How many there are: most calls need to know only that there are none. */
static _Atomic uint32_t capture_count;

static bool are_none(void)
{
	return atomic_load_explicit(&capture_count, memory_order_relaxed) == 0;
}

static struct capture *find(uint64_t id)
{
	struct capture *capture = captures;

	while (capture && capture->id != id)
		capture = capture->next;
	return capture;
}

/* Whether the calling thread may not make unsafe calls because of `capture`. */
static bool forbids_unsafe(const struct capture *capture, const struct thread *thread)
{
	if (thread->capture_mode == CU_STREAM_CAPTURE_MODE_RELAXED)
		return false;
	if (capture->thread == thread && capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED)
		return true;
	return thread->capture_mode == CU_STREAM_CAPTURE_MODE_GLOBAL &&
	       capture->mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
}

CUresult capture_check_unsafe(void)
{
	const struct thread *thread = thread_self();
	CUresult result = CUDA_SUCCESS;

	if (are_none() || !thread)
		return CUDA_SUCCESS;
	driver_lock();
	for (struct capture *capture = captures; capture; capture = capture->next) {
		if (forbids_unsafe(capture, thread)) {
			capture->is_invalid = true;
			result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
		}
	}
	driver_unlock();
	return result;
}

CUresult capture_check_question(void)
{
	return entry.machine->strict_capture ? capture_check_unsafe() : CUDA_SUCCESS;
}

static bool invalidate_captures_in(CUcontext ctx)
{
	bool has_any = false;

	for (CUstream stream = ctx->streams; stream; stream = stream->next_in_context) {
		if (!stream->capture)
			continue;
		stream->capture->is_invalid = true;
		has_any = true;
	}
	return has_any;
}

CUresult capture_refuse_context(CUcontext ctx)
{
	CUresult result = CUDA_SUCCESS;

	if (are_none())
		return CUDA_SUCCESS;
	driver_lock();
	for (CUcontext one = context_next_within(ctx, NULL); one;
		one = context_next_within(ctx, one)) {
		if (invalidate_captures_in(one))
			result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	}
	driver_unlock();
	return result;
}

CUresult capture_refuse_stream(CUstream stream)
{
	if (!stream->capture)
		return CUDA_SUCCESS;
	if (stream->capture->is_invalid)
		return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	stream->capture->is_invalid = true;
	return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

static bool is_captured_and_blocking(CUstream stream)
{
	return stream->capture && stream_is_blocking(stream);
}

void capture_spoil(CUstream stream)
{
	if (!stream->capture || !entry.machine->strict_capture)
		return;
	stream->capture->is_invalid = true;
	stream->capture->graph->is_lost = true;
}

bool capture_blocks_legacy(CUcontext ctx)
{
	CUstream stream = are_none() ? NULL : ctx->streams;

	while (stream && !is_captured_and_blocking(stream))
		stream = stream->next_in_context;
	return stream != NULL;
}

CUresult capture_refuse_legacy(CUcontext ctx)
{
	if (!capture_blocks_legacy(ctx))
		return CUDA_SUCCESS;
	for (CUstream stream = ctx->streams; stream; stream = stream->next_in_context) {
		if (is_captured_and_blocking(stream))
			stream->capture->is_invalid = true;
	}
	return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
}

CUresult capture_refuse_event(CUevent event)
{
	struct capture *capture = event->capture_id ? find(event->capture_id) : NULL;

	if (capture)
		capture->is_invalid = true;
	return event->capture_id ? CUDA_ERROR_CAPTURED_EVENT : CUDA_SUCCESS;
}

static bool set_tips(CUstream stream, const CUgraphNode *nodes, size_t count)
{
	stream->tips.count = 0;
	for (size_t i = 0; i < count; i++) {
		if (!node_list_add(&stream->tips, nodes[i]))
			return false;
	}
	return true;
}

CUresult capture_begin(CUstream stream, CUgraph graph, const CUgraphNode *deps, size_t dep_count,
	CUstreamCaptureMode mode)
{
	if ((unsigned)mode > CU_STREAM_CAPTURE_MODE_RELAXED)
		return CUDA_ERROR_INVALID_VALUE;
	if (stream == stream->ctx->legacy)
		return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	if (stream->capture)
		return CUDA_ERROR_ILLEGAL_STATE;
	struct capture *capture = calloc(1, sizeof(*capture));

	if (!capture)
		return CUDA_ERROR_OUT_OF_MEMORY;
	capture->owns_graph = !graph;
	capture->graph = graph ? graph : graph_create();
	if (!capture->graph || !set_tips(stream, deps, dep_count)) {
		if (capture->owns_graph)
			graph_destroy(capture->graph);
		free(capture);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	capture->id = ++last_id;
	capture->mode = mode;
	capture->first_node = capture->graph->nodes.count;
	capture->origin = stream;
	capture->thread = thread_self();
	capture->next = captures;
	captures = capture;
	atomic_fetch_add_explicit(&capture_count, 1, memory_order_relaxed);
	stream->capture = capture;
	return CUDA_SUCCESS;
}

/* Whether all that was captured leads to the tips of the stream in which the capture began. */
static bool is_joined(const struct capture *capture, CUstream origin)
{
	const struct node_list *nodes = &capture->graph->nodes;

	for (uint32_t i = 0; i < nodes->count; i++)
		nodes->nodes[i]->scratch = i < capture->first_node;
	for (uint32_t i = 0; i < nodes->count; i++) {
		const struct node_list *deps = &nodes->nodes[i]->deps;

		for (uint32_t j = 0; j < deps->count; j++)
			deps->nodes[j]->scratch = 1;
	}
	for (uint32_t i = 0; i < origin->tips.count; i++)
		origin->tips.nodes[i]->scratch = 1;
	for (uint32_t i = 0; i < nodes->count; i++) {
		if (!nodes->nodes[i]->scratch)
			return false;
	}
	return true;
}

/* Frees `capture`; no stream may stand in it any more. */
static void finish(struct capture *capture)
{
	struct capture **link = &captures;

	while (*link != capture)
		link = &(*link)->next;
	*link = capture->next;
	atomic_fetch_sub_explicit(&capture_count, 1, memory_order_relaxed);
	free(capture);
}

static void release_streams(const struct capture *capture, CUcontext ctx)
{
	for (CUstream stream = ctx->streams; stream; stream = stream->next_in_context) {
		if (stream->capture == capture) {
			stream->capture = NULL;
			stream->tips.count = 0;
		}
	}
}

CUresult capture_end(CUstream stream, CUgraph *ret_graph)
{
	struct capture *capture = stream->capture;
	CUresult result = CUDA_SUCCESS;

	*ret_graph = NULL;
	if (!capture)
		return CUDA_ERROR_ILLEGAL_STATE;
	if (capture->origin != stream)
		return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
	if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED && capture->thread != thread_self())
		return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
	if (capture->is_invalid)
		result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	else if (!is_joined(capture, stream))
		result = CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
	if (result == CUDA_SUCCESS)
		*ret_graph = capture->graph;
	else if (capture->owns_graph)
		graph_destroy(capture->graph);
	contexts_for_each(release_streams, capture);
	finish(capture);
	return result;
}

void capture_forget_stream(CUstream stream)
{
	struct capture *capture = stream->capture;

	stream->capture = NULL;
	capture->is_invalid = true;
	if (capture->origin != stream)
		return;
	/* Nobody can end it any more. */
	contexts_for_each(release_streams, capture);
	if (capture->owns_graph)
		graph_destroy(capture->graph);
	finish(capture);
}

/* Adds a node after the tips of `stream`, which becomes its only tip. */
static CUresult add_node(CUstream stream, CUgraphNodeType type, CUgraphNode *ret_node)
{
	if (stream->capture->is_invalid)
		return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	CUresult result = graph_add_node(
		stream->capture->graph, type, stream->tips.nodes, stream->tips.count, ret_node);

	if (result == CUDA_SUCCESS && !set_tips(stream, ret_node, 1))
		result = CUDA_ERROR_OUT_OF_MEMORY;
	return result;
}

CUresult capture_add_work(CUstream stream, struct work *work)
{
	CUgraphNode node;
	const CUresult result = add_node(stream, graph_type_of(work), &node);

	if (result == CUDA_SUCCESS) {
		work_ref(work);
		node->work = work;
	}
	return result;
}

CUresult capture_add_memory(CUstream stream, CUgraphNodeType type, struct graph_memory *memory)
{
	CUgraphNode node;
	const CUresult result = add_node(stream, type, &node);

	if (result == CUDA_SUCCESS) {
		graph_memory_ref(memory);
		node->memory = memory;
	}
	return result;
}

/* Captures a record that the graph makes each time it runs. */
static CUresult capture_external_record(CUstream stream, CUevent event)
{
	struct work *work = work_create(WORK_EVENT);

	if (!work)
		return CUDA_ERROR_OUT_OF_MEMORY;
	event_ref(event);
	work->event = event;
	const CUresult result = capture_add_work(stream, work);

	work_unref(work);
	return result;
}

CUresult capture_record(CUstream stream, CUevent event, bool is_external)
{
	if (stream->capture->is_invalid)
		return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	if (is_external)
		return capture_external_record(stream, event);
	if (!node_list_copy(&event->nodes, &stream->tips))
		return CUDA_ERROR_OUT_OF_MEMORY;
	event->capture_id = stream->capture->id;
	return CUDA_SUCCESS;
}

static CUresult capture_external_wait(CUstream stream, CUevent event)
{
	CUgraphNode node;
	const CUresult result = add_node(stream, CU_GRAPH_NODE_TYPE_WAIT_EVENT, &node);

	if (result == CUDA_SUCCESS) {
		event_ref(event);
		node->event = event;
	}
	return result;
}

static CUresult refuse_wait(struct capture *one, struct capture *other, CUresult reason)
{
	if (one)
		one->is_invalid = true;
	if (other)
		other->is_invalid = true;
	return reason;
}

CUresult capture_wait(CUstream stream, CUevent event, bool is_external)
{
	struct capture *capture = event->capture_id ? find(event->capture_id) : NULL;
	struct capture *own = stream->capture;

	if ((own && own->is_invalid) || (capture && capture->is_invalid))
		return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	if (own && is_external)
		return capture_external_wait(stream, event);
	if (!event->capture_id) /* one that was never recorded holds nothing up */
		return event->seq ? refuse_wait(own, NULL, CUDA_ERROR_STREAM_CAPTURE_ISOLATION)
				  : CUDA_SUCCESS;
	if (!capture)
		return refuse_wait(own, NULL, CUDA_ERROR_CAPTURED_EVENT);
	if (own && own != capture)
		return refuse_wait(own, capture, CUDA_ERROR_STREAM_CAPTURE_MERGE);
	if (stream == stream->ctx->legacy)
		return refuse_wait(capture, NULL, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
	if (!own)
		stream->tips.count = 0;
	stream->capture = capture;
	for (uint32_t i = 0; i < event->nodes.count; i++) {
		if (!node_list_add(&stream->tips, event->nodes.nodes[i]))
			return CUDA_ERROR_OUT_OF_MEMORY;
	}
	return CUDA_SUCCESS;
}
