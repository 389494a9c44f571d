/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Copies and fills as work, from the forms in which the API describes them.
 */
#ifndef SIMGPU_DRIVER_COPY_H
#define SIMGPU_DRIVER_COPY_H

#include <stdbool.h>
#include <stdint.h>

#include <cuda.h>

struct work;

/* Makes work of a description.
 * Returns  CUDA_ERROR_INVALID_VALUE if it makes no sense or touches device memory that is not
 *          there
 */
CUresult copy_work_3d(const CUDA_MEMCPY3D *copy, struct work **ret_work);

/* Makes work that fills `height` rows of `width` elements of `element_bytes` with `value`. */
CUresult fill_work(CUdeviceptr dst, size_t pitch, uint32_t value, uint32_t element_bytes,
	size_t width, size_t height, struct work **ret_work);

/* Returns whether all that takes no stream is over when it returns: CU_CTX_SYNC_MEMOPS. */
bool copy_context_is_synchronous(void);

#endif
