/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Resources of green contexts: sets of SMs, how they may be divided, and descriptors of them.
 *
 * A CUdevResource holds all that it stands for in the part of it that is the driver's, so that
 * copies of it are as good as itself.
 */
#ifndef SIMGPU_DRIVER_RESOURCE_H
#define SIMGPU_DRIVER_RESOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include <cuda.h>

#include "device.h"
#include "handle.h"

/* Devices with more SMs cannot be divided: a resource has no room for their bits. */
#define RESOURCE_MAX_SMS  512
#define RESOURCE_SM_WORDS (RESOURCE_MAX_SMS / 64)

/* SMs of a device, a bit each. */
struct sm_share {
	uint64_t sms[RESOURCE_SM_WORDS];
	uint32_t alignment; /* SMs that are scheduled together: how large clusters may be */
};

struct CUdevResourceDesc_st {
	struct handle handle;
	const struct device *device;
	struct sm_share share;
};

/* Returns the number of SMs of a share. */
uint32_t share_count(const struct sm_share *share);

/* Returns all SMs of the device that this process may use. */
struct sm_share share_of_device(const struct device *device);

/* Describes a share as the API does.
 * Returns  CUDA_ERROR_NOT_SUPPORTED for a device of more than RESOURCE_MAX_SMS SMs
 */
CUresult resource_describe(
	const struct device *device, const struct sm_share *share, CUdevResource *ret_resource);

#endif
