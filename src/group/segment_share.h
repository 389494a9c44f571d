/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * GPU time that the members of a group have let go and that is not settled in their bucket yet:
 * each says so in its account, for the others and for whoever reaps it.
 */
#ifndef CUSLICE_GROUP_SEGMENT_SHARE_H
#define CUSLICE_GROUP_SEGMENT_SHARE_H

#include "group/segment_layout.h"

/* What the member of the slot has in flight.
 * unbilled_ns    by so much commands were last seen to have run longer than was billed for them
 * drained_at_ns  until then what was billed should take; 0: nothing
 */
void segment_note_flights(
	struct segment_device *device, unsigned slot, uint64_t unbilled_ns, uint64_t drained_at_ns);

/* The sum of that over the first slots but one. Not a moment's truth: slots are read one by one. */
uint64_t segment_sum_unbilled(
	const struct segment_device *device, unsigned but, uint64_t slot_count);

/* Settles what a dead process had in flight: bills what was seen to run and not billed, and gives
 * back what was billed and cannot have run by now. Whoever calls holds the lock of the slot. Cut
 * short, it does nothing or all, or what was in flight stays billed as it was. */
void segment_settle_flights(struct segment_device *device, unsigned slot, uint64_t now_ns);

#endif
