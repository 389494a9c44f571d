/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Entry points of stream capture.
 */
#include "capture.h"
#include "context.h"
#include "entry.h"
#include "graph.h"
#include "stream.h"
#include "thread.h"

static CUresult begin(CUstream handle, enum stream_default meaning, CUstreamCaptureMode mode)
{
	CUstream stream;

	driver_lock();
	CUresult result = stream_resolve(handle, meaning, &stream);

	if (result == CUDA_SUCCESS)
		result = capture_begin(stream, NULL, NULL, 0, mode);
	driver_unlock();
	return result;
}

CUresult cuStreamBeginCapture(CUstream hStream)
{
	ENTER(cuStreamBeginCapture);
	return begin(hStream, STREAM_LEGACY, CU_STREAM_CAPTURE_MODE_GLOBAL);
}

CUresult cuStreamBeginCapture_ptsz(CUstream hStream)
{
	ENTER(cuStreamBeginCapture_ptsz);
	return begin(hStream, STREAM_PER_THREAD, CU_STREAM_CAPTURE_MODE_GLOBAL);
}

CUresult cuStreamBeginCapture_v2(CUstream hStream, CUstreamCaptureMode mode)
{
	ENTER(cuStreamBeginCapture_v2);
	return begin(hStream, STREAM_LEGACY, mode);
}

CUresult cuStreamBeginCapture_v2_ptsz(CUstream hStream, CUstreamCaptureMode mode)
{
	ENTER(cuStreamBeginCapture_v2_ptsz);
	return begin(hStream, STREAM_PER_THREAD, mode);
}

static bool are_nodes_of(CUgraph graph, const CUgraphNode *nodes, size_t count)
{
	if (!handle_is(graph, HANDLE_GRAPH) || (count && !nodes))
		return false;
	for (size_t i = 0; i < count; i++) {
		if (!handle_is(nodes[i], HANDLE_NODE) || nodes[i]->graph != graph)
			return false;
	}
	return true;
}

static CUresult begin_to_graph(CUstream handle, enum stream_default meaning, CUgraph graph,
	const CUgraphNode *deps, size_t count, CUstreamCaptureMode mode)
{
	CUstream stream;

	driver_lock();
	CUresult result = stream_resolve(handle, meaning, &stream);

	if (result == CUDA_SUCCESS && !are_nodes_of(graph, deps, count))
		result = CUDA_ERROR_INVALID_VALUE;
	if (result == CUDA_SUCCESS)
		result = capture_begin(stream, graph, deps, count, mode);
	driver_unlock();
	return result;
}

CUresult cuStreamBeginCaptureToGraph(CUstream hStream, CUgraph hGraph,
	const CUgraphNode *dependencies, const CUgraphEdgeData *dependencyData,
	size_t numDependencies, CUstreamCaptureMode mode)
{
	(void)dependencyData;
	ENTER(cuStreamBeginCaptureToGraph);
	return begin_to_graph(hStream, STREAM_LEGACY, hGraph, dependencies, numDependencies, mode);
}

CUresult cuStreamBeginCaptureToGraph_ptsz(CUstream hStream, CUgraph hGraph,
	const CUgraphNode *dependencies, const CUgraphEdgeData *dependencyData,
	size_t numDependencies, CUstreamCaptureMode mode)
{
	(void)dependencyData;
	ENTER(cuStreamBeginCaptureToGraph_ptsz);
	return begin_to_graph(
		hStream, STREAM_PER_THREAD, hGraph, dependencies, numDependencies, mode);
}

static CUresult end(CUstream handle, enum stream_default meaning, CUgraph *ret_graph)
{
	CUstream stream;

	if (!ret_graph)
		return CUDA_ERROR_INVALID_VALUE;
	driver_lock();
	CUresult result = stream_resolve(handle, meaning, &stream);

	if (result == CUDA_SUCCESS)
		result = capture_end(stream, ret_graph);
	driver_unlock();
	return result;
}

CUresult cuStreamEndCapture(CUstream hStream, CUgraph *phGraph)
{
	ENTER(cuStreamEndCapture);
	return end(hStream, STREAM_LEGACY, phGraph);
}

CUresult cuStreamEndCapture_ptsz(CUstream hStream, CUgraph *phGraph)
{
	ENTER(cuStreamEndCapture_ptsz);
	return end(hStream, STREAM_PER_THREAD, phGraph);
}

/* What the queries answer; pointers stay the capture's. */
struct capture_info {
	CUstreamCaptureStatus status;
	uint64_t id;
	CUgraph graph;
	const CUgraphNode *tips;
	size_t tip_count;
};

