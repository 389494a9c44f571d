/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Sets of SMs of one device, a bit each.
 */
#ifndef SIMGPU_SM_SET_H
#define SIMGPU_SM_SET_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "../wire.h"

struct sm_set {
	uint64_t words[WIRE_SM_WORDS]; /* SM n is bit n % 64 of word n / 64 */
};

static inline bool sm_set_has(const struct sm_set *set, uint32_t sm)
{
	return set->words[sm / 64] >> sm % 64 & 1;
}

static inline void sm_set_add(struct sm_set *set, uint32_t sm)
{
	set->words[sm / 64] |= UINT64_C(1) << sm % 64;
}

static inline void sm_set_add_all(struct sm_set *set, const struct sm_set *other)
{
	for (uint32_t i = 0; i < WIRE_SM_WORDS; i++)
		set->words[i] |= other->words[i];
}

static inline bool sm_set_meets(const struct sm_set *set, const struct sm_set *other)
{
	for (uint32_t i = 0; i < WIRE_SM_WORDS; i++) {
		if (set->words[i] & other->words[i])
			return true;
	}
	return false;
}

/* Adds the SMs from `first` to `end` - 1. */
static inline void sm_set_add_range(struct sm_set *set, uint32_t first, uint32_t end)
{
	for (uint32_t sm = first; sm < end; sm++)
		sm_set_add(set, sm);
}

static inline uint32_t sm_set_count(const struct sm_set *set)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < WIRE_SM_WORDS; i++)
		count += (uint32_t)__builtin_popcountll(set->words[i]);
	return count;
}

#endif
