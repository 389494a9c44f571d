/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A caller that is linked with libcuda: its own shared library, so that the benchmark itself also
 * runs where no driver is found.
 */
#ifndef CUSLICE_BENCH_LINKED_H
#define CUSLICE_BENCH_LINKED_H

#include <cuda.h>

#define LINKED_SYMBOL "linked_launch"

/* Launches `kernel` as one block of one thread on the default stream, `calls` times. Returns the
 * last error, or CUDA_SUCCESS. */
__attribute__((visibility("default"))) CUresult linked_launch(CUfunction kernel, unsigned calls);

#endif
