/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * How the protocol reads a segment, in which anything may stand.
 */
#ifndef CUSLICE_TOKEN_TOKEN_SLOTS_H
#define CUSLICE_TOKEN_TOKEN_SLOTS_H

#include "base/units.h"
#include "token/token_protocol.h"

/* No v is greater: sums of two still fit. */
#define V_MOST (UINT64_C(1) << 62)

/* Who wants asks again within TOKEN_FAR_NAP_NS, on a computer that is busy somewhat later. Who has
 * not for so long is stopped: what stands in its slot is of no more account until it goes on. */
#define STOPPED_NS UINT64_C(1000000000)

static inline uint64_t lesser(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t greater(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static inline unsigned slots_used(const struct token_segment *segment)
{
	uint64_t used = word_load(&segment->slots_used);

	return used < TOKEN_SLOTS ? (unsigned)used : TOKEN_SLOTS;
}

static inline struct token_slot *own(const struct token_seat *seat)
{
	return &seat->segment->slots[seat->slot];
}

static inline bool is_tenant(const struct token_slot *slot)
{
	return word_load(&slot->group) != 0;
}

/* True for one that wants the token, and is not stopped. */
static inline bool is_wanting(const struct token_slot *slot, uint64_t now_ns)
{
	uint64_t seen_at_ns = word_load(&slot->seen_at_ns);

	return word_load(&slot->wants) != TOKEN_IDLE &&
	       (seen_at_ns > now_ns || now_ns - seen_at_ns < STOPPED_NS);
}

static inline uint64_t v_of(const struct token_slot *slot)
{
	return lesser(word_load(&slot->v), V_MOST);
}

/* By so much v the holder goes beyond who waits. Turns get shorter with the rate of who has them,
 * not with their number. */
static inline uint64_t span_of(const struct token_seat *seat, unsigned waiting)
{
	return seat->quantum_ns * (waiting + 1);
}

#endif
