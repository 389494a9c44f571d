/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Memory that nodes of graphs allocate and free. Its address is fixed when the node is made; bytes
 * of the device stand behind it from the first launch or upload on, and are kept by the device's
 * graph pool until cuDeviceGraphMemTrim.
 *
 * All functions need the driver lock.
 */
#ifndef SIMGPU_DRIVER_GRAPH_MEMORY_H
#define SIMGPU_DRIVER_GRAPH_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda.h>

#include "device.h"

struct graph_memory {
	uint32_t refs; /* of nodes, plain and executable */
	uintptr_t base;
	size_t size; /* as asked for */
	uint64_t bytes;
	struct device *device;
	CUgraph owner; /* whose node allocates it; compared only */
	bool is_freed_by_owner;
	bool is_instantiated;
	bool is_allocated; /* launched, and not freed since */
	bool is_mapped;    /* bytes stand behind it */
	uint64_t last;     /* operation of the last launch that uses it */
	struct graph_memory *next;
};

/* Numbers of a device's graph pool: what it took from the device, and what stands behind memory. */
struct graph_pool {
	uint64_t reserved, reserved_high, used, used_high;
};

struct graph_pool *graph_pool_of(const struct device *device);

/* Makes memory without bytes, with one reference. Returns NULL when memory or addresses are out. */
struct graph_memory *graph_memory_create(
	CUcontext ctx, struct device *device, CUgraph owner, size_t size);
void graph_memory_ref(struct graph_memory *memory);
void graph_memory_unref(struct graph_memory *memory);

/* Adds a node that allocates, or one that frees what begins at `address`, to the graph of a stream
 * that is captured. */
CUresult graph_memory_capture_alloc(CUstream stream, size_t size, CUdeviceptr *ret_address);
CUresult graph_memory_capture_free(CUstream stream, struct graph_memory *memory);

/* Notes that `graph` frees it. CUDA_ERROR_INVALID_VALUE if it may not. */
CUresult graph_memory_free_by(struct graph_memory *memory, CUgraph graph);

/* Frees it outside of graphs. CUDA_ERROR_INVALID_VALUE if it is not allocated. */
CUresult graph_memory_free(struct graph_memory *memory);

/* Puts bytes behind all memory of `exec`.
 * Returns  CUDA_ERROR_OUT_OF_MEMORY when the device has no room
 */
CUresult graph_memory_map(CUgraphExec exec);

/* Maps, allocates and frees as a launch of `exec` does; nothing if it may not be launched.
 * Returns  CUDA_ERROR_INVALID_VALUE for what is still allocated, or not
 */
CUresult graph_memory_launch(CUgraphExec exec);
/* The launch was submitted: `exec` knows its last operation. */
void graph_memory_launched(CUgraphExec exec);

/* Gives the device back what no memory in use needs. */
void graph_memory_trim(struct device *device);

#endif
