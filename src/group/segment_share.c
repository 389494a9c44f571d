/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A dead member's work ends with it, or soon after, but when that was nobody has seen. It is taken
 * to have run until it is reaped, 100 ms later at most, as far as it was billed; beyond that, until
 * its process last looked. So the group pays at most 100 ms of device time too much for a death,
 * and too little only for a command that ran longer than its kind was known to, from then on. The
 * credit that it had taken, a millisecond at most, stays billed.
 */
#include "group/segment_share.h"
#include "base/units.h"

#include <stddef.h>

/* Of what stands in an account no more is believed. */
#define MOST_NS (UINT64_C(1) << 42) /* 73 minutes */

static void note(segment_word *word, uint64_t value)
{
	if (word_load(word) != value)
		word_store(word, value);
}

void segment_note_flights(
	struct segment_device *device, unsigned slot, uint64_t unbilled_ns, uint64_t drained_at_ns)
{
	struct segment_account *account = &device->accounts[slot];

	note(&account->unbilled_ns, unbilled_ns);
	note(&account->drained_at_ns, drained_at_ns);
}

uint64_t segment_sum_unbilled(
	const struct segment_device *device, unsigned but, uint64_t slot_count)
{
	uint64_t sum_ns = 0;

	for (unsigned i = 0; i < slot_count && i < SEGMENT_SLOTS; i++) {
		uint64_t unbilled_ns = word_load(&device->accounts[i].unbilled_ns);
		if (i != but)
			sum_ns += unbilled_ns < MOST_NS ? unbilled_ns : MOST_NS;
	}
	return sum_ns;
}

void segment_settle_flights(struct segment_device *device, unsigned slot, uint64_t now_ns)
{
	struct segment_account *account = &device->accounts[slot];
	uint64_t unbilled_ns = word_load(&account->unbilled_ns);
	uint64_t drained_at_ns = word_load(&account->drained_at_ns);
	uint64_t share_ppm = word_load(&device->bucket[1]);
	int64_t used_ns = (int64_t)(unbilled_ns < MOST_NS ? unbilled_ns : MOST_NS);

	if (drained_at_ns > now_ns)
		used_ns -= (int64_t)(drained_at_ns - now_ns < MOST_NS ? drained_at_ns - now_ns
								      : MOST_NS);
	word_store(&account->unbilled_ns, 0);
	word_store(&account->drained_at_ns, 0);
	if (used_ns == 0 || share_ppm == 0 || share_ppm > PPM_WHOLE)
		return;
	/* As bucket_bill() does, to the ns. MOST_NS at 1 ppm does not overflow: 2^42 * 10^6. */
	int64_t later_ns = (int64_t)((__int128)used_ns * PPM_WHOLE / (__int128)(int64_t)share_ppm);
	atomic_fetch_add_explicit(&device->bucket[0], (uint64_t)later_ns, memory_order_relaxed);
}
