/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * While a thread captures in global mode, event calls and others of our own would spoil the
 * program's capture. They touch no captured stream, so they may pass.
 */
#ifndef CUSLICE_HOOKS_CAPTURE_MODE_H
#define CUSLICE_HOOKS_CAPTURE_MODE_H

#include "driver/driver.h"

/* Returns what restore_capture() is to put back. */
static inline CUstreamCaptureMode relax_capture(void)
{
	CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;

	driver.cuThreadExchangeStreamCaptureMode(&mode);
	return mode;
}

static inline void restore_capture(CUstreamCaptureMode mode)
{
	driver.cuThreadExchangeStreamCaptureMode(&mode);
}

#endif
