/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What the words of segment_exports.c mean to one member. Its own threads take turns: a lock in its
 * own memory, which is wiped at fork.
 */
#include "group/segment_common.h"
#include "base/lock.h"
#include "base/wipe.h"
#include "group/segment.h"
#include "group/segment_member.h"

enum role {
	NOTHING,
	EXPORTER, /* pays, as whoever called segment_export() has charged it */
	GUEST,    /* another member pays */
	HEIR,     /* was a guest, and pays since the payer has died */
	LEAVER,   /* holds it no more, and pays for others */
};

/* All of the group's entries, by number - 1. */
struct record {
	struct segment_export_id id;
	uint64_t units;
	unsigned device;
	unsigned count; /* of segment_join() */
	enum role role;
};

static struct common {
	struct lock lock;
	_Atomic unsigned used; /* records that are something */
	_Atomic uint64_t units[SEGMENT_DEVICES];
	_Atomic uint64_t let_gos[SEGMENT_DEVICES];
	uint64_t doubled[SEGMENT_DEVICES]; /* units that a dead one pays for as well */
	struct record records[SEGMENT_EXPORTS];
} * common;

bool segment_common_init(void)
{
	if (common == NULL)
		common = wipe_alloc(sizeof(*common));
	return common != NULL;
}

static void begin(const struct record *record)
{
	common->records[record->id.number - 1] = *record;
	atomic_fetch_add_explicit(&common->used, 1, memory_order_relaxed);
}

static void end(struct record *record)
{
	record->role = NOTHING;
	atomic_fetch_sub_explicit(&common->used, 1, memory_order_relaxed);
}

static void more_in_common(const struct record *record)
{
	atomic_fetch_add_explicit(
		&common->units[record->device], record->units, memory_order_relaxed);
}

/* release: who reads less also reads that something was let go. */
static void less_in_common(const struct record *record)
{
	atomic_fetch_add_explicit(&common->let_gos[record->device], 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(
		&common->units[record->device], record->units, memory_order_release);
}

uint64_t segment_in_common(unsigned device)
{
	return atomic_load_explicit(&common->units[device], memory_order_acquire);
}

uint64_t segment_common_let_gos(unsigned device)
{
	return atomic_load_explicit(&common->let_gos[device], memory_order_acquire);
}

static unsigned export_locked(unsigned device, uint64_t units, const struct segment_name *name,
	struct segment_place *place)
{
	struct record record = {.units = units, .device = device, .role = EXPORTER};

	record.id = segment_exports_add(place->segment->exports, place->slot,
		word_load(&place->device->identity), units, name);
	if (record.id.number != 0)
		begin(&record);
	return record.id.number;
}

unsigned segment_export(unsigned device, uint64_t units, const struct segment_name *name)
{
	struct segment_place place;
	unsigned number = 0;

	if (!segment_own_place(device, &place))
		return 0;
	lock_take(&common->lock);
	number = export_locked(device, units, name, &place);
	lock_drop(&common->lock);
	return number;
}

/* False also for what it has handed out itself: only the driver knows whether that is a second
 * hold of it. */
static bool join_again(struct record *record, struct segment_export_id id)
{
	if ((record->role != GUEST && record->role != HEIR) ||
		record->id.generation != id.generation)
		return false;
	record->count++;
	return true;
}

static unsigned join_locked(unsigned device, const struct segment_name *name,
	struct segment_place *place, uint64_t *ret_units)
{
	struct record record = {.device = device, .count = 1, .role = GUEST};
	struct segment_export *exports = place->segment->exports;
	unsigned payer = 0;

	record.id = segment_exports_find(
		exports, word_load(&place->device->identity), name, &payer, &record.units);
	*ret_units = record.units;
	if (record.id.number == 0)
		return 0;
	if (join_again(&common->records[record.id.number - 1], record.id))
		return record.id.number;
	if (payer == place->slot || !segment_exports_enter(exports, place->slot, record.id))
		return 0;
	begin(&record);
	more_in_common(&record);
	return record.id.number;
}

unsigned segment_join(unsigned device, const struct segment_name *name, uint64_t *ret_units)
{
	struct segment_place place;

	if (!segment_own_place(device, &place))
		return 0;
	lock_take(&common->lock);
	unsigned number = join_locked(device, name, &place, ret_units);
	lock_drop(&common->lock);
	return number;
}

/* One that pays holds it no more. */
static void end_or_pay_on(struct record *record, const struct segment_place *place)
{
	bool is_over = segment_exports_end(place->segment->exports, place->slot, record->id);

	if (is_over) {
		segment_give(record->device, record->units);
		end(record);
	} else {
		record->role = LEAVER;
	}
}

static void let_go_locked(struct record *record, const struct segment_place *place)
{
	switch (record->role) {
	case EXPORTER:
		end_or_pay_on(record, place);
		break;
	case GUEST:
		if (--record->count > 0)
			break;
		less_in_common(record);
		segment_exports_leave(place->segment->exports, place->slot, record->id);
		end(record);
		break;
	case HEIR:
		if (--record->count == 0)
			end_or_pay_on(record, place);
		break;
	case LEAVER:
	case NOTHING:
		break;
	}
}

void segment_let_go(unsigned number)
{
	struct record *record = &common->records[number - 1];
	struct segment_place place;

	lock_take(&common->lock);
	/* A child has nothing, and its parent's numbers mean nothing to it. */
	if (record->role != NOTHING && segment_own_place(record->device, &place))
		let_go_locked(record, &place);
	lock_drop(&common->lock);
}

/* The units first: whatever this is cut short at, somebody pays. */
static bool take_over(struct record *record, const struct segment_place *place)
{
	if (!segment_exports_is_orphan(place->segment->exports, record->id))
		return false;
	segment_add_in_flight(record->device, record->units);
	common->doubled[record->device] += record->units;
	if (!segment_take_anyway(record->device, record->units))
		return true;
	if (segment_exports_adopt(place->segment->exports, place->slot, record->id)) {
		record->role = HEIR;
		less_in_common(record);
	} else {
		segment_give(record->device, record->units);
	}
	return true;
}

static bool tend(struct record *record)
{
	struct segment_place place;

	if ((record->role != GUEST && record->role != LEAVER) ||
		!segment_own_place(record->device, &place))
		return false;
	if (record->role == GUEST)
		return take_over(record, &place);
	if (!segment_exports_has_guests(place.segment->exports, place.slot, record->id))
		end_or_pay_on(record, &place);
	return false;
}

bool segment_common_tend(void)
{
	bool has_taken_over = false;

	if (common == NULL || atomic_load_explicit(&common->used, memory_order_relaxed) == 0)
		return false;
	lock_take(&common->lock);
	for (unsigned i = 0; i < SEGMENT_EXPORTS; i++)
		has_taken_over |= tend(&common->records[i]);
	lock_drop(&common->lock);
	return has_taken_over;
}

void segment_common_reaped(void)
{
	lock_take(&common->lock);
	for (unsigned i = 0; i < SEGMENT_DEVICES; i++) {
		if (common->doubled[i] != 0)
			segment_end_in_flight(i, common->doubled[i]);
		common->doubled[i] = 0;
	}
	lock_drop(&common->lock);
}
