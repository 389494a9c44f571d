/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Host twins (tests/simgpu/twin.h) of the kernels of three of NVIDIA's samples, by what their
 * results have to be.
 */
#include "twin.h"

simgpu_twin VecAdd_kernel, memMapIpc_kernel, kernelFunction;

void VecAdd_kernel(const struct simgpu_twin_launch *launch, void **params)
{
	const float *a = SIMGPU_PARAM(params, 0, const float *);
	const float *b = SIMGPU_PARAM(params, 1, const float *);
	float *sum = SIMGPU_PARAM(params, 2, float *);
	const int count = SIMGPU_PARAM(params, 3, int);

	for (uint64_t i = 0; i < simgpu_twin_threads(launch) && i < (uint64_t)count; i++)
		sum[i] = a[i] + b[i];
}

/* All threads together go over all of it, however many they are. */
void memMapIpc_kernel(const struct simgpu_twin_launch *launch, void **params)
{
	char *bytes = SIMGPU_PARAM(params, 0, char *);
	const int count = SIMGPU_PARAM(params, 1, int);
	const char value = SIMGPU_PARAM(params, 2, char);

	for (int i = 0; simgpu_twin_threads(launch) > 0 && i < count; i++)
		bytes[i] = value;
}

void kernelFunction(const struct simgpu_twin_launch *launch, void **params)
{
	int *numbers = SIMGPU_PARAM(params, 0, int *);

	for (int i = 0; i < (int)launch->block[0]; i++)
		numbers[i] = 32 - i;
}
