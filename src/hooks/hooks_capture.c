/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Captures in progress, counted, so that launches need not ask the driver while there are none.
 */
#include "driver/driver.h"
#include "governor/governor.h"
#include "hooks/hooks.h"
#include "partition/partition.h"

static void began_one(void)
{
	governor_capture_began();
	partition_capture_began();
}

static void ended_one(void)
{
	governor_capture_ended();
	partition_capture_ended();
}

static CUresult began(CUresult res)
{
	if (res == CUDA_SUCCESS)
		began_one();
	return res;
}

static bool is_capturing(CUstream stream)
{
	CUstreamCaptureStatus status;

	return driver.cuStreamIsCapturing(stream, &status) == CUDA_SUCCESS &&
	       status != CU_STREAM_CAPTURE_STATUS_NONE;
}

/* Some errors end a capture (it was spoiled, or not joined), and others do not (another thread has
 * to end it): the stream tells. */
static CUresult end(CUstream stream, CUstream real_stream, CUgraph *ret_graph,
	CUresult(CUDAAPI *end_real)(CUstream, CUgraph *))
{
	bool was_capturing = is_capturing(real_stream);
	CUresult res = end_real(stream, ret_graph);

	if (res == CUDA_SUCCESS || (was_capturing && !is_capturing(real_stream)))
		ended_one();
	return res;
}

CUresult CUDAAPI hook_cuStreamBeginCapture(CUstream stream)
{
	return began(driver.cuStreamBeginCapture(stream));
}

CUresult CUDAAPI hook_cuStreamBeginCapture_ptsz(CUstream stream)
{
	return began(driver.cuStreamBeginCapture_ptsz(stream));
}

CUresult CUDAAPI hook_cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode mode)
{
	return began(driver.cuStreamBeginCapture_v2(stream, mode));
}

CUresult CUDAAPI hook_cuStreamBeginCapture_v2_ptsz(CUstream stream, CUstreamCaptureMode mode)
{
	return began(driver.cuStreamBeginCapture_v2_ptsz(stream, mode));
}

CUresult CUDAAPI hook_cuStreamBeginCaptureToGraph(CUstream stream, CUgraph graph,
	const CUgraphNode *dependencies, const CUgraphEdgeData *edges, size_t count,
	CUstreamCaptureMode mode)
{
	return began(driver.cuStreamBeginCaptureToGraph(
		stream, graph, dependencies, edges, count, mode));
}

CUresult CUDAAPI hook_cuStreamBeginCaptureToGraph_ptsz(CUstream stream, CUgraph graph,
	const CUgraphNode *dependencies, const CUgraphEdgeData *edges, size_t count,
	CUstreamCaptureMode mode)
{
	return began(driver.cuStreamBeginCaptureToGraph_ptsz(
		stream, graph, dependencies, edges, count, mode));
}

CUresult CUDAAPI hook_cuStreamEndCapture(CUstream stream, CUgraph *ret_graph)
{
	return end(stream, stream, ret_graph, driver.cuStreamEndCapture);
}

CUresult CUDAAPI hook_cuStreamEndCapture_ptsz(CUstream stream, CUgraph *ret_graph)
{
	return end(stream, stream == NULL ? CU_STREAM_PER_THREAD : stream, ret_graph,
		driver.cuStreamEndCapture_ptsz);
}
