/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "governor/line.h"

/* The next ticket in the high half, the one that is served in the low half; both wrap around. */
#define ONE_TICKET (UINT64_C(1) << 32)

static uint32_t next_of(uint64_t word)
{
	return (uint32_t)(word >> 32);
}

static uint32_t served_of(uint64_t word)
{
	return (uint32_t)word;
}

/* How far `a` is behind `b`. */
static int32_t distance(uint32_t a, uint32_t b)
{
	return (int32_t)(b - a);
}

void line_join(line_word *line, struct line_place *place)
{
	if (place->is_in)
		return;
	place->ticket = next_of(atomic_fetch_add(line, ONE_TICKET));
	place->is_in = true;
}

/* Serves the ticket after this one, if this one is being served. */
static void serve_next(line_word *line, uint32_t ticket)
{
	uint64_t seen = atomic_load(line);

	while (served_of(seen) == ticket &&
		!atomic_compare_exchange_weak(
			line, &seen, (uint64_t)next_of(seen) << 32 | (uint32_t)(ticket + 1)))
		;
}

/* Notes who is to go. True where that has not changed for too long. */
static bool is_late(struct line_place *place, uint32_t served, uint64_t now_ns)
{
	if (place->since_ns == 0 || place->served != served) {
		place->served = served;
		place->since_ns = now_ns;
	}
	return now_ns - place->since_ns >= LINE_PATIENCE_NS;
}

bool line_is_next(line_word *line, struct line_place *place, uint64_t now_ns)
{
	uint64_t seen = atomic_load(line);
	uint32_t served = served_of(seen);
	int32_t count = distance(served, next_of(seen));

	/* Others have passed it over. */
	if (place->is_in && distance(served, place->ticket) < 0)
		place->is_in = false;
	if (count <= 0 || count > LINE_MOST) {
		place->is_in = false;
		return true;
	}
	if (place->is_in && served == place->ticket) {
		serve_next(line, served);
		place->is_in = false;
		return true;
	}
	line_join(line, place);
	if (is_late(place, served, now_ns))
		serve_next(line, served);
	return false;
}

void line_rest(struct line_place *place)
{
	place->since_ns = 0;
}
