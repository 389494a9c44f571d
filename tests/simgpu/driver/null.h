/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Null mode (SIMGPU_NULL=1): a driver that answers at once, to measure what stands in front of it.
 * There is no server and no time. Allocations are addresses without memory.
 */
#ifndef SIMGPU_DRIVER_NULL_H
#define SIMGPU_DRIVER_NULL_H

#include <stddef.h>

#include <cuda.h>

#include "../wire.h"

struct null_memory;

/* Returns the machine of null mode: one device. */
struct wire_machine *null_machine(void);

/* Gives an address for `size` bytes that no other live allocation overlaps; the one that this
 * thread freed last among those of the same size class, if there is one. A few nanoseconds. */
CUresult null_alloc(CUdeviceptr *ret_address, size_t size);
CUresult null_alloc_pitch(CUdeviceptr *ret_address, size_t *ret_pitch, size_t width, size_t height);

/* Takes an address back, from any thread. What null_alloc() did not give is ignored. */
CUresult null_free(CUdeviceptr address);

/* Answers a constant. */
CUresult null_mem_info(size_t *ret_free, size_t *ret_total);

/* Frees the state of a thread that ends; NULL is allowed. */
void null_memory_abandon(struct null_memory *memory);

#endif
