/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What a kernel launch asks for, in all its forms.
 */
#ifndef SIMGPU_DRIVER_LAUNCH_H
#define SIMGPU_DRIVER_LAUNCH_H

#include <stdbool.h>
#include <stdint.h>

#include <cuda.h>

struct work;

struct launch {
	CUfunction function; /* or a CUkernel */
	CUcontext ctx;       /* in which a CUkernel is meant; NULL: the current one */
	uint32_t grid[3], block[3];
	uint32_t shared_bytes;
	uint32_t cluster_blocks; /* 0 and 1: no clusters */
	bool is_cooperative;
	void **params; /* as cuLaunchKernel takes them: one of the two */
	void **extra;
};

/* Checks a launch and makes work of it.
 * Returns  what cuLaunchKernel returns for a launch that cannot be
 */
CUresult launch_work(const struct launch *launch, struct work **ret_work);

#endif
