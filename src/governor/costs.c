/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "governor/costs.h"

static uint32_t place_of(const void *key)
{
	return (uint32_t)(((uintptr_t)key * 0x9e3779b97f4a7c15ull) >> 40) % COSTS_PLACES;
}

uint64_t costs_predict(const struct costs *costs, const void *key)
{
	uint32_t i = place_of(key);

	return costs->places[i].key == key ? costs->places[i].average_ns : COSTS_UNKNOWN_NS;
}

void costs_learn(struct costs *costs, const void *key, uint64_t measured_ns)
{
	uint32_t i = place_of(key);
	uint64_t average_ns = costs->places[i].average_ns;

	/* A quarter of the new: four launches suffice to follow a change. */
	if (costs->places[i].key == key)
		measured_ns = (3 * average_ns + measured_ns + 2) / 4;
	costs->places[i].key = key;
	costs->places[i].average_ns = measured_ns;
}
