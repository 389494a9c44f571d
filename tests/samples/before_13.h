/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Included before samples that were written for a CUDA before 13.0, where cuCtxCreate has another
 * parameter: they get the function that they mean.
 */
#ifndef CUSLICE_TESTS_SAMPLES_BEFORE_13_H
#define CUSLICE_TESTS_SAMPLES_BEFORE_13_H

#include <cuda.h>

#if CUDA_VERSION >= 13000
#ifdef __cplusplus
extern "C" {
#endif
CUresult CUDAAPI cuCtxCreate_v2(CUcontext *ret_context, unsigned int flags, CUdevice device);
#ifdef __cplusplus
}
#endif
#undef cuCtxCreate
#define cuCtxCreate cuCtxCreate_v2
#endif

#endif
