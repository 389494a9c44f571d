/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * All slots together hold `total` units of a device, which stands in one word and changes by
 * compare-and-swap, beside who changed it last:
 *
 *	word = total (36 bits) | slot (8 bits) | operation (20 bits, the low ones of its number)
 *
 * Whoever is killed right after a swap has changed the total without having written down that the
 * bytes are its own. So each slot keeps an account that only it writes, with one exception:
 *
 *	done       the number of its last operation that has won
 *	held[2]    what it holds after operation n, in held[n % 2]
 *
 * Operation n + 1 of slot s, where n = done:
 *
 *	1. held[(n + 1) % 2] := what s will hold. It counts for nothing yet.
 *	2. Read the word: (total, p, q). If p has not written down that it won operation q (its done
 *	   is q - 1), do so for it: done of p := q, by a swap. This is the exception.
 *	   Swap the word to (total + change, s, n + 1); if it has changed meanwhile, do 2 again.
 *	3. done := n + 1.
 *
 * Claim: at any moment total is the sum over all slots of held[w % 2], where w, the slot's last
 * operation that won, is done, or done + 1 for the one slot for which the word says so. For a slot
 * can win again only after 3; and between the win of p and the next win of another, 2 has set p's
 * done. So whatever instruction s dies at, word and done decide its last operation: before the swap
 * it did not happen, after it the word says so until done does. segment_reap() does just that, and
 * then gives the bytes back by an operation of the dead slot; a reaper that dies has done a part
 * of one more operation, about which the next reaper decides in the same way.
 *
 * Why 2 never says of p what is not true. It reads the word, then p's done, and if done + 1 agrees
 * with q, the word again. If that has not changed, p's last win was q when the word was read the
 * second time; done was not ahead of q then, for p's next operation needs the swap; so if done
 * still is what it was, q is the operation behind it. If done is not what it was, the swap of done
 * fails, because done, a whole 64-bit number, never has the same value twice, also not when another
 * process takes over the slot.
 *
 * The 20 bits wrap. A process that is stopped in 2 between looking at p and its swap, while p makes
 * exactly k * 2^20 operations and total is the same again, swaps although it has not looked at p's
 * last win. Nothing comes of it, for p does 3 by itself, unless p is killed between its swap and
 * 3 at that very moment. A stop at one instruction for a tenth of a second or longer, one chance in
 * a million for the number, the same total, and a kill that hits another instruction at that time:
 * we have no protection against that, and need none.
 *
 * Memory order. All loads acquire, all stores release, swaps both; 1 is so seen by whoever sees the
 * swap of 2, and 3 by whoever sees p's next swap. A store of done may reach others late, after
 * another did it: it is the same value, and p's next swap comes behind it. held[] of others is read
 * only by reapers: a process that has died has no stores under way.
 *
 * tests/unit/test_segment_model.c runs this file in every order of accesses that a few operations,
 * deaths and reapers may take.
 */
#include "group/segment_protocol.h"
#include "base/units.h"

#define SLOT_SHIFT     20u
#define TOTAL_SHIFT    28u
#define OPERATION_MASK ((UINT64_C(1) << SLOT_SHIFT) - 1)
#define QUOTA_BITS     37u
#define QUOTA_MASK     ((UINT64_C(1) << QUOTA_BITS) - 1)

_Static_assert(SEGMENT_SLOTS == 1u << (TOTAL_SHIFT - SLOT_SHIFT), "every number is a slot");
_Static_assert(SEGMENT_MAX_UNITS == UINT64_MAX >> TOTAL_SHIFT, "the total fills its bits");

static uint64_t total_of(uint64_t word)
{
	return word >> TOTAL_SHIFT;
}

static unsigned slot_of(uint64_t word)
{
	return (unsigned)(word >> SLOT_SHIFT) % SEGMENT_SLOTS;
}

static uint64_t make_word(uint64_t total, unsigned slot, uint64_t operation)
{
	return total << TOTAL_SHIFT | (uint64_t)slot << SLOT_SHIFT | (operation & OPERATION_MASK);
}

