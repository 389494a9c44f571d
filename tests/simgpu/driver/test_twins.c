/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Host twin of the kernel that the driver's tests launch.
 */
#include "../twin.h"

__attribute__((visibility("default"))) simgpu_twin add;

void add(const struct simgpu_twin_launch *launch, void **params)
{
	int *counters = SIMGPU_PARAM(params, 0, int *);
	const int amount = SIMGPU_PARAM(params, 1, int);

	for (uint64_t i = 0; i < simgpu_twin_threads(launch); i++)
		counters[i] += amount;
}
