/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What the linker has to see of libcuda.so.1; never loaded.
 */
#include <cuda.h>

__attribute__((visibility("default"))) CUresult cuLaunchKernel(CUfunction f, unsigned int grid_x,
	unsigned int grid_y, unsigned int grid_z, unsigned int block_x, unsigned int block_y,
	unsigned int block_z, unsigned int shared_bytes, CUstream stream, void **params,
	void **extra)
{
	(void)f, (void)grid_x, (void)grid_y, (void)grid_z, (void)block_x, (void)block_y;
	(void)block_z, (void)shared_bytes, (void)stream, (void)params, (void)extra;
	return CUDA_ERROR_NOT_SUPPORTED;
}