/* Sees to it that the winner that `word` names has written its win down. False where the word has
 * changed since. */
static bool acknowledge(struct segment_device *device, uint64_t word)
{
	struct segment_account *winner = &device->accounts[slot_of(word)];
	uint64_t done = word_load(&winner->done);

	if (((done + 1) & OPERATION_MASK) != (word & OPERATION_MASK))
		return true;
	if (word_load(&device->word) != word)
		return false;
	/* Where it fails the winner has just done it. */
	(void)word_swap(&winner->done, done, done + 1);
	return true;
}

static enum segment_answer damaged(struct segment_device *device)
{
	word_store(&device->is_damaged, 1);
	return SEGMENT_DAMAGED;
}

enum segment_answer segment_grow(
	struct segment_device *device, unsigned slot, uint64_t more, uint64_t limit)
{
	struct segment_account *account = &device->accounts[slot];
	uint64_t operation = word_load(&account->done) + 1;
	uint64_t held = word_load(&account->held[(operation - 1) % 2]);

	word_store(&account->held[operation % 2], held + more);
	for (;;) {
		word_loop();
		uint64_t word = word_load(&device->word);
		if (!acknowledge(device, word))
			continue;
		uint64_t total = total_of(word);
		if (total > limit || more > limit - total)
			return SEGMENT_FULL;
		if (word_swap(&device->word, word, make_word(total + more, slot, operation)))
			break;
	}
	word_store(&account->done, operation);
	return SEGMENT_DONE;
}

enum segment_answer segment_lessen(struct segment_device *device, unsigned slot, uint64_t less)
{
	struct segment_account *account = &device->accounts[slot];
	uint64_t operation = word_load(&account->done) + 1;
	uint64_t held = word_load(&account->held[(operation - 1) % 2]);

	if (less > held)
		return damaged(device);
	word_store(&account->held[operation % 2], held - less);
	for (;;) {
		word_loop();
		uint64_t word = word_load(&device->word);
		if (!acknowledge(device, word))
			continue;
		uint64_t total = total_of(word);
		if (less > total)
			return damaged(device);
		if (word_swap(&device->word, word, make_word(total - less, slot, operation)))
			break;
	}
	word_store(&account->done, operation);
	return SEGMENT_DONE;
}

/* What the dead process did last is written down, if it won. */
static void decide_last(struct segment_device *device, unsigned slot)
{
	for (;;) {
		word_loop();
		uint64_t word = word_load(&device->word);
		if (slot_of(word) != slot || acknowledge(device, word))
			return;
	}
}

uint64_t segment_held(const struct segment_device *device, unsigned slot)
{
	const struct segment_account *account = &device->accounts[slot];

	return word_load(&account->held[word_load(&account->done) % 2]);
}

/* What stands there after operation `done` stays until the one after the next, which begins when
 * the next is done. */
uint64_t segment_held_now(const struct segment_device *device, unsigned slot)
{
	const segment_word *done = &device->accounts[slot].done;
	uint64_t before, held;

	do {
		word_loop();
		before = word_load(done);
		held = word_load(&device->accounts[slot].held[before % 2]);
	} while (word_load(done) != before);
	return held;
}

uint64_t segment_total(const struct segment_device *device)
{
	return total_of(word_load(&device->word));
}

/* A limit in force is what it costs one load to know: units + 1, or ppm, or 0 for no limit, and
 * above them a version. Each change of a member's limit changes the version, also where the one in
 * force stays: only so does whoever computes a new one notice that a limit has come which it had
 * not seen. */
static uint64_t next_in_force(uint64_t seen, uint64_t limit)
{
	uint64_t version = (seen >> QUOTA_BITS) + 1;

	return version << QUOTA_BITS | limit;
}

static bool is_stricter(uint64_t limit, uint64_t other)
{
	return limit != 0 && (other == 0 || limit < other);
}

/* Of which limit it is. */
enum kind { QUOTA, SHARE };

