/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Captures in progress, counted, so that launches need not ask the driver while there are none.
 */
#include "driver/driver.h"
#include "governor/governor.h"
#include "hooks/hooks.h"

static CUresult began(CUresult res)
{
	if (res == CUDA_SUCCESS)
		governor_capture_began();
	return res;
}

/* One that was spoiled ends too. Any other answer means that it goes on. */
static CUresult ended(CUresult res)
{
	if (res == CUDA_SUCCESS || res == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)
		governor_capture_ended();
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
	return ended(driver.cuStreamEndCapture(stream, ret_graph));
}

CUresult CUDAAPI hook_cuStreamEndCapture_ptsz(CUstream stream, CUgraph *ret_graph)
{
	return ended(driver.cuStreamEndCapture_ptsz(stream, ret_graph));
}
