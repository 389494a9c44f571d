/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Host twins of the kernels of gpu-partition and gpu-launches, so that these can be tried on
 * simgpu. A twin is called when its kernel has ended, in the order in which kernels end: of kernels
 * out of order those are seen that end so.
 */
#include "twin.h"

simgpu_twin gpu_census, gpu_turn_short, gpu_turn_long, gpu_cluster, gpu_lead, gpu_follow;

static void note_sms(const struct simgpu_twin_launch *launch, uint32_t *seen)
{
	for (uint32_t sm = 0; sm < launch->sm_words * 64; sm++) {
		if ((launch->sms[sm / 64] >> sm % 64 & 1) != 0)
			seen[sm / 32] |= UINT32_C(1) << sm % 32;
	}
}

void gpu_census(const struct simgpu_twin_launch *launch, void **params)
{
	note_sms(launch, SIMGPU_PARAM(params, 0, uint32_t *));
}

void gpu_turn_short(const struct simgpu_twin_launch *launch, void **params)
{
	uint32_t *cell = SIMGPU_PARAM(params, 0, uint32_t *);
	uint32_t number = SIMGPU_PARAM(params, 1, uint32_t);
	uint32_t *wrong = SIMGPU_PARAM(params, 2, uint32_t *);

	note_sms(launch, SIMGPU_PARAM(params, 3, uint32_t *));
	*wrong += *cell != number ? 1 : 0;
	*cell = number + 1;
}

void gpu_turn_long(const struct simgpu_twin_launch *launch, void **params)
{
	gpu_turn_short(launch, params);
}

/* simgpu's clusters have the size that they are asked for, or are refused. */
void gpu_cluster(const struct simgpu_twin_launch *launch, void **params)
{
	note_sms(launch, SIMGPU_PARAM(params, 0, uint32_t *));
	SIMGPU_PARAM(params, 1, uint32_t *)[0] += launch->grid[0];
}

void gpu_lead(const struct simgpu_twin_launch *launch, void **params)
{
	(void)launch;
	*SIMGPU_PARAM(params, 0, uint32_t *) = SIMGPU_PARAM(params, 1, uint32_t);
}

void gpu_follow(const struct simgpu_twin_launch *launch, void **params)
{
	uint32_t *counts = SIMGPU_PARAM(params, 2, uint32_t *);

	note_sms(launch, SIMGPU_PARAM(params, 3, uint32_t *));
	counts[0]++;
	counts[1] += *SIMGPU_PARAM(params, 0, uint32_t *) != SIMGPU_PARAM(params, 1, uint32_t);
}
