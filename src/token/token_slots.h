/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * How the protocol reads a segment, in which anything may stand.
 */
#ifndef CUSLICE_TOKEN_TOKEN_SLOTS_H
#define CUSLICE_TOKEN_TOKEN_SLOTS_H

#include "base/units.h"
#include "token/token_protocol.h"

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

#endif
