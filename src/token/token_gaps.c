/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "token/token_gaps.h"

/* Who came back longer ago is not expected again. */
#define BACK_FOR_NS 20000000u
/* Nobody need know more exactly how long a gap was. */
#define GAP_MOST_NS 1000000u
/* Gaps that are at least so long are filled with commands of any length: who leaves them would lose
 * the token anyway, only later. */
#define LONG_GAP_NS (2 * GAPS_LEAST_NS)
/* How much of the usual gap is the last one, where that was longer. Where it was shorter, all: a
 * program that is in the midst of several launches must not lose its turn to others. */
#define GAPS_PER_AVERAGE 8

/* How long the device had nothing of this process before each of the launches since it was looked
 * at last. Those that went on credit are known by what they cost: as many as this one. */
static uint64_t gap_each(const struct token_seat *seat, uint64_t gap_ns)
{
	int64_t used_ns = (int64_t)(word_load(&own(seat)->used_ns) - seat->rested_used_ns);

	gap_ns = lesser(gap_ns, GAP_MOST_NS);
	if (seat->command_ns == 0 || used_ns <= (int64_t)seat->command_ns)
		return gap_ns;
	return gap_ns * lesser(seat->command_ns, GAP_MOST_NS) / (uint64_t)used_ns;
}

void gaps_note(struct token_seat *seat, uint64_t now_ns)
{
	struct token_slot *slot = own(seat);
	uint64_t since_ns = greater(seat->wanted_at_ns, word_load(&slot->drained_at_ns));
	uint64_t gap_ns = now_ns > since_ns ? now_ns - since_ns : 0;
	uint64_t used_ns = word_load(&slot->used_ns), usual_ns = word_load(&slot->gap_ns);

	if (seat->wanted_at_ns == 0 || seat->has_left)
		return;
	if (gap_ns >= GAPS_LEAST_NS) {
		word_store(&slot->back_at_ns, now_ns);
		word_store(&seat->segment->back_at_ns, now_ns);
		seat->back_used_ns = used_ns;
	} else if ((int64_t)(used_ns - seat->back_used_ns) > (int64_t)seat->quantum_ns) {
		word_store(&slot->back_at_ns, 0);
	}
	gap_ns = gap_each(seat, gap_ns);
	if (gap_ns > usual_ns)
		gap_ns = usual_ns + (gap_ns - usual_ns) / GAPS_PER_AVERAGE;
	word_store(&slot->gap_ns, gap_ns);
}

bool gaps_is_anybody_back(const struct token_segment *segment, uint64_t now_ns)
{
	return now_ns - word_load(&segment->back_at_ns) < BACK_FOR_NS;
}

bool gaps_is_back(const struct token_slot *slot, uint64_t now_ns)
{
	return now_ns - word_load(&slot->back_at_ns) < BACK_FOR_NS;
}

/* Of two that are back each has its turn. */
bool gaps_goes_before(const struct token_seat *seat, const struct token_slot *slot,
	const struct token_slot *before, uint64_t now_ns)
{
	uint64_t ahead_v = gaps_is_back(before, now_ns) ? span_of(seat, 1) : 0;

	return gaps_is_back(slot, now_ns) && v_of(slot) + ahead_v < v_of(before);
}

bool gaps_are_left(const struct token_seat *seat, const struct token_slot *slot)
{
	uint64_t gap_ns = word_load(&slot->gap_ns);

	return gap_ns >= LONG_GAP_NS || (gap_ns >= GAPS_LEAST_NS && gap_ns >= seat->command_ns);
}
