/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * An entry is about one piece of memory. Its payer is the slot that has the units of it in its
 * account, its guests are the slots with a bit. The state is one word:
 *
 *	state = generation (53 bits) | payer (8 bits) | status (3 bits)
 *
 *	UNUSED   nobody pays
 *	CLAIMED  the payer writes down what it is
 *	HELD     the payer holds it
 *	LEFT     the payer holds it no more, but pays, for it has guests
 *	ENDING   the payer finds out whether it has guests
 *	ORPHAN   the payer is dead, and its account keeps the units, for it has guests
 *
 * Only the payer changes the state, or whoever reaps it, who has the lock of its slot; with two
 * exceptions: whoever finds it UNUSED may claim it, with the next generation, and a guest adopts an
 * ORPHAN. Both do so by a swap. A bit is written by its slot, or by who reaps that.
 *
 * Claim: as long as a slot is a guest, another has the units in its account. A guest sets its bit,
 * and then reads the state again: it is one only if that still is HELD, LEFT or ORPHAN. The payer
 * first writes ENDING, and then reads the bits: it gives its units back only if there is none. So
 * whichever order they come in, either the guest sees that it came too late, or the payer sees the
 * guest. And who adopts takes the units before the swap, so the dead payer's account, which keeps
 * them until after, is never the only one to lose them.
 *
 * A guest that is killed or stopped after it has set its bit and before it has looked, or that
 * comes too late, leaves a bit for a while in what may be the next generation: somebody pays longer
 * than needed, until its slot is reaped or it goes on. Whoever is killed in ENDING is reaped, and
 * the reaper begins with ENDING again. One that is killed in CLAIMED has handed out nothing yet.
 *
 * tests/unit/test_segment_exports.c runs this file in every order of accesses that a payer, guests,
 * their deaths and their reapers may take.
 */
#include "group/segment_exports.h"

#define PAYER_SHIFT      3u
#define GENERATION_SHIFT 11u
#define STATUS_MASK      UINT64_C(7)

_Static_assert(SEGMENT_SLOTS == 1u << (GENERATION_SHIFT - PAYER_SHIFT), "every number is a slot");

enum status { UNUSED, CLAIMED, HELD, LEFT, ENDING, ORPHAN };

static uint64_t make_state(uint64_t generation, unsigned payer, enum status status)
{
	return generation << GENERATION_SHIFT | (uint64_t)payer << PAYER_SHIFT | (uint64_t)status;
}

static uint64_t generation_of(uint64_t state)
{
	return state >> GENERATION_SHIFT;
}

static unsigned payer_of(uint64_t state)
{
	return (unsigned)(state >> PAYER_SHIFT) % SEGMENT_SLOTS;
}

static uint64_t status_of(uint64_t state)
{
	return state & STATUS_MASK;
}

/* Whether somebody pays, and goes on paying for who becomes a guest now. */
static bool is_open(uint64_t state)
{
	uint64_t status = status_of(state);

	return status == HELD || status == LEFT || status == ORPHAN;
}

static void set_bit(segment_word *word, uint64_t bit, bool is_set)
{
	uint64_t seen, wanted;

	do {
		word_loop();
		seen = word_load(word);
		wanted = is_set ? seen | bit : seen & ~bit;
	} while (seen != wanted && !word_swap(word, seen, wanted));
}

static void set_guest(struct segment_export *export, unsigned slot, bool is_guest)
{
	set_bit(&export->guests[slot / 64], UINT64_C(1) << slot % 64, is_guest);
}

/* Others than the slot itself. */
static bool has_guests(const struct segment_export *export, unsigned slot)
{
	for (unsigned i = 0; i < SEGMENT_SLOTS / 64; i++) {
		uint64_t own = slot / 64 == i ? UINT64_C(1) << slot % 64 : 0;
		/* pairs with segment_exports_enter() */
		if ((word_load_in_order(&export->guests[i]) & ~own) != 0)
			return true;
	}
	return false;
}

static void describe(struct segment_export *export, uint64_t identity, uint64_t units,
	const struct segment_name *name)
{
	word_store(&export->identity, identity);
	word_store(&export->units, units);
	for (unsigned i = 0; i < SEGMENT_NAME_WORDS; i++)
		word_store(&export->name[i], name->words[i]);
}

struct segment_export_id segment_exports_add(struct segment_export *exports, unsigned slot,
	uint64_t identity, uint64_t units, const struct segment_name *name)
{
	for (unsigned i = 0; i < SEGMENT_EXPORTS; i++) {
		uint64_t state = word_load(&exports[i].state);
		uint64_t generation = generation_of(state) + 1;
		if (status_of(state) != UNUSED ||
			!word_swap(&exports[i].state, state, make_state(generation, slot, CLAIMED)))
			continue;
		describe(&exports[i], identity, units, name);
		word_store(&exports[i].state, make_state(generation, slot, HELD));
		return (struct segment_export_id){i + 1, generation};
	}
	return (struct segment_export_id){0};
}

