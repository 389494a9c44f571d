/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A call about a whole context, such as cuCtxSynchronize(), fails while a stream in it captures,
 * and spoils the capture. Programs know of their own captures and not of ours, so these calls and
 * ours keep clear of each other: who comes waits until a capture has ended, and a capture until
 * calls under way have got past the driver's checks, for they may go on until the device is idle.
 */
#include "base/cancel.h"
#include "base/clock.h"
#include "hooks/capture_mode.h"
#include "partition/lanes.h"

#include <stddef.h>
#include <stdlib.h>

#define CHECKED_NS NS_PER_MS /* after so long a call has long passed the driver's checks */
#define LOOK_NS    (50 * NS_PER_US)
#define MOST_TRIES 16 /* of a capture that calls spoil all the same */

/* True where a call is in the driver all the same, and may be put off before its checks. */
static bool begin_capture(struct nodes *nodes)
{
	lock_take(&nodes->lock);
	while (atomic_load(&nodes->calls) != 0 && clock_now_ns() - nodes->last_call_ns < CHECKED_NS)
		clock_sleep_ns(LOOK_NS);
	atomic_fetch_add(&nodes->captures, 1);
	return atomic_load(&nodes->calls) != 0;
}

static void end_capture(struct nodes *nodes)
{
	lock_drop(&nodes->lock);
}

static CUresult find_captured(CUstream stream, CUgraphNode *ret_node)
{
	CUstreamCaptureStatus status;
	const CUgraphNode *nodes = NULL;
	const CUgraphEdgeData *edges;
	cuuint64_t id;
	CUgraph graph;
	size_t count = 0;
	CUresult result = driver_real.cuStreamGetCaptureInfo_v3(
		stream, &status, &id, &graph, &nodes, &edges, &count);

	if (result != CUDA_SUCCESS)
		return result;
	if (status != CU_STREAM_CAPTURE_STATUS_ACTIVE || count != 1)
		return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	*ret_node = nodes[0];
	return CUDA_SUCCESS;
}

/* Out of the graph again. Where that cannot be, for graphs that allocate memory lose no nodes, it
 * is what was asked for. */
static CUresult take_back(CUgraphNode node, CUresult result)
{
	return driver_real.cuGraphDestroyNode(node) == CUDA_SUCCESS ? result : CUDA_SUCCESS;
}

static CUresult capture(
	CUstream stream, const struct place *place, const CUDA_KERNEL_NODE_PARAMS_v3 *kernel)
{
	CUgraphNode node = NULL;
	CUgraph graph;
	CUresult result = driver_real.cuStreamBeginCaptureToGraph(stream, place->graph,
		place->dependencies, place->edges, place->count, CU_STREAM_CAPTURE_MODE_RELAXED);

	if (result != CUDA_SUCCESS)
		return result;
	result = driver_real.cuLaunchKernel(kernel->func, kernel->gridDimX, kernel->gridDimY,
		kernel->gridDimZ, kernel->blockDimX, kernel->blockDimY, kernel->blockDimZ,
		kernel->sharedMemBytes, stream, kernel->kernelParams, kernel->extra);
	if (result == CUDA_SUCCESS)
		result = find_captured(stream, &node);
	CUresult ended = driver_real.cuStreamEndCapture(stream, &graph);
	if (result == CUDA_SUCCESS)
		result = ended;
	if (node != NULL && result != CUDA_SUCCESS)
		result = take_back(node, result);
	if (node != NULL && result == CUDA_SUCCESS)
		*place->ret_node = node;
	return result;
}

struct list {
	CUgraphNode *nodes; /* to be freed */
	size_t count;
};

/* All nodes of a graph. False where the driver does not tell, or without memory. */
static bool list_nodes(CUgraph graph, struct list *ret_list)
{
	size_t count = 0;

	*ret_list = (struct list){0};
	if (driver_real.cuGraphGetNodes(graph, NULL, &count) != CUDA_SUCCESS)
		return false;
	if (count == 0)
		return true;
	ret_list->nodes = malloc(count * sizeof(*ret_list->nodes));
	if (ret_list->nodes == NULL)
		return false;
	if (driver_real.cuGraphGetNodes(graph, ret_list->nodes, &count) == CUDA_SUCCESS) {
		ret_list->count = count;
		return true;
	}
	free(ret_list->nodes);
	return false;
}

static bool is_in(const struct list *list, CUgraphNode node)
{
	for (size_t i = 0; i < list->count; i++) {
		if (list->nodes[i] == node)
			return true;
	}
	return false;
}

/* A capture that was spoiled does not tell the node that it may have left in the graph. */
static CUresult take_back_unknown(
	const struct place *place, const struct list *before, CUresult result)
{
	struct list after;

	if (!list_nodes(place->graph, &after))
		return CUDA_ERROR_OUT_OF_MEMORY;
	for (size_t i = 0; i < after.count; i++) {
		if (is_in(before, after.nodes[i]))
			continue;
		result = take_back(after.nodes[i], result);
		if (result == CUDA_SUCCESS)
			*place->ret_node = after.nodes[i];
	}
	free(after.nodes);
	return result;
}

static CUresult capture_among_calls(
	CUstream stream, const struct place *place, const CUDA_KERNEL_NODE_PARAMS_v3 *kernel)
{
	CUresult result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	struct list before;

	if (!list_nodes(place->graph, &before))
		return CUDA_ERROR_OUT_OF_MEMORY;
	for (int i = 0; i < MOST_TRIES && result == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED; i++) {
		result = capture(stream, place, kernel);
		if (result != CUDA_SUCCESS)
			result = take_back_unknown(place, &before, result);
	}
	free(before.nodes);
	return result;
}

CUresult nodes_capture(
	struct lanes *lanes, const struct place *place, const CUDA_KERNEL_NODE_PARAMS_v3 *kernel)
{
	CUcontext current = NULL, popped;
	int cancelled = cancel_hold();
	CUstreamCaptureMode mode = relax_capture();
	bool is_entered = driver_real.cuCtxGetCurrent(&current) == CUDA_SUCCESS &&
			  current != lanes->primary &&
			  driver_real.cuCtxPushCurrent_v2(lanes->primary) == CUDA_SUCCESS;

	CUresult result = begin_capture(&lanes->nodes)
				  ? capture_among_calls(lanes->nodes.stream, place, kernel)
				  : capture(lanes->nodes.stream, place, kernel);
	end_capture(&lanes->nodes);
	if (is_entered)
		driver_real.cuCtxPopCurrent_v2(&popped);
	restore_capture(mode);
	cancel_restore(cancelled);
	return result;
}