static segment_word *in_force(struct segment_device *device, enum kind kind)
{
	return kind == QUOTA ? &device->quota : &device->share;
}

static segment_word *limit_of(struct segment_device *device, unsigned slot, enum kind kind)
{
	struct segment_account *account = &device->accounts[slot];

	return kind == QUOTA ? &account->limit : &account->share;
}

static void tighten(struct segment_device *device, enum kind kind, uint64_t limit)
{
	segment_word *word = in_force(device, kind);
	uint64_t seen, wanted;

	do {
		word_loop();
		seen = word_load(word);
		wanted = seen & QUOTA_MASK;
		if (is_stricter(limit, wanted))
			wanted = limit;
	} while (!word_swap(word, seen, next_in_force(seen, wanted)));
}

/* After a limit has gone, or has become looser. */
static void compute(struct segment_device *device, enum kind kind)
{
	segment_word *word = in_force(device, kind);
	uint64_t seen, wanted;

	do {
		word_loop();
		seen = word_load(word);
		wanted = 0;
		for (unsigned i = 0; i < SEGMENT_SLOTS; i++) {
			uint64_t limit = word_load(limit_of(device, i, kind));
			if (is_stricter(limit, wanted))
				wanted = limit;
		}
	} while (!word_swap(word, seen, next_in_force(seen, wanted)));
}

static void set(struct segment_device *device, unsigned slot, enum kind kind, uint64_t limit)
{
	segment_word *word = limit_of(device, slot, kind);
	uint64_t before = word_load(word);

	word_store(word, limit);
	if (is_stricter(before, limit))
		compute(device, kind);
	else
		tighten(device, kind, limit);
}

void segment_set_limit(struct segment_device *device, unsigned slot, uint64_t units)
{
	set(device, slot, QUOTA, units < SEGMENT_MAX_UNITS ? units + 1 : 0);
}

void segment_set_share(struct segment_device *device, unsigned slot, uint32_t ppm)
{
	set(device, slot, SHARE, ppm < PPM_WHOLE ? ppm : 0);
}

uint32_t segment_least_share(const struct segment_device *device)
{
	uint64_t ppm = word_load(&device->share) & QUOTA_MASK;

	return ppm == 0 || ppm > PPM_WHOLE ? PPM_WHOLE : (uint32_t)ppm;
}

uint64_t segment_quota(const struct segment_device *device)
{
	uint64_t limit = word_load(&device->quota) & QUOTA_MASK;

	if (word_load(&device->is_damaged) != 0)
		return 0;
	return limit == 0 || limit > SEGMENT_MAX_UNITS ? SEGMENT_MAX_UNITS : limit - 1;
}

uint64_t segment_reap(struct segment_device *device, unsigned slot, uint64_t kept)
{
	struct segment_account *account = &device->accounts[slot];

	decide_last(device, slot);
	uint64_t held = segment_held(device, slot);
	uint64_t back = held > kept ? held - kept : 0;
	if (back > 0 && segment_lessen(device, slot, back) != SEGMENT_DONE)
		back = 0;
	word_store(&account->in_flight, 0);
	/* Also without a limit: a reaper may have died between the two. */
	word_store(&account->limit, 0);
	compute(device, QUOTA);
	return back;
}

void segment_reap_share(struct segment_device *device, unsigned slot)
{
	word_store(&device->accounts[slot].share, 0);
	compute(device, SHARE);
}

uint64_t segment_sum_in_flight(const struct segment_device *device, uint64_t slot_count)
{
	uint64_t count = slot_count < SEGMENT_SLOTS ? slot_count : SEGMENT_SLOTS;
	uint64_t even = 0, odd = 0;

	for (uint64_t i = 0; i < count / 2; i++) {
		even += word_load(&device->accounts[2 * i].in_flight);
		odd += word_load(&device->accounts[2 * i + 1].in_flight);
	}
	if (count % 2 != 0)
		even += word_load(&device->accounts[count - 1].in_flight);
	return even + odd;
}
