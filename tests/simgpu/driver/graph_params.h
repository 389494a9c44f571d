/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The parameters of graph nodes: from the API's structs to work, and back.
 */
#ifndef SIMGPU_DRIVER_GRAPH_PARAMS_H
#define SIMGPU_DRIVER_GRAPH_PARAMS_H

#include <cuda.h>

struct work;

/* Each makes work with one reference, which is the caller's. Without the driver lock: kernels may
 * have to be loaded first. */
CUresult work_of_kernel_params(const CUDA_KERNEL_NODE_PARAMS *params, struct work **ret_work);
CUresult work_of_kernel_params_v1(const CUDA_KERNEL_NODE_PARAMS_v1 *params, struct work **ret_work);
CUresult work_of_memset_params(const CUDA_MEMSET_NODE_PARAMS *params, struct work **ret_work);
CUresult work_of_host_params(const CUDA_HOST_NODE_PARAMS *params, struct work **ret_work);
CUresult work_of_event(CUevent event, struct work **ret_work);

/* CUDA_ERROR_NOT_SUPPORTED for nodes that do no work, or whose work cannot be changed. */
CUresult work_of_any_params(const CUgraphNodeParams *params, struct work **ret_work);

/* Places work that was `made`, where `ctx` is not NULL: memsets and copies run in the context that
 * is named with them. Returns  `made`, or CUDA_ERROR_INVALID_CONTEXT, and the work is gone then
 */
CUresult place_in(CUcontext ctx, CUresult made, struct work *work);

/* The way back; pointers stay the work's. */
void kernel_params_of_work(const struct work *work, CUDA_KERNEL_NODE_PARAMS *ret_params);
void memcpy_params_of_work(const struct work *work, CUDA_MEMCPY3D *ret_params);
void memset_params_of_work(const struct work *work, CUDA_MEMSET_NODE_PARAMS *ret_params);

/* Add nodes that allocate and free memory (graph_memory_api.c); the address is given back in
 * params->dptr. They take the driver lock. */
CUresult graph_add_alloc(CUgraph graph, const CUgraphNode *deps, size_t count,
	CUDA_MEM_ALLOC_NODE_PARAMS *params, CUgraphNode *ret_node);
CUresult graph_add_free(CUgraph graph, const CUgraphNode *deps, size_t count, CUdeviceptr address,
	CUgraphNode *ret_node);

#endif
