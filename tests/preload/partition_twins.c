/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Twins of the kernels of client_partition, and of the self-test's.
 */
#include "partition.h"
#include "twin.h"

simgpu_twin cuslice_census, mark_short, mark_middle, mark_long;

void cuslice_census(const struct simgpu_twin_launch *launch, void **params)
{
	uint32_t *seen = SIMGPU_PARAM(params, 0, uint32_t *);

	for (uint32_t sm = 0; sm < launch->sm_words * 64; sm++) {
		if ((launch->sms[sm / 64] >> sm % 64 & 1) != 0)
			seen[sm / 32] |= UINT32_C(1) << sm % 32;
	}
}

void mark_short(const struct simgpu_twin_launch *launch, void **params)
{
	struct marks *marks = SIMGPU_PARAM(params, 0, struct marks *);

	(void)launch;
	if (marks->count == MARKS_MAX)
		return;
	marks->list[marks->count].number = SIMGPU_PARAM(params, 1, uint32_t);
	marks->list[marks->count].cell = *marks->cell;
	marks->count++;
}

void mark_middle(const struct simgpu_twin_launch *launch, void **params)
{
	mark_short(launch, params);
}

void mark_long(const struct simgpu_twin_launch *launch, void **params)
{
	mark_short(launch, params);
}
