/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What a client of the partition tests has on a device: a kernel that notes its SMs, and others.
 */
#ifndef CUSLICE_TESTS_PRELOAD_PARTITION_GPU_H
#define CUSLICE_TESTS_PRELOAD_PARTITION_GPU_H

#include "client.h"

#define CENSUS_BLOCKS 264 /* enough for every SM to get some */

struct gpu {
	CUcontext primary;
	CUfunction census, mark, slow;
	CUdeviceptr seen;
};

/* Brings no work: in the device's primary context, which becomes current. */
void load_gpu(struct gpu *gpu, int device);

/* The same, and what the kernels note is cleared. */
void open_gpu(struct gpu *gpu, int device);

/* The same of device 0, with cuInit(). */
struct gpu begin(void);

/* What makes a node of the census, with its parameters: where it notes, and for how many cycles. */
CUDA_KERNEL_NODE_PARAMS_v2 census_node(const struct gpu *gpu, void *values[2]);
/* The same for older functions, and for those that make nodes of any kind. */
CUDA_KERNEL_NODE_PARAMS_v1 older_node(CUDA_KERNEL_NODE_PARAMS_v2 params);
CUgraphNodeParams any_node(CUDA_KERNEL_NODE_PARAMS_v2 params);

/* The census as a kernel of no context. */
CUkernel load_census_kernel(void);

CUgraph make_graph(void);

/* A kernel that notes the SMs on which it runs. */
void bring_work(const struct gpu *gpu, CUstream stream);

/* The SMs on which work has run since the last time. Waits for the context. */
unsigned sms_of(const struct gpu *gpu);

/* Fills the stream for so long, and says the nanoseconds that it took. */
void keep_busy(const struct gpu *gpu, CUstream stream, unsigned long milliseconds);

#endif
