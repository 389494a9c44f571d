/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "governor/costs.h"

static uint64_t key_of(const struct costs_place *place)
{
	return atomic_load_explicit(&place->key, memory_order_relaxed);
}

static const struct costs_place *find(const struct costs *costs, uint64_t key)
{
	const struct costs_place *first = &costs->places[costs_place_of(key)];
	const struct costs_place *second = &costs->places[costs_place_of(key) ^ 1];

	if (key == 0)
		return NULL;
	if (key_of(first) == key)
		return first;
	return key_of(second) == key ? second : NULL;
}

uint64_t costs_expect(const struct costs *costs, uint64_t key, uint64_t otherwise_ns)
{
	const struct costs_place *place = find(costs, key);

	return place != NULL ? place->average_ns : otherwise_ns;
}

/* A newcomer takes an unused place of its two, else that of the one measured less. All others age
 * by that, so that what is not used any more makes room in the end. */
static struct costs_place *make_room(struct costs *costs, uint64_t key)
{
	struct costs_place *place = &costs->places[costs_place_of(key)];
	struct costs_place *other = &costs->places[costs_place_of(key) ^ 1];

	if (key_of(place) != 0 && (key_of(other) == 0 || other->samples < place->samples))
		place = other;
	other = &costs->places[(place - costs->places) ^ 1];
	other->samples /= 2;
	/* In this order nobody reads another key's cost as his own. */
	atomic_store_explicit(&place->known_ns, COSTS_NOT_KNOWN, memory_order_relaxed);
	atomic_store_explicit(&place->key, key, memory_order_release);
	place->samples = 0;
	place->average_ns = 0;
	return place;
}

static bool are_near(uint64_t a_ns, uint64_t b_ns)
{
	return (a_ns > b_ns ? a_ns - b_ns : b_ns - a_ns) <= b_ns / 4;
}

void costs_learn(struct costs *costs, uint64_t key, uint64_t measured_ns)
{
	struct costs_place *place = (struct costs_place *)find(costs, key);

	if (key == 0)
		return;
	if (place == NULL)
		place = make_room(costs, key);
	if (measured_ns < COSTS_LEAST_NS)
		measured_ns = COSTS_LEAST_NS;
	/* Doubted, and as it was. */
	if (place->samples == 0 && are_near(measured_ns, place->average_ns))
		place->samples = COSTS_KNOWN_AFTER;
	/* A quarter of the new: four measures suffice to follow a change. */
	place->average_ns =
		place->samples == 0 ? measured_ns : (3 * place->average_ns + measured_ns + 2) / 4;
	if (place->samples < UINT32_MAX)
		place->samples++;
	if (atomic_load_explicit(&place->known_ns, memory_order_relaxed) == COSTS_NOT_KNOWN &&
		place->samples < COSTS_KNOWN_AFTER)
		return;
	uint64_t known_ns =
		place->average_ns < COSTS_NOT_KNOWN ? place->average_ns : COSTS_NOT_KNOWN;
	atomic_store_explicit(&place->known_ns, (uint32_t)known_ns, memory_order_relaxed);
}

static void doubt(struct costs_place *place)
{
	atomic_store_explicit(&place->known_ns, COSTS_NOT_KNOWN, memory_order_relaxed);
	place->samples = 0;
}

void costs_doubt(struct costs *costs, uint64_t key)
{
	struct costs_place *place = (struct costs_place *)find(costs, key);

	if (place != NULL)
		doubt(place);
	for (unsigned i = 0; key == COSTS_ALL && i < COSTS_PLACES; i++)
		doubt(&costs->places[i]);
}
