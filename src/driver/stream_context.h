/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Which context a stream belongs to, for what wants to record an event there.
 */
#ifndef CUSLICE_DRIVER_STREAM_CONTEXT_H
#define CUSLICE_DRIVER_STREAM_CONTEXT_H

#include "driver/driver.h"

/* The current context's. */
static inline bool stream_is_default(CUstream stream)
{
	return stream == NULL || stream == CU_STREAM_LEGACY || stream == CU_STREAM_PER_THREAD;
}

/* The context that a stream belongs to; of a green one it is the primary one, whose events its
 * streams share, which may be current in many threads, and which nobody ends unseen. Drivers before
 * CUDA 12.5 give the green one. */
static inline bool stream_get_context(CUstream stream, CUcontext *ret_context)
{
	CUgreenCtx green;

	return driver.cuStreamGetCtx_v2(stream, ret_context, &green) == CUDA_SUCCESS ||
	       driver.cuStreamGetCtx(stream, ret_context) == CUDA_SUCCESS;
}

/* False where the stream is not to be touched: it captures, or is the legacy stream while another
 * captures, and an event would become part of the graph; or there is no context, which is the
 * driver's to refuse. */
static inline bool stream_find_context(CUstream stream, CUcontext *ret_context)
{
	CUstreamCaptureStatus capturing;

	return driver.cuStreamIsCapturing(stream, &capturing) == CUDA_SUCCESS &&
	       capturing == CU_STREAM_CAPTURE_STATUS_NONE &&
	       stream_get_context(stream, ret_context);
}

#endif