static bool is_named(
	const struct segment_export *export, uint64_t identity, const struct segment_name *name)
{
	if (word_load(&export->identity) != identity)
		return false;
	for (unsigned i = 0; i < SEGMENT_NAME_WORDS; i++) {
		if (word_load(&export->name[i]) != name->words[i])
			return false;
	}
	return true;
}

/* What was read in between belongs to the generation that is returned: it is read again after. */
struct segment_export_id segment_exports_find(const struct segment_export *exports,
	uint64_t identity, const struct segment_name *name, unsigned *ret_payer,
	uint64_t *ret_units)
{
	for (unsigned i = 0; i < SEGMENT_EXPORTS; i++) {
		uint64_t state = word_load(&exports[i].state);
		if (!is_open(state) || !is_named(&exports[i], identity, name))
			continue;
		*ret_units = word_load(&exports[i].units);
		if (generation_of(word_load(&exports[i].state)) != generation_of(state))
			continue;
		*ret_payer = payer_of(state);
		return (struct segment_export_id){i + 1, generation_of(state)};
	}
	return (struct segment_export_id){0};
}

bool segment_exports_enter(
	struct segment_export *exports, unsigned slot, struct segment_export_id id)
{
	struct segment_export *export = &exports[id.number - 1];

	set_guest(export, slot, true);
	uint64_t state = word_load_in_order(&export->state); /* pairs with has_guests() */
	if (is_open(state) && generation_of(state) == id.generation)
		return true;
	set_guest(export, slot, false);
	return false;
}

void segment_exports_leave(
	struct segment_export *exports, unsigned slot, struct segment_export_id id)
{
	set_guest(&exports[id.number - 1], slot, false);
}

/* The payer, or its reaper: `state` stands there and is the payer's to change. True where it has
 * ended; otherwise it has become `otherwise`. */
static bool look_for_guests(
	struct segment_export *export, unsigned slot, uint64_t state, enum status otherwise)
{
	uint64_t generation = generation_of(state);
	uint64_t ending = make_state(generation, slot, ENDING);

	if (!word_swap(&export->state, state, ending))
		return false;
	bool is_over = !has_guests(export, slot);
	word_store(&export->state, make_state(generation, slot, is_over ? UNUSED : otherwise));
	return is_over;
}

bool segment_exports_end(struct segment_export *exports, unsigned slot, struct segment_export_id id)
{
	struct segment_export *export = &exports[id.number - 1];
	uint64_t state = word_load(&export->state);

	/* Otherwise somebody has spoilt it. */
	if (generation_of(state) != id.generation || payer_of(state) != slot)
		return true;
	return look_for_guests(export, slot, state, LEFT);
}

bool segment_exports_has_guests(
	const struct segment_export *exports, unsigned slot, struct segment_export_id id)
{
	return has_guests(&exports[id.number - 1], slot);
}

bool segment_exports_is_orphan(const struct segment_export *exports, struct segment_export_id id)
{
	uint64_t state = word_load(&exports[id.number - 1].state);

	return status_of(state) == ORPHAN && generation_of(state) == id.generation;
}

bool segment_exports_adopt(
	struct segment_export *exports, unsigned slot, struct segment_export_id id)
{
	struct segment_export *export = &exports[id.number - 1];
	uint64_t state = word_load(&export->state);

	if (status_of(state) != ORPHAN || generation_of(state) != id.generation ||
		!word_swap(&export->state, state, make_state(id.generation, slot, HELD)))
		return false;
	/* It is not its own guest, nor that of the next generation. */
	set_guest(export, slot, false);
	return true;
}

static void reap(struct segment_export *export, unsigned slot)
{
	uint64_t state = word_load(&export->state);

	set_guest(export, slot, false);
	if (payer_of(state) != slot || status_of(state) == UNUSED)
		return;
	if (status_of(state) == CLAIMED)
		word_store(&export->state, make_state(generation_of(state), slot, UNUSED));
	else
		(void)look_for_guests(export, slot, state, ORPHAN);
}

void segment_exports_reap(struct segment_export *exports, unsigned slot)
{
	for (unsigned i = 0; i < SEGMENT_EXPORTS; i++)
		reap(&exports[i], slot);
}

uint64_t segment_exports_kept(
	const struct segment_export *exports, unsigned slot, uint64_t identity)
{
	uint64_t kept = 0;

	for (unsigned i = 0; i < SEGMENT_EXPORTS; i++) {
		uint64_t state = word_load(&exports[i].state);
		if (payer_of(state) != slot || status_of(state) == UNUSED ||
			word_load(&exports[i].identity) != identity)
			continue;
		uint64_t units = word_load(&exports[i].units);
		kept = units > UINT64_MAX - kept ? UINT64_MAX : kept + units;
	}
	return kept;
}
