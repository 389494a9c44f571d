/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Places on SMs.
 */
#include "places.h"

#include <stdlib.h>

#include "alloc.h"

void places_init(struct places *places, uint32_t sm_count)
{
	*places = (struct places){
		.sm_count = sm_count,
		.free_units = sm_count * SM_UNITS,
		.units = alloc_zeroed(sm_count * sizeof(places->units[0])),
		.room = alloc_zeroed(sm_count * sizeof(places->room[0])),
		.given = alloc_zeroed(sm_count * sizeof(places->given[0])),
		.result = alloc_zeroed(sm_count * sizeof(places->result[0])),
	};
	for (uint32_t sm = 0; sm < sm_count; sm++)
		places->units[sm] = SM_UNITS;
}

void places_finish(struct places *places)
{
	free(places->units);
	free(places->room);
	free(places->given);
	free(places->result);
}

/* Calls of it go round all SMs once, from next_sm on. */
static uint32_t turn(const struct places *places, uint32_t step)
{
	uint32_t sm = places->next_sm + step;
	return sm < places->sm_count ? sm : sm - places->sm_count;
}

static uint32_t room_on(const struct places *places, const struct places_wish *wish, uint32_t sm)
{
	if ((wish->of && !sm_set_has(wish->of, sm)) ||
		(wish->but_not && sm_set_has(wish->but_not, sm)))
		return 0;
	uint64_t units = places->units[sm];
	return units == SM_UNITS ? wish->fit : (uint32_t)(units / (SM_UNITS / wish->fit));
}

/* Leaves room on no more SMs than the wish may choose, besides those that it has chosen: those on
 * which nothing runs first. */
static void narrow(struct places *places, const struct places_wish *wish)
{
	uint32_t left = wish->may_choose;
	for (int pass = 0; pass < 2; pass++) {
		for (uint32_t i = 0; i < places->sm_count; i++) {
			uint32_t sm = turn(places, i);
			bool is_idle = places->units[sm] == SM_UNITS;
			if (places->room[sm] == 0 || sm_set_has(wish->chosen, sm) ||
				is_idle != (pass == 0))
				continue;
			if (left > 0)
				left--;
			else
				places->room[sm] = 0;
		}
	}
}

/* Works out the room on each SM; returns the sum. */
static uint64_t find_room(struct places *places, const struct places_wish *wish)
{
	uint64_t sum = 0;
	for (uint32_t sm = 0; sm < places->sm_count; sm++)
		places->room[sm] = room_on(places, wish, sm);
	if (wish->chosen)
		narrow(places, wish);
	for (uint32_t sm = 0; sm < places->sm_count; sm++)
		sum += places->room[sm];
	return sum;
}

/* Gives one block each to `left` SMs, fewer than have room: those on which nothing runs first. */
static void give_rest(struct places *places, uint64_t left)
{
	uint32_t last = places->next_sm;
	for (int pass = 0; pass < 2 && left > 0; pass++) {
		for (uint32_t i = 0; i < places->sm_count && left > 0; i++) {
			uint32_t sm = turn(places, i);
			bool is_idle = places->units[sm] == SM_UNITS && places->given[sm] == 0;
			if (places->room[sm] == 0 || (pass == 0 && !is_idle))
				continue;
			places->room[sm] = 0; /* not in the second pass as well */
			places->given[sm]++;
			left--;
			last = sm;
		}
	}
	places->next_sm = last + 1 < places->sm_count ? last + 1 : 0;
}

/* Divides `blocks`, fewer than there is room for, level by level. */
static void spread(struct places *places, uint64_t blocks)
{
	for (;;) {
		uint32_t open = 0, least = UINT32_MAX;
		for (uint32_t sm = 0; sm < places->sm_count; sm++) {
			if (places->room[sm] == 0)
				continue;
			open++;
			if (places->room[sm] < least)
				least = places->room[sm];
		}
		uint64_t levels = open ? blocks / open : 0;
		if (levels == 0)
			break;
		if (levels < least)
			least = (uint32_t)levels;
		for (uint32_t sm = 0; sm < places->sm_count; sm++) {
			if (places->room[sm] == 0)
				continue;
			places->room[sm] -= least;
			places->given[sm] += least;
		}
		blocks -= (uint64_t)least * open;
	}
	if (blocks > 0)
		give_rest(places, blocks);
}

/* Takes what `given` says, and clears it. */
static uint32_t collect(struct places *places, uint32_t fit)
{
	uint64_t block_units = SM_UNITS / fit;
	uint32_t count = 0;
	for (uint32_t sm = 0; sm < places->sm_count; sm++) {
		uint32_t blocks = places->given[sm];
		if (blocks == 0)
			continue;
		places->units[sm] -= blocks * block_units;
		places->free_units -= blocks * block_units;
		places->given[sm] = 0;
		places->result[count++] = (struct place){sm, blocks};
	}
	return count;
}

/* The most frequent case: one block, and an SM on which nothing runs. */
static bool take_one(struct places *places, const struct places_wish *wish)
{
	if (wish->blocks != 1 || wish->chosen)
		return false;
	for (uint32_t i = 0; i < places->sm_count; i++) {
		uint32_t sm = turn(places, i);
		if (places->units[sm] != SM_UNITS || room_on(places, wish, sm) == 0)
			continue;
		places->units[sm] -= SM_UNITS / wish->fit;
		places->free_units -= SM_UNITS / wish->fit;
		places->result[0] = (struct place){sm, 1};
		places->next_sm = sm + 1 < places->sm_count ? sm + 1 : 0;
		return true;
	}
	return false;
}

uint32_t places_take(struct places *places, const struct places_wish *wish)
{
	if (places->free_units < SM_UNITS / wish->fit)
		return 0;
	if (take_one(places, wish))
		return 1;
	uint64_t room = find_room(places, wish);
	if (room > wish->blocks)
		spread(places, wish->blocks);
	else
		memcpy(places->given, places->room, places->sm_count * sizeof(places->room[0]));
	return room > 0 ? collect(places, wish->fit) : 0;
}

void places_give_back(struct places *places, const struct place *list, uint32_t count, uint32_t fit)
{
	uint64_t block_units = SM_UNITS / fit;
	for (uint32_t i = 0; i < count; i++) {
		places->units[list[i].sm] += list[i].blocks * block_units;
		places->free_units += list[i].blocks * block_units;
	}
}
