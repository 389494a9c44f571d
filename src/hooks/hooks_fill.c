/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Memsets: commands of the stream they are put on, whichever form they have. The plain forms do not
 * wait either, but for memory of the host; they are on the default stream.
 */
#include "driver/driver.h"
#include "hooks/admit.h"
#include "hooks/hooks.h"

#define ROW(symbol, params, args, value, stream) \
	BYTES_HOOK(symbol, params, args, COSTS_FILL, (uint64_t)n * sizeof(value), stream)
#define ROWS(symbol, params, args, value, stream) \
	BYTES_HOOK(symbol, params, args, COSTS_FILL_ROWS, (uint64_t)w *h * sizeof(value), stream)

/* The functions for one size of elements: n of them, or h rows of w. */
#define FILLS(bits, type)                                                                          \
	ROW(cuMemsetD##bits, (CUdeviceptr_v1 dst, type value, unsigned int n), (dst, value, n),    \
		value, NULL)                                                                       \
	ROW(cuMemsetD##bits##_v2, (CUdeviceptr dst, type value, size_t n), (dst, value, n), value, \
		NULL)                                                                              \
	ROW(cuMemsetD##bits##_v2_ptds, (CUdeviceptr dst, type value, size_t n), (dst, value, n),   \
		value, CU_STREAM_PER_THREAD)                                                       \
	ROW(cuMemsetD##bits##Async, (CUdeviceptr dst, type value, size_t n, CUstream stream),      \
		(dst, value, n, stream), value, stream)                                            \
	ROW(cuMemsetD##bits##Async_ptsz, (CUdeviceptr dst, type value, size_t n, CUstream stream), \
		(dst, value, n, stream), value, per_thread(stream))                                \
	ROWS(cuMemsetD2D##bits,                                                                    \
		(CUdeviceptr_v1 dst, unsigned int pitch, type value, unsigned int w,               \
			unsigned int h),                                                           \
		(dst, pitch, value, w, h), value, NULL)                                            \
	ROWS(cuMemsetD2D##bits##_v2,                                                               \
		(CUdeviceptr dst, size_t pitch, type value, size_t w, size_t h),                   \
		(dst, pitch, value, w, h), value, NULL)                                            \
	ROWS(cuMemsetD2D##bits##_v2_ptds,                                                          \
		(CUdeviceptr dst, size_t pitch, type value, size_t w, size_t h),                   \
		(dst, pitch, value, w, h), value, CU_STREAM_PER_THREAD)                            \
	ROWS(cuMemsetD2D##bits##Async,                                                             \
		(CUdeviceptr dst, size_t pitch, type value, size_t w, size_t h, CUstream stream),  \
		(dst, pitch, value, w, h, stream), value, stream)                                  \
	ROWS(cuMemsetD2D##bits##Async_ptsz,                                                        \
		(CUdeviceptr dst, size_t pitch, type value, size_t w, size_t h, CUstream stream),  \
		(dst, pitch, value, w, h, stream), value, per_thread(stream))

FILLS(8, unsigned char)
FILLS(16, unsigned short)
FILLS(32, unsigned int)
