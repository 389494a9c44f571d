/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Primary contexts, for those that keep one alive.
 */
#ifndef SIMGPU_DRIVER_PRIMARY_H
#define SIMGPU_DRIVER_PRIMARY_H

#include <cuda.h>

#include "device.h"

/* As cuDevicePrimaryCtxRetain and cuDevicePrimaryCtxRelease. */
CUresult primary_retain(struct device *device, CUcontext *ret_ctx);
CUresult primary_release(struct device *device);

#endif
