/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Programs that are bound by their host: they wait for what they launched, and do something else
 * before they launch again. That leaves gaps, in which others use the device; and whatever others
 * have on it when such a program comes back makes its gap longer. So who comes back goes before who
 * has always more to do, as long as it has used less for its rate.
 */
#ifndef CUSLICE_TOKEN_TOKEN_GAPS_H
#define CUSLICE_TOKEN_TOKEN_GAPS_H

#include "token/token_slots.h"

/* Time without work on the device is a gap from here on. To fill shorter ones the device would have
 * to go from one process to another and back for each command, which costs it about as much. */
#define GAPS_LEAST_NS 100000u

/* A launch wants to go, and none did until now: notes whether a gap ends with it. */
void gaps_note(struct token_seat *seat, uint64_t now_ns);

/* True for one that has lately come back from a gap, and has not worked for a quantum since. */
bool gaps_is_back(const struct token_slot *slot, uint64_t now_ns);

/* False where that is true for nobody. */
bool gaps_is_anybody_back(const struct token_segment *segment, uint64_t now_ns);

/* True where `slot` is back, and behind the one before which it then goes. */
bool gaps_goes_before(const struct token_seat *seat, const struct token_slot *slot,
	const struct token_slot *before, uint64_t now_ns);

/* True where a gap begins, as usual, when what the slot has on the device ends, and it is long
 * enough to be filled with commands such as the last that the seat asked for. */
bool gaps_are_left(const struct token_seat *seat, const struct token_slot *slot);

#endif
