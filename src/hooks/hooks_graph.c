/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Graphs: those that allocate memory, and changes of what an executable one costs. Launches are in
 * hooks_launch.c.
 */
#include "driver/driver.h"
#include "hooks/admit.h"
#include "hooks/graph_memory.h"
#include "hooks/hooks.h"

CUresult CUDAAPI hook_cuGraphAddMemAllocNode(CUgraphNode *node, CUgraph graph,
	const CUgraphNode *dependencies, size_t count, CUDA_MEM_ALLOC_NODE_PARAMS *params)
{
	graph_memory_note_node();
	return driver.cuGraphAddMemAllocNode(node, graph, dependencies, count, params);
}

static void note_params(const CUgraphNodeParams *params)
{
	if (params != NULL && params->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC)
		graph_memory_note_node();
}

CUresult CUDAAPI hook_cuGraphAddNode(CUgraphNode *node, CUgraph graph,
	const CUgraphNode *dependencies, size_t count, CUgraphNodeParams *params)
{
	note_params(params);
	return driver.cuGraphAddNode(node, graph, dependencies, count, params);
}

CUresult CUDAAPI hook_cuGraphAddNode_v2(CUgraphNode *node, CUgraph graph,
	const CUgraphNode *dependencies, const CUgraphEdgeData *edges, size_t count,
	CUgraphNodeParams *params)
{
	note_params(params);
	return driver.cuGraphAddNode_v2(node, graph, dependencies, edges, count, params);
}

static CUresult instantiated(const CUgraphExec *exec, CUgraph graph, CUresult res)
{
	if (res == CUDA_SUCCESS && graph_memory_is_used())
		graph_memory_add(*exec, graph);
	return res;
}

CUresult CUDAAPI hook_cuGraphInstantiate(
	CUgraphExec *exec, CUgraph graph, CUgraphNode *error_node, char *log, size_t log_bytes)
{
	return instantiated(
		exec, graph, driver.cuGraphInstantiate(exec, graph, error_node, log, log_bytes));
}

CUresult CUDAAPI hook_cuGraphInstantiate_v2(
	CUgraphExec *exec, CUgraph graph, CUgraphNode *error_node, char *log, size_t log_bytes)
{
	return instantiated(
		exec, graph, driver.cuGraphInstantiate_v2(exec, graph, error_node, log, log_bytes));
}

CUresult CUDAAPI hook_cuGraphInstantiateWithFlags(
	CUgraphExec *exec, CUgraph graph, unsigned long long flags)
{
	return instantiated(exec, graph, driver.cuGraphInstantiateWithFlags(exec, graph, flags));
}

CUresult CUDAAPI hook_cuGraphInstantiateWithParams(
	CUgraphExec *exec, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS *params)
{
	return instantiated(exec, graph, driver.cuGraphInstantiateWithParams(exec, graph, params));
}

CUresult CUDAAPI hook_cuGraphInstantiateWithParams_ptsz(
	CUgraphExec *exec, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS *params)
{
	return instantiated(
		exec, graph, driver.cuGraphInstantiateWithParams_ptsz(exec, graph, params));
}

CUresult CUDAAPI hook_cuGraphExecDestroy(CUgraphExec exec)
{
	if (graph_memory_is_used())
		graph_memory_remove(exec);
	/* Before, for then its address may be another's. */
	governor_doubt(graph_key(exec));
	return driver.cuGraphExecDestroy(exec);
}

static CUresult upload(CUgraphExec exec, CUstream stream, CUstream real_stream,
	CUresult(CUDAAPI *upload_real)(CUgraphExec, CUstream))
{
	struct graph_call call;

	if (!graph_memory_is_used())
		return upload_real(exec, stream);
	if (!graph_memory_begin(exec, real_stream, &call))
		return CUDA_ERROR_OUT_OF_MEMORY;
	CUresult res = upload_real(exec, stream);
	graph_memory_end(&call, exec, res);
	return res;
}

CUresult CUDAAPI hook_cuGraphUpload(CUgraphExec exec, CUstream stream)
{
	return upload(exec, stream, stream, driver.cuGraphUpload);
}

CUresult CUDAAPI hook_cuGraphUpload_ptsz(CUgraphExec exec, CUstream stream)
{
	return upload(exec, stream, stream == NULL ? CU_STREAM_PER_THREAD : stream,
		driver.cuGraphUpload_ptsz);
}

CUresult CUDAAPI hook_cuDeviceGraphMemTrim(CUdevice device)
{
	CUresult res = driver.cuDeviceGraphMemTrim(device);

	graph_memory_trimmed(device);
	return res;
}

/* Changes of an executable graph: it costs something else from its next launch on. One that was
 * refused may have been made in part. Nodes that run nothing on SMs are not looked at. */
#define CHANGE_HOOK(symbol, params, args)          \
	CUresult CUDAAPI hook_##symbol params      \
	{                                          \
		CUresult res = driver.symbol args; \
                                                   \
		governor_doubt(graph_key(exec));   \
		return res;                        \
	}

CHANGE_HOOK(cuGraphExecUpdate,
	(CUgraphExec exec, CUgraph graph, CUgraphNode *error_node,
		CUgraphExecUpdateResult *update_result),
	(exec, graph, error_node, update_result))
CHANGE_HOOK(cuGraphExecUpdate_v2,
	(CUgraphExec exec, CUgraph graph, CUgraphExecUpdateResultInfo *info), (exec, graph, info))
CHANGE_HOOK(cuGraphExecKernelNodeSetParams,
	(CUgraphExec exec, CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS_v1 *params),
	(exec, node, params))
CHANGE_HOOK(cuGraphExecKernelNodeSetParams_v2,
	(CUgraphExec exec, CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS *params),
	(exec, node, params))
CHANGE_HOOK(cuGraphExecMemcpyNodeSetParams,
	(CUgraphExec exec, CUgraphNode node, const CUDA_MEMCPY3D *params, CUcontext context),
	(exec, node, params, context))
CHANGE_HOOK(cuGraphExecMemsetNodeSetParams,
	(CUgraphExec exec, CUgraphNode node, const CUDA_MEMSET_NODE_PARAMS *params,
		CUcontext context),
	(exec, node, params, context))
CHANGE_HOOK(cuGraphExecChildGraphNodeSetParams, (CUgraphExec exec, CUgraphNode node, CUgraph child),
	(exec, node, child))
CHANGE_HOOK(cuGraphExecNodeSetParams,
	(CUgraphExec exec, CUgraphNode node, CUgraphNodeParams *params), (exec, node, params))
CHANGE_HOOK(cuGraphNodeSetEnabled, (CUgraphExec exec, CUgraphNode node, unsigned int is_enabled),
	(exec, node, is_enabled))
