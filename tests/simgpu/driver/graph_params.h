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

/* The way back; pointers stay the work's. */
void kernel_params_of_work(const struct work *work, CUDA_KERNEL_NODE_PARAMS *ret_params);
void memcpy_params_of_work(const struct work *work, CUDA_MEMCPY3D *ret_params);
void memset_params_of_work(const struct work *work, CUDA_MEMSET_NODE_PARAMS *ret_params);

#endif