static CUresult ask(CUstream handle, enum stream_default meaning, struct capture_info *ret_info)
{
	CUstream stream;

	*ret_info = (struct capture_info){.status = CU_STREAM_CAPTURE_STATUS_NONE};
	driver_lock();
	CUresult result = stream_resolve(handle, meaning, &stream);

	if (result == CUDA_SUCCESS && stream == stream->ctx->legacy &&
		capture_blocks_legacy(stream->ctx))
		result = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
	const struct capture *capture = result == CUDA_SUCCESS ? stream->capture : NULL;

	if (capture)
		*ret_info = (struct capture_info){
			.status = capture->is_invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
						      : CU_STREAM_CAPTURE_STATUS_ACTIVE,
			.id = capture->id,
			.graph = capture->graph,
			.tips = stream->tips.nodes,
			.tip_count = stream->tips.count,
		};
	driver_unlock();
	return result;
}

static CUresult is_capturing(
	CUstream handle, enum stream_default meaning, CUstreamCaptureStatus *ret_status)
{
	struct capture_info info;

	if (!ret_status)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = ask(handle, meaning, &info);

	*ret_status = info.status;
	return result;
}

static CUresult null_is_capturing(CUstreamCaptureStatus *ret_status)
{
	*ret_status = CU_STREAM_CAPTURE_STATUS_NONE;
	return CUDA_SUCCESS;
}

CUresult cuStreamIsCapturing(CUstream hStream, CUstreamCaptureStatus *captureStatus)
{
	ENTER_OR_NULL(cuStreamIsCapturing, null_is_capturing(captureStatus));
	return is_capturing(hStream, STREAM_LEGACY, captureStatus);
}

CUresult cuStreamIsCapturing_ptsz(CUstream hStream, CUstreamCaptureStatus *captureStatus)
{
	ENTER_OR_NULL(cuStreamIsCapturing_ptsz, null_is_capturing(captureStatus));
	return is_capturing(hStream, STREAM_PER_THREAD, captureStatus);
}

/* Each of the outputs but the status may be missing. */
struct info_outputs {
	CUstreamCaptureStatus *status;
	cuuint64_t *id;
	CUgraph *graph;
	const CUgraphNode **deps;
	const CUgraphEdgeData **edges;
	size_t *dep_count;
};

static CUresult get_info(
	CUstream handle, enum stream_default meaning, const struct info_outputs *out)
{
	struct capture_info info;

	if (!out->status)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = ask(handle, meaning, &info);

	if (result != CUDA_SUCCESS)
		return result;
	*out->status = info.status;
	if (info.status != CU_STREAM_CAPTURE_STATUS_ACTIVE)
		return CUDA_SUCCESS;
	if (out->id)
		*out->id = info.id;
	if (out->graph)
		*out->graph = info.graph;
	if (out->deps)
		*out->deps = info.tips;
	if (out->edges)
		*out->edges = NULL;
	if (out->dep_count)
		*out->dep_count = info.tip_count;
	return CUDA_SUCCESS;
}

#define OUTPUTS                                                                \
	{                                                                      \
		.status = captureStatus_out, .id = id_out, .graph = graph_out, \
		.deps = dependencies_out, .dep_count = numDependencies_out     \
	}

CUresult cuStreamGetCaptureInfo(
	CUstream hStream, CUstreamCaptureStatus *captureStatus_out, cuuint64_t *id_out)
{
	ENTER_OR_NULL(cuStreamGetCaptureInfo, null_is_capturing(captureStatus_out));
	const struct info_outputs out = {.status = captureStatus_out, .id = id_out};

	return get_info(hStream, STREAM_LEGACY, &out);
}

CUresult cuStreamGetCaptureInfo_ptsz(
	CUstream hStream, CUstreamCaptureStatus *captureStatus_out, cuuint64_t *id_out)
{
	ENTER_OR_NULL(cuStreamGetCaptureInfo_ptsz, null_is_capturing(captureStatus_out));
	const struct info_outputs out = {.status = captureStatus_out, .id = id_out};

	return get_info(hStream, STREAM_PER_THREAD, &out);
}

CUresult cuStreamGetCaptureInfo_v2(CUstream hStream, CUstreamCaptureStatus *captureStatus_out,
	cuuint64_t *id_out, CUgraph *graph_out, const CUgraphNode **dependencies_out,
	size_t *numDependencies_out)
{
	ENTER_OR_NULL(cuStreamGetCaptureInfo_v2, null_is_capturing(captureStatus_out));
	const struct info_outputs out = OUTPUTS;

	return get_info(hStream, STREAM_LEGACY, &out);
}

CUresult cuStreamGetCaptureInfo_v2_ptsz(CUstream hStream, CUstreamCaptureStatus *captureStatus_out,
	cuuint64_t *id_out, CUgraph *graph_out, const CUgraphNode **dependencies_out,
	size_t *numDependencies_out)
{
	ENTER_OR_NULL(cuStreamGetCaptureInfo_v2_ptsz, null_is_capturing(captureStatus_out));
	const struct info_outputs out = OUTPUTS;

	return get_info(hStream, STREAM_PER_THREAD, &out);
}

