/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Clusters of blocks: whether they can be, and how many at a time. They change no times.
 */
#ifndef SIMGPU_DRIVER_CLUSTER_H
#define SIMGPU_DRIVER_CLUSTER_H

#include <stdint.h>

#include <cuda.h>

/* Blocks of a cluster of this launch.
 * ret_blocks  1: it asks for none
 * Returns     CUDA_ERROR_INVALID_VALUE where the grid is not made of such clusters
 */
CUresult cluster_read(const CUlaunchConfig *config, uint32_t *ret_blocks);

/* Blocks of the cluster that a function is to have in launches that ask for none. */
uint32_t cluster_required(CUfunction function);

/* Whether a function may have clusters of so many blocks, on any SMs.
 * Returns  CUDA_ERROR_INVALID_CLUSTER_SIZE where it may not
 */
CUresult cluster_check(CUfunction function, uint32_t blocks);

/* How many clusters of so many blocks run at a time on the SMs of a context, of which each holds
 * `blocks_per_sm` blocks. */
uint32_t cluster_room(CUcontext ctx, uint32_t blocks_per_sm, uint32_t blocks);

#endif
