/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Green contexts: the primary context of a device with some of its SMs.
 */
#ifndef SIMGPU_DRIVER_GREEN_H
#define SIMGPU_DRIVER_GREEN_H

#include <stdbool.h>
#include <stdint.h>

#include <cuda.h>

#include "context.h"
#include "handle.h"

struct CUgreenCtx_st {
	struct handle handle;
	struct device *device;
	CUcontext ctx; /* as cuCtxFromGreenCtx tells it; NULL once its primary context was reset */
};

/* Returns CUDA_SUCCESS if `green` is one, CUDA_ERROR_INVALID_CONTEXT if not, and
 * CUDA_ERROR_CONTEXT_IS_DESTROYED if its primary context was reset. */
CUresult green_check(CUgreenCtx green);

/* Ends the context of `green`, which the primary context does not outlive. */
CUresult green_end(CUgreenCtx green);

/* Returns the context in which `ctx` runs work: another one where a leak that is switched on lets
 * it out of its partition. The driver lock is held.
 * is_null_stream  the work is in the default stream
 * is_replay       it is part of a graph
 */
CUcontext green_leak(CUcontext ctx, bool is_null_stream, bool is_replay);

/* Returns whether a leak that is switched on takes kernel nodes out whose parameters are set. */
bool green_leaks_by_params(void);

/* The same for those of kernels that name a green context. */
bool green_leaks_by_name(void);

/* Returns whether a leak that is switched on lets kernels of `ctx` use two more SMs. */
bool green_has_extra_sms(CUcontext ctx);

/* Notes that a module was loaded whose kernels launch kernels. */
void green_note_parallelism(void);

/* Notes that `ctx` becomes current in the calling thread. */
void green_note_thread(CUcontext ctx);

#endif