CUresult cuStreamGetCaptureInfo_v3(CUstream hStream, CUstreamCaptureStatus *captureStatus_out,
	cuuint64_t *id_out, CUgraph *graph_out, const CUgraphNode **dependencies_out,
	const CUgraphEdgeData **edgeData_out, size_t *numDependencies_out)
{
	ENTER_OR_NULL(cuStreamGetCaptureInfo_v3, null_is_capturing(captureStatus_out));
	struct info_outputs out = OUTPUTS;

	out.edges = edgeData_out;
	return get_info(hStream, STREAM_LEGACY, &out);
}

CUresult cuStreamGetCaptureInfo_v3_ptsz(CUstream hStream, CUstreamCaptureStatus *captureStatus_out,
	cuuint64_t *id_out, CUgraph *graph_out, const CUgraphNode **dependencies_out,
	const CUgraphEdgeData **edgeData_out, size_t *numDependencies_out)
{
	ENTER_OR_NULL(cuStreamGetCaptureInfo_v3_ptsz, null_is_capturing(captureStatus_out));
	struct info_outputs out = OUTPUTS;

	out.edges = edgeData_out;
	return get_info(hStream, STREAM_PER_THREAD, &out);
}

#undef OUTPUTS

static CUresult replace_tips(
	CUstream stream, const CUgraphNode *nodes, size_t count, unsigned flags)
{
	struct capture *capture = stream->capture;

	if (!capture)
		return CUDA_ERROR_ILLEGAL_STATE;
	if (capture->is_invalid)
		return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	if (!are_nodes_of(capture->graph, nodes, count))
		return CUDA_ERROR_INVALID_VALUE;
	if (flags == CU_STREAM_SET_CAPTURE_DEPENDENCIES)
		stream->tips.count = 0;
	for (size_t i = 0; i < count; i++) {
		if (!node_list_add(&stream->tips, nodes[i]))
			return CUDA_ERROR_OUT_OF_MEMORY;
	}
	return CUDA_SUCCESS;
}

static CUresult update(CUstream handle, enum stream_default meaning, const CUgraphNode *nodes,
	size_t count, unsigned flags)
{
	CUstream stream;

	if (flags > CU_STREAM_SET_CAPTURE_DEPENDENCIES)
		return CUDA_ERROR_INVALID_VALUE;
	driver_lock();
	CUresult result = stream_resolve(handle, meaning, &stream);

	if (result == CUDA_SUCCESS)
		result = replace_tips(stream, nodes, count, flags);
	driver_unlock();
	return result;
}

CUresult cuStreamUpdateCaptureDependencies(
	CUstream hStream, CUgraphNode *dependencies, size_t numDependencies, unsigned int flags)
{
	ENTER(cuStreamUpdateCaptureDependencies);
	return update(hStream, STREAM_LEGACY, dependencies, numDependencies, flags);
}

CUresult cuStreamUpdateCaptureDependencies_ptsz(
	CUstream hStream, CUgraphNode *dependencies, size_t numDependencies, unsigned int flags)
{
	ENTER(cuStreamUpdateCaptureDependencies_ptsz);
	return update(hStream, STREAM_PER_THREAD, dependencies, numDependencies, flags);
}

CUresult cuStreamUpdateCaptureDependencies_v2(CUstream hStream, CUgraphNode *dependencies,
	const CUgraphEdgeData *dependencyData, size_t numDependencies, unsigned int flags)
{
	(void)dependencyData;
	ENTER(cuStreamUpdateCaptureDependencies_v2);
	return update(hStream, STREAM_LEGACY, dependencies, numDependencies, flags);
}

CUresult cuStreamUpdateCaptureDependencies_v2_ptsz(CUstream hStream, CUgraphNode *dependencies,
	const CUgraphEdgeData *dependencyData, size_t numDependencies, unsigned int flags)
{
	(void)dependencyData;
	ENTER(cuStreamUpdateCaptureDependencies_v2_ptsz);
	return update(hStream, STREAM_PER_THREAD, dependencies, numDependencies, flags);
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode)
{
	ENTER(cuThreadExchangeStreamCaptureMode);
	struct thread *thread = thread_self();

	if (!mode || (unsigned)*mode > CU_STREAM_CAPTURE_MODE_RELAXED)
		return CUDA_ERROR_INVALID_VALUE;
	if (!thread)
		return CUDA_ERROR_OUT_OF_MEMORY;
	const CUstreamCaptureMode before = thread->capture_mode;

	thread->capture_mode = *mode;
	*mode = before;
	return CUDA_SUCCESS;
}
