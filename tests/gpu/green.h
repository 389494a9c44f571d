/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Green contexts of device 0. Their functions are looked up when they are used, so that programs
 * start on drivers that have none; there a process that asks for one ends, as by MUST.
 */
#ifndef GPU_GREEN_H
#define GPU_GREEN_H

#include "probe.h"

/* Of device 0. */
unsigned green_sms_of_device(void);

/* The part of `index` (from 0) of the device's parts of at least `sms` SMs. NULL where the driver
 * does not split it so.
 * flags    as in cuDevSmResourceSplitByCount()
 * ret_sms  how many it has
 */
CUgreenCtx green_make(unsigned sms, unsigned flags, unsigned index, unsigned *ret_sms);

/* The first `count` of the device's parts of at least `sms` SMs as one, or as many as there are;
 * NULL where that are none. */
CUgreenCtx green_merge(unsigned sms, unsigned count, unsigned *ret_sms);

/* The largest multiple of the least partition that is at most half of the device's SMs. */
unsigned green_half(void);

void green_destroy(CUgreenCtx green);
CUcontext green_context(CUgreenCtx green);
CUstream green_stream(CUgreenCtx green);

#endif
