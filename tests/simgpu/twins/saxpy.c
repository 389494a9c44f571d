/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Host twin of the kernel saxpy in examples/kernels.cu.
 */
#include "../twin.h"

__attribute__((visibility("default"))) simgpu_twin saxpy;

void saxpy(const struct simgpu_twin_launch *launch, void **params)
{
	const uint32_t n = SIMGPU_PARAM(params, 0, uint32_t);
	const float a = SIMGPU_PARAM(params, 1, float);
	const float *x = SIMGPU_PARAM(params, 2, const float *);
	float *y = SIMGPU_PARAM(params, 3, float *);
	const uint64_t threads = simgpu_twin_threads(launch);

	for (uint64_t i = 0; i < n && i < threads; i++)
		y[i] += a * x[i];
}
