/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * cuda.h as the exported symbols see it: with this switch of NVIDIA's own, names stand for
 * themselves (cuMemAlloc is the 2.0 function, cuMemAlloc_v2 today's) and the per-thread-stream
 * flavours are declared. The only place that includes cuda.h.
 */
#ifndef CUSLICE_DRIVER_CUDA_API_H
#define CUSLICE_DRIVER_CUDA_API_H

#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>

#endif
