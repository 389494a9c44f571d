/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Host twins of kernels that the driver's tests launch.
 */
#include "../twin.h"

__attribute__((visibility("default"))) simgpu_twin add, census;

void add(const struct simgpu_twin_launch *launch, void **params)
{
	int *counters = SIMGPU_PARAM(params, 0, int *);
	const int amount = SIMGPU_PARAM(params, 1, int);

	for (uint64_t i = 0; i < simgpu_twin_threads(launch); i++)
		counters[i] += amount;
}

/* Notes the SMs on which its blocks ran, as kernels do by %smid. */
void census(const struct simgpu_twin_launch *launch, void **params)
{
	uint64_t *bits = SIMGPU_PARAM(params, 0, uint64_t *);

	for (uint32_t i = 0; i < launch->sm_words; i++)
		bits[i] |= launch->sms[i];
}
