/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What the tenants of a device are entitled to beside each other. It changes when one comes, goes,
 * or asks for something else, which is seldom, and is asked for at every bill: so each seat keeps
 * the sums, and by what count of changes they are.
 */
#include "token/token_slots.h"

/* What guarantees leave for those who have none is at least this. */
#define LEFT_LEAST_PPM 10000u

/* Nobody is entitled to less: v is GPU time over the rate, and comes to V_MOST, where turns have no
 * end any more, after 53 days of GPU time at this rate. At 1 ppm it did within hours. */
#define RATE_LEAST_PPM 1000u

/* Twice as many as slots, so there is always an empty place. */
#define PLACES (2 * TOKEN_SLOTS)
_Static_assert((PLACES & (PLACES - 1)) == 0, "a power of two");

/* Groups that have been met, by their first slot + 1. */
struct met {
	uint16_t slots[PLACES];
};

/* The first slot of its group, which is this one where none was met. */
static unsigned meet(struct met *met, const struct token_segment *segment, unsigned index)
{
	uint64_t group = word_load(&segment->slots[index].group);
	unsigned at = (unsigned)(group * 0x9e3779b97f4a7c15ull >> 32) % PLACES;

	for (; met->slots[at] != 0; at = (at + 1) % PLACES) {
		unsigned first = met->slots[at] - 1u;
		if (word_load(&segment->slots[first].group) == group)
			return first;
	}
	met->slots[at] = (uint16_t)(index + 1);
	return index;
}

/* A group has what its first process says. */
static void add(struct token_sums *sums, struct met *met, const struct token_seat *seat,
	unsigned index, uint64_t own_group)
{
	const struct token_slot *slot = &seat->segment->slots[index];
	struct token_entitlement theirs = token_unpack(word_load(&slot->entitlement));
	bool is_ours = word_load(&slot->group) == own_group;

	if (index != seat->slot) {
		sums->has_others = true;
		sums->has_latency |= theirs.class == TOKEN_LATENCY;
		sums->has_siblings |= is_ours;
	}
	if (meet(met, seat->segment, index) != index)
		return;
	if (is_ours)
		sums->ours = theirs;
	sums->guaranteed_ppm += theirs.guarantee_ppm;
	sums->weights += theirs.guarantee_ppm == 0 ? theirs.weight : 0;
}

static void sum_up(struct token_seat *seat, uint64_t changes)
{
	const struct token_segment *segment = seat->segment;
	uint64_t own_group = word_load(&own(seat)->group);
	struct met met = {0};

	seat->sums = (struct token_sums){
		.is_known = true,
		.changes = changes,
		.ours = token_unpack(word_load(&own(seat)->entitlement)),
	};
	for (unsigned i = 0; i < slots_used(segment); i++) {
		if (is_tenant(&segment->slots[i]))
			add(&seat->sums, &met, seat, i, own_group);
	}
}

/* The count is read before what it counts: what changes meanwhile is seen the next time. */
static const struct token_sums *sums_of(struct token_seat *seat)
{
	uint64_t changes = word_load_in_order(&seat->segment->changes);

	if (!seat->sums.is_known || seat->sums.changes != changes)
		sum_up(seat, changes);
	return &seat->sums;
}

bool token_has_others(struct token_seat *seat)
{
	return sums_of(seat)->has_others;
}

bool token_sees_others(const struct token_seat *seat)
{
	for (unsigned i = 0, used = slots_used(seat->segment); i < used; i++) {
		if (i != seat->slot && is_tenant(&seat->segment->slots[i]))
			return true;
	}
	return false;
}

bool token_has_latency(struct token_seat *seat)
{
	return sums_of(seat)->has_latency;
}

/* With this one, those of its group that want the token, as of when it asked last. */
static unsigned siblings_of(const struct token_seat *seat)
{
	const struct token_segment *segment = seat->segment;
	uint64_t own_group = word_load(&own(seat)->group);
	uint64_t asked_at_ns = word_load(&own(seat)->seen_at_ns);
	unsigned siblings = 1;

	for (unsigned i = 0; i < slots_used(segment); i++) {
		const struct token_slot *slot = &segment->slots[i];
		if (i != seat->slot && word_load(&slot->group) == own_group)
			siblings += is_wanting(slot, asked_at_ns);
	}
	return siblings;
}

/* A group's is divided among those of its processes that want. */
uint32_t token_rate_ppm(struct token_seat *seat)
{
	const struct token_sums *sums = sums_of(seat);
	uint64_t whole = PPM_WHOLE, guaranteed = sums->guaranteed_ppm, rate;
	const struct token_entitlement *ours = &sums->ours;

	if (sums->weights > 0) {
		uint64_t left = guaranteed < PPM_WHOLE ? PPM_WHOLE - guaranteed : 0;
		whole -= left > LEFT_LEAST_PPM ? left : LEFT_LEAST_PPM;
	}
	if (ours->guarantee_ppm == 0)
		rate = sums->weights > 0 ? (PPM_WHOLE - whole) * ours->weight / sums->weights
					 : PPM_WHOLE;
	else
		rate = guaranteed > whole ? ours->guarantee_ppm * whole / guaranteed
					  : ours->guarantee_ppm;
	if (sums->has_siblings)
		rate /= siblings_of(seat);
	return rate > RATE_LEAST_PPM ? (uint32_t)rate : RATE_LEAST_PPM;
}
