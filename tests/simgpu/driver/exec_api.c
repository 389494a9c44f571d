/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Entry points of executable graphs.
 */
#include "capture.h"
#include "conditional.h"
#include "context.h"
#include "copy.h"
#include "entry.h"
#include "event.h"
#include "exec.h"
#include "graph.h"
#include "graph_memory.h"
#include "graph_params.h"
#include "work.h"

#define INSTANTIATE_FLAGS                                                                       \
	(CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH | CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD | \
		CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY)

static CUresult instantiate(CUgraphExec *ret_exec, CUgraph graph, unsigned long long flags)
{
	if (!ret_exec || !handle_is(graph, HANDLE_GRAPH))
		return CUDA_ERROR_INVALID_VALUE;
	if (flags & CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (flags & ~(unsigned long long)INSTANTIATE_FLAGS)
		return CUDA_ERROR_INVALID_VALUE;
	driver_lock();
	const CUresult result = exec_create(graph, flags, ret_exec);

	driver_unlock();
	return result;
}

static CUresult instantiate_logged(
	CUgraphExec *ret_exec, CUgraph graph, CUgraphNode *error_node, char *log, size_t log_bytes)
{
	if (error_node)
		*error_node = NULL;
	if (log && log_bytes)
		log[0] = '\0';
	return instantiate(ret_exec, graph, 0);
}

CUresult cuGraphInstantiate(CUgraphExec *phGraphExec, CUgraph hGraph, CUgraphNode *phErrorNode,
	char *logBuffer, size_t bufferSize)
{
	ENTER(cuGraphInstantiate);
	return instantiate_logged(phGraphExec, hGraph, phErrorNode, logBuffer, bufferSize);
}

CUresult cuGraphInstantiate_v2(CUgraphExec *phGraphExec, CUgraph hGraph, CUgraphNode *phErrorNode,
	char *logBuffer, size_t bufferSize)
{
	ENTER(cuGraphInstantiate_v2);
	return instantiate_logged(phGraphExec, hGraph, phErrorNode, logBuffer, bufferSize);
}

CUresult cuGraphInstantiateWithFlags(
	CUgraphExec *phGraphExec, CUgraph hGraph, unsigned long long flags)
{
	ENTER(cuGraphInstantiateWithFlags);
	return instantiate(phGraphExec, hGraph, flags);
}

static bool has_unused_handle(CUgraph graph)
{
	if (!handle_is(graph, HANDLE_GRAPH))
		return false;
	driver_lock();
	const bool has_one = graph_has_unused_handle(graph);

	driver_unlock();
	return has_one;
}

static CUresult instantiate_with(
	CUgraphExec *ret_exec, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS *params)
{
	if (!params)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = instantiate(ret_exec, graph, params->flags);

	params->hErrNode_out = NULL;
	params->result_out = result == CUDA_SUCCESS ? CUDA_GRAPH_INSTANTIATE_SUCCESS
						    : CUDA_GRAPH_INSTANTIATE_ERROR;
	if (result == CUDA_ERROR_INVALID_VALUE && has_unused_handle(graph))
		params->result_out = CUDA_GRAPH_INSTANTIATE_CONDITIONAL_HANDLE_UNUSED;
	return result;
}

CUresult cuGraphInstantiateWithParams(
	CUgraphExec *phGraphExec, CUgraph hGraph, CUDA_GRAPH_INSTANTIATE_PARAMS *instantiateParams)
{
	ENTER(cuGraphInstantiateWithParams);
	return instantiate_with(phGraphExec, hGraph, instantiateParams);
}

CUresult cuGraphInstantiateWithParams_ptsz(
	CUgraphExec *phGraphExec, CUgraph hGraph, CUDA_GRAPH_INSTANTIATE_PARAMS *instantiateParams)
{
	ENTER(cuGraphInstantiateWithParams_ptsz);
	return instantiate_with(phGraphExec, hGraph, instantiateParams);
}

CUresult cuGraphExecDestroy(CUgraphExec hGraphExec)
{
	ENTER(cuGraphExecDestroy);
	if (!handle_is(hGraphExec, HANDLE_EXEC))
		return CUDA_ERROR_INVALID_VALUE;
	driver_lock();
	exec_destroy(hGraphExec);
	driver_unlock();
	return CUDA_SUCCESS;
}

CUresult cuGraphExecGetFlags(CUgraphExec hGraphExec, cuuint64_t *flags)
{
	ENTER(cuGraphExecGetFlags);
	if (!flags || !handle_is(hGraphExec, HANDLE_EXEC))
		return CUDA_ERROR_INVALID_VALUE;
	*flags = hGraphExec->flags;
	return CUDA_SUCCESS;
}

/* A launch into a stream that is being captured is not supported: it ends the capture. */
static CUresult launch(CUgraphExec exec, CUstream handle, enum stream_default meaning)
{
	CUstream stream;

	if (!handle_is(exec, HANDLE_EXEC))
		return CUDA_ERROR_INVALID_VALUE;
	driver_lock();
	CUresult result = stream_resolve(handle, meaning, &stream);

	if (result == CUDA_SUCCESS)
		result = capture_refuse_stream(stream);
	if (result == CUDA_SUCCESS && stream == stream->ctx->legacy)
		result = capture_refuse_legacy(stream->ctx);
	if (result == CUDA_SUCCESS)
		result = exec_launch(exec, stream);
	driver_unlock();
	return result;
}

CUresult cuGraphLaunch(CUgraphExec hGraph, CUstream hStream)
{
	ENTER_OR_NULL(cuGraphLaunch, CUDA_SUCCESS);
	return launch(hGraph, hStream, STREAM_LEGACY);
}

CUresult cuGraphLaunch_ptsz(CUgraphExec hGraph, CUstream hStream)
{
	ENTER_OR_NULL(cuGraphLaunch_ptsz, CUDA_SUCCESS);
	return launch(hGraph, hStream, STREAM_PER_THREAD);
}

/* There is nothing to upload but bytes behind the memory of nodes. */
static CUresult upload(CUgraphExec exec, CUstream handle, enum stream_default meaning)
{
	CUstream stream;

	if (!handle_is(exec, HANDLE_EXEC))
		return CUDA_ERROR_INVALID_VALUE;
	driver_lock();
	CUresult result = stream_resolve(handle, meaning, &stream);

	if (result == CUDA_SUCCESS)
		result = graph_memory_map(exec);
	driver_unlock();
	return result;
}

CUresult cuGraphUpload(CUgraphExec hGraph, CUstream hStream)
{
	ENTER_OR_NULL(cuGraphUpload, CUDA_SUCCESS);
	return upload(hGraph, hStream, STREAM_LEGACY);
}

CUresult cuGraphUpload_ptsz(CUgraphExec hGraph, CUstream hStream)
{
	ENTER_OR_NULL(cuGraphUpload_ptsz, CUDA_SUCCESS);
	return upload(hGraph, hStream, STREAM_PER_THREAD);
}

static CUresult update(CUgraphExec exec, CUgraph graph, CUgraphExecUpdateResultInfo *ret_info)
{
	if (!handle_is(exec, HANDLE_EXEC) || !handle_is(graph, HANDLE_GRAPH) || !ret_info)
		return CUDA_ERROR_INVALID_VALUE;
	driver_lock();
	const CUresult result = exec_update(exec, graph, ret_info);

	driver_unlock();
	return result;
}

CUresult cuGraphExecUpdate(CUgraphExec hGraphExec, CUgraph hGraph, CUgraphNode *hErrorNode_out,
	CUgraphExecUpdateResult *updateResult_out)
{
	CUgraphExecUpdateResultInfo info = {.result = CU_GRAPH_EXEC_UPDATE_ERROR};

	ENTER(cuGraphExecUpdate);
	const CUresult result = update(hGraphExec, hGraph, &info);

	if (hErrorNode_out)
		*hErrorNode_out = info.errorNode;
	if (updateResult_out)
		*updateResult_out = info.result;
	return result;
}

CUresult cuGraphExecUpdate_v2(
	CUgraphExec hGraphExec, CUgraph hGraph, CUgraphExecUpdateResultInfo *resultInfo)
{
	ENTER(cuGraphExecUpdate_v2);
	return update(hGraphExec, hGraph, resultInfo);
}

/* Replaces what a node of `exec` does; launches under way keep the old one. The reference is
 * consumed. */
static CUresult set_work(CUgraphExec exec, CUgraphNode source, CUgraphNodeType type, CUresult made,
	struct work *work)
{
	if (made != CUDA_SUCCESS)
		return made;
	driver_lock();
	struct exec_node *node = handle_is(exec, HANDLE_EXEC) ? exec_find(exec, source) : NULL;
	const bool fits = node && node->type == type;

	if (fits) {
		struct work *old = node->work;

		work_replace(work, old);
		node->work = work;
		work = old;
	}
	driver_unlock();
	work_unref(work);
	return fits ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGraphExecKernelNodeSetParams(
	CUgraphExec hGraphExec, CUgraphNode hNode, const CUDA_KERNEL_NODE_PARAMS_v1 *nodeParams)
{
	struct work *work;

	ENTER(cuGraphExecKernelNodeSetParams);
	const CUresult made = work_of_kernel_params_v1(nodeParams, &work);

	return set_work(hGraphExec, hNode, CU_GRAPH_NODE_TYPE_KERNEL, made, work);
}

CUresult cuGraphExecKernelNodeSetParams_v2(
	CUgraphExec hGraphExec, CUgraphNode hNode, const CUDA_KERNEL_NODE_PARAMS *nodeParams)
{
	struct work *work;

	ENTER(cuGraphExecKernelNodeSetParams_v2);
	const CUresult made = work_of_kernel_params(nodeParams, &work);

	return set_work(hGraphExec, hNode, CU_GRAPH_NODE_TYPE_KERNEL, made, work);
}

CUresult cuGraphExecMemcpyNodeSetParams(
	CUgraphExec hGraphExec, CUgraphNode hNode, const CUDA_MEMCPY3D *copyParams, CUcontext ctx)
{
	struct work *work = NULL;

	ENTER(cuGraphExecMemcpyNodeSetParams);
	const CUresult made = copy_work_3d(copyParams, &work);

	return set_work(
		hGraphExec, hNode, CU_GRAPH_NODE_TYPE_MEMCPY, place_in(ctx, made, work), work);
}

CUresult cuGraphExecMemsetNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
	const CUDA_MEMSET_NODE_PARAMS *memsetParams, CUcontext ctx)
{
	struct work *work = NULL;

	ENTER(cuGraphExecMemsetNodeSetParams);
	const CUresult made = work_of_memset_params(memsetParams, &work);

	return set_work(
		hGraphExec, hNode, CU_GRAPH_NODE_TYPE_MEMSET, place_in(ctx, made, work), work);
}

CUresult cuGraphExecHostNodeSetParams(
	CUgraphExec hGraphExec, CUgraphNode hNode, const CUDA_HOST_NODE_PARAMS *nodeParams)
{
	struct work *work;

	ENTER(cuGraphExecHostNodeSetParams);
	const CUresult made = work_of_host_params(nodeParams, &work);

	return set_work(hGraphExec, hNode, CU_GRAPH_NODE_TYPE_HOST, made, work);
}

static CUresult set_child(CUgraphExec exec, CUgraphNode source, CUgraph child)
{
	if (!handle_is(exec, HANDLE_EXEC) || !handle_is(child, HANDLE_GRAPH))
		return CUDA_ERROR_INVALID_VALUE;
	driver_lock();
	const CUresult result = exec_update_child(exec, source, child);

	driver_unlock();
	return result;
}

CUresult cuGraphExecChildGraphNodeSetParams(
	CUgraphExec hGraphExec, CUgraphNode hNode, CUgraph childGraph)
{
	ENTER(cuGraphExecChildGraphNodeSetParams);
	return set_child(hGraphExec, hNode, childGraph);
}

CUresult cuGraphExecNodeSetParams(
	CUgraphExec hGraphExec, CUgraphNode hNode, CUgraphNodeParams *nodeParams)
{
	struct work *work = NULL;

	ENTER(cuGraphExecNodeSetParams);
	if (!nodeParams)
		return CUDA_ERROR_INVALID_VALUE;
	if (nodeParams->type == CU_GRAPH_NODE_TYPE_GRAPH)
		return set_child(hGraphExec, hNode, nodeParams->graph.graph);
	const CUresult made = work_of_any_params(nodeParams, &work);

	return set_work(hGraphExec, hNode, nodeParams->type, made, work);
}

CUresult cuGraphExecEventRecordNodeSetEvent(
	CUgraphExec hGraphExec, CUgraphNode hNode, CUevent event)
{
	struct work *work;

	ENTER(cuGraphExecEventRecordNodeSetEvent);
	const CUresult made = work_of_event(event, &work);

	return set_work(hGraphExec, hNode, CU_GRAPH_NODE_TYPE_EVENT_RECORD, made, work);
}

static bool can_be_disabled(const struct exec_node *node)
{
	return node->type == CU_GRAPH_NODE_TYPE_KERNEL || node->type == CU_GRAPH_NODE_TYPE_MEMCPY ||
	       node->type == CU_GRAPH_NODE_TYPE_MEMSET;
}

CUresult cuGraphNodeSetEnabled(CUgraphExec hGraphExec, CUgraphNode hNode, unsigned int isEnabled)
{
	ENTER(cuGraphNodeSetEnabled);
	if (!handle_is(hGraphExec, HANDLE_EXEC))
		return CUDA_ERROR_INVALID_VALUE;
	driver_lock();
	struct exec_node *node = exec_find(hGraphExec, hNode);
	const bool fits = node && can_be_disabled(node);

	if (fits)
		node->is_enabled = isEnabled != 0;
	driver_unlock();
	return fits ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGraphNodeGetEnabled(CUgraphExec hGraphExec, CUgraphNode hNode, unsigned int *isEnabled)
{
	ENTER(cuGraphNodeGetEnabled);
	if (!handle_is(hGraphExec, HANDLE_EXEC) || !isEnabled)
		return CUDA_ERROR_INVALID_VALUE;
	driver_lock();
	const struct exec_node *node = exec_find(hGraphExec, hNode);
	const bool fits = node && can_be_disabled(node);

	if (fits)
		*isEnabled = node->is_enabled;
	driver_unlock();
	return fits ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
