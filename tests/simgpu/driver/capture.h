/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Stream capture: which streams are captured to which graph, how capture spreads by events, and
 * what is refused meanwhile.
 */
#ifndef SIMGPU_DRIVER_CAPTURE_H
#define SIMGPU_DRIVER_CAPTURE_H

#include <stdbool.h>

#include <cuda.h>

struct work;

/* Answers whether a call that may depend on other streams' work is allowed now for the calling
 * thread, by the mode of the captures in progress. If not, those are invalidated and
 * CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED is returned. Takes the driver lock. */
CUresult capture_check_unsafe(void);

/* Refuses and invalidates if a stream of `ctx` is being captured. Takes the driver lock. */
CUresult capture_refuse_context(CUcontext ctx);

/* These need the driver lock. */

/* Refuses and invalidates if `stream` is being captured: for what cannot be. */
CUresult capture_refuse_stream(CUstream stream);

/* Refuses the use of the legacy stream of `ctx` while a stream that waits for it is captured. */
CUresult capture_refuse_legacy(CUcontext ctx);

/* Adds `work` to the graph that `stream`, which is being captured, builds. */
CUresult capture_add_work(CUstream stream, struct work *work);

/* Records `event` in a stream that is being captured. */
CUresult capture_record(CUstream stream, CUevent event);

/* Makes `stream`, captured or not, wait for `event`, captured or not; not both not. */
CUresult capture_wait(CUstream stream, CUevent event);

/* Refuses and invalidates if `event` was last recorded in a capture. */
CUresult capture_refuse_event(CUevent event);

/* Forgets a stream that ends; its capture is invalid then. */
void capture_forget_stream(CUstream stream);

#endif
