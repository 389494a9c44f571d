/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "group/segment.h"
#include "base/cancel.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/units.h"
#include "base/wipe.h"
#include "group/segment_common.h"
#include "group/segment_member.h"
#include "group/segment_patrol.h"
#include "group/segment_protocol.h"
#include "group/segment_share.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define MAX_PATH  4096
#define EXPECT_NS (200 * NS_PER_MS)

_Static_assert(SEGMENT_NO_LIMIT == SEGMENT_MAX_UNITS, "no limit is all");

/* Wiped at fork, for a slot is a process's own: a child becomes a member by itself. */
static struct member {
	struct lock lock; /* while it becomes one */
	atomic_bool is_in;
	struct segment_seat seat;
	struct {
		struct lock lock; /* one operation of a slot at a time; never shared */
		struct segment_device *shared;
		_Atomic uint64_t gives; /* changed with the lock held */
	} __attribute__((aligned(64))) devices[SEGMENT_DEVICES];
} * member;

/* What passes to children. */
atomic_bool segment_has_attached;
static char path[MAX_PATH];
static segment_word identities[SEGMENT_DEVICES]; /* by the driver's number; 0: not named */
static segment_word limits[SEGMENT_DEVICES];     /* units + 1 that we allow; 0: no limit */
static segment_word shares[SEGMENT_DEVICES];     /* ppm that we allow; 0: no limit */
static atomic_flag has_told_damage = ATOMIC_FLAG_INIT;

uint64_t segment_identity(const unsigned char uuid[16])
{
	uint64_t hash = 0xcbf29ce484222325ull; /* FNV-1a */

	for (unsigned i = 0; i < 16; i++)
		hash = (hash ^ uuid[i]) * 0x100000001b3ull;
	return hash != 0 ? hash : 1;
}

/* The group's device of this identity, made where there is none; NULL where 64 others are. Where
 * several processes come with a new device at a time, each place is claimed by one swap, and all
 * look at the places in the same order. */
static struct segment_device *find_device(struct segment *segment, uint64_t identity)
{
	for (unsigned i = 0; i < SEGMENT_DEVICES; i++) {
		struct segment_device *device = &segment->devices[i];
		if (word_load(&device->identity) == identity ||
			word_swap(&device->identity, 0, identity) ||
			word_load(&device->identity) == identity)
			return device;
	}
	return NULL;
}

/* Names the device to this member, and says there what limit we have. */
static bool enter_device(unsigned device, uint64_t identity)
{
	struct segment_device *shared = find_device(member->seat.segment, identity);
	uint64_t limit = word_load(&limits[device]), share = word_load(&shares[device]);

	if (shared == NULL)
		return false;
	if (limit != 0)
		segment_set_limit(shared, member->seat.slot, limit - 1);
	if (share != 0)
		segment_set_share(shared, member->seat.slot, (uint32_t)share);
	member->devices[device].shared = shared;
	return true;
}

/* With the member's lock held. */
static const char *become_member(void)
{
	const char *reason = NULL;

	if (!segment_patrol_start(path, &member->seat, &reason))
		return reason;
	for (unsigned i = 0; i < SEGMENT_DEVICES; i++) {
		uint64_t identity = word_load(&identities[i]);
		if (identity != 0)
			(void)enter_device(i, identity);
	}
	/* release: pairs with the acquire in is_in() */
	atomic_store_explicit(&member->is_in, true, memory_order_release);
	return NULL;
}

static bool is_in(void)
{
	return atomic_load_explicit(&member->is_in, memory_order_acquire);
}

static const char *join(void)
{
	const char *reason = NULL;
	/* A thread that is cancelled at open() must not leave the lock taken. */
	int cancel_state = cancel_hold();

	lock_take(&member->lock);
	if (!is_in())
		reason = become_member();
	lock_drop(&member->lock);
	cancel_restore(cancel_state);
	return reason;
}

/* In a forked child the first call makes it a member. Where it cannot be one it gets nothing. */
static COLD bool join_again(void)
{
	const char *reason = join();

	if (reason != NULL)
		log_at(LOG_ERROR, "group", "%s: %s; no more memory for this process", path, reason);
	return reason == NULL;
}

static struct segment_device *shared_of(unsigned device)
{
	if (unlikely(!is_in()) && !join_again())
		return NULL;
	return member->devices[device].shared;
}

bool segment_own_place(unsigned device, struct segment_place *ret_place)
{
	struct segment_device *shared = shared_of(device);

	if (shared == NULL)
		return false;
	*ret_place = (struct segment_place){member->seat.segment, shared, member->seat.slot};
	return true;
}

bool segment_attach(const char *name, const char **ret_reason)
{
	size_t length = strlen(name);

	if (segment_is_used() && strcmp(name, path) != 0) {
		*ret_reason = "this process is a member of another group";
		return false;
	}
	if (length >= sizeof(path)) {
		*ret_reason = "its name is too long";
		return false;
	}
	if (member == NULL)
		member = wipe_alloc(sizeof(*member));
	if (member == NULL || !segment_common_init()) {
		*ret_reason = "no memory for what a member keeps";
		return false;
	}
	memcpy(path, name, length + 1);
	const char *reason = join();
	if (reason != NULL)
		*ret_reason = reason;
	else
		atomic_store_explicit(&segment_has_attached, true, memory_order_release);
	return reason == NULL;
}

bool segment_name_device(unsigned device, const unsigned char uuid[16], const char **ret_reason)
{
	uint64_t identity = segment_identity(uuid);

	if (!is_in() && !join_again()) {
		*ret_reason = "this process is no member of its group";
		return false;
	}
	if (!enter_device(device, identity)) {
		*ret_reason = "the group has 64 other devices";
		return false;
	}
	word_store(&identities[device], identity);
	return true;
}

/* Once: a program that goes on asking must not drown in messages. */
static COLD void tell_damage(unsigned device)
{
	if (!atomic_flag_test_and_set(&has_told_damage))
		log_at(LOG_ERROR, "group",
			"%s is damaged, GPU %u: nobody gets more memory until all processes of the "
			"group have ended and the file has been removed",
			path, device);
}

static bool is_done(
	unsigned device, const struct segment_device *shared, enum segment_answer answer)
{
	if (unlikely(answer != SEGMENT_DONE && word_load(&shared->is_damaged) != 0))
		tell_damage(device);
	return answer == SEGMENT_DONE;
}

static bool grow(unsigned device, uint64_t units, bool is_limited)
{
	struct segment_device *shared = shared_of(device);

	if (shared == NULL)
		return false;
	lock_take(&member->devices[device].lock);
	uint64_t limit = is_limited ? segment_quota(shared) : SEGMENT_MAX_UNITS;
	enum segment_answer answer = segment_grow(shared, member->seat.slot, units, limit);
	lock_drop(&member->devices[device].lock);
	return is_done(device, shared, answer);
}

bool segment_take(unsigned device, uint64_t units)
{
	return grow(device, units, true);
}

bool segment_take_anyway(unsigned device, uint64_t units)
{
	return grow(device, units, false);
}

static void change_in_flight(struct segment_device *shared, uint64_t units)
{
	atomic_fetch_add_explicit(
		&shared->accounts[member->seat.slot].in_flight, units, memory_order_relaxed);
}

/* Told first, so that nobody is refused for units that may come back and that it could not know
 * of. */
static enum segment_answer grow_in_flight(
	struct segment_device *shared, uint64_t units, uint64_t limit)
{
	change_in_flight(shared, units);
	enum segment_answer answer = segment_grow(shared, member->seat.slot, units, limit);
	if (unlikely(answer != SEGMENT_DONE))
		change_in_flight(shared, -units);
	return answer;
}

bool segment_take_in_flight(unsigned device, uint64_t old, uint64_t units)
{
	struct segment_device *shared = shared_of(device);

	if (shared == NULL)
		return false;
	uint64_t limit = segment_quota(shared), used = segment_total(shared);
	/* What has no room needs no lock, and what will not be asked for is not told. */
	if (unlikely(units > limit || used > limit || units - old > limit - used))
		return is_done(device, shared, SEGMENT_FULL);
	lock_take(&member->devices[device].lock);
	enum segment_answer answer = grow_in_flight(shared, units - old, limit);
	lock_drop(&member->devices[device].lock);
	return is_done(device, shared, answer);
}

void segment_give(unsigned device, uint64_t units)
{
	struct segment_device *shared = shared_of(device);

	if (shared == NULL)
		return;
	lock_take(&member->devices[device].lock);
	_Atomic uint64_t *gives = &member->devices[device].gives;
	/* Before the units go: who reads less of them also reads more of this. */
	atomic_store_explicit(
		gives, atomic_load_explicit(gives, memory_order_relaxed) + 1, memory_order_relaxed);
	enum segment_answer answer = segment_lessen(shared, member->seat.slot, units);
	lock_drop(&member->devices[device].lock);
	(void)is_done(device, shared, answer);
}

uint64_t segment_used(unsigned device)
{
	const struct segment_device *shared = shared_of(device);

	return shared == NULL ? 0 : segment_total(shared);
}

uint64_t segment_moment(unsigned device)
{
	const struct segment_device *shared = shared_of(device);

	return shared == NULL ? 0 : word_load(&shared->word);
}

uint64_t segment_used_here(unsigned device)
{
	const struct segment_device *shared = shared_of(device);

	return shared == NULL ? 0 : segment_held_now(shared, member->seat.slot);
}

uint64_t segment_gives_here(unsigned device)
{
	return atomic_load_explicit(&member->devices[device].gives, memory_order_acquire);
}

uint64_t segment_limit(unsigned device)
{
	const struct segment_device *shared = shared_of(device);

	return shared == NULL ? 0 : segment_quota(shared);
}

void segment_allow(unsigned device, uint64_t units)
{
	struct segment_device *shared = shared_of(device);
	uint64_t limit = units < SEGMENT_MAX_UNITS ? units + 1 : 0;

	if (shared == NULL)
		return;
	lock_take(&member->devices[device].lock);
	if (word_load(&limits[device]) != limit) {
		word_store(&limits[device], limit);
		segment_set_limit(shared, member->seat.slot, units);
	}
	lock_drop(&member->devices[device].lock);
}

void segment_allow_share(unsigned device, uint32_t ppm)
{
	struct segment_device *shared = shared_of(device);
	uint64_t share = ppm < PPM_WHOLE ? ppm : 0;

	if (shared == NULL)
		return;
	lock_take(&member->devices[device].lock);
	if (word_load(&shares[device]) != share) {
		word_store(&shares[device], share);
		segment_set_share(shared, member->seat.slot, ppm);
	}
	lock_drop(&member->devices[device].lock);
}

uint32_t segment_share(unsigned device)
{
	const struct segment_device *shared = shared_of(device);

	return shared == NULL ? PPM_WHOLE : segment_least_share(shared);
}

segment_word *segment_bucket(unsigned device)
{
	struct segment_device *shared = shared_of(device);

	return shared == NULL ? NULL : shared->bucket;
}

segment_word *segment_line(unsigned device)
{
	struct segment_device *shared = shared_of(device);

	return shared == NULL ? NULL : &shared->line;
}

void segment_note_in_flight_ns(unsigned device, uint64_t unbilled_ns, uint64_t drained_at_ns)
{
	struct segment_device *shared = shared_of(device);

	if (shared != NULL)
		segment_note_flights(shared, member->seat.slot, unbilled_ns, drained_at_ns);
}

uint64_t segment_unbilled_ns(unsigned device)
{
	const struct segment_device *shared = shared_of(device);

	return shared == NULL ? 0
			      : segment_sum_unbilled(shared, member->seat.slot,
					word_load(&member->seat.segment->slots_used));
}

void segment_add_in_flight(unsigned device, uint64_t units)
{
	struct segment_device *shared = shared_of(device);

	if (shared != NULL)
		change_in_flight(shared, units);
}

void segment_end_in_flight(unsigned device, uint64_t units)
{
	struct segment_device *shared = shared_of(device);

	if (shared != NULL)
		change_in_flight(shared, -units);
}

uint64_t segment_in_flight(unsigned device)
{
	const struct segment_device *shared = shared_of(device);

	return shared == NULL ? 0
			      : segment_sum_in_flight(
					shared, word_load(&member->seat.segment->slots_used));
}

uint64_t segment_in_flight_here(unsigned device)
{
	const struct segment_device *shared = shared_of(device);

	return shared == NULL ? 0 : word_load(&shared->accounts[member->seat.slot].in_flight);
}

bool segment_expects_memory(unsigned device)
{
	const struct segment_device *shared = shared_of(device);

	if (shared == NULL)
		return false;
	uint64_t reaped_at_ns = word_load(&shared->reaped_at_ns);
	return reaped_at_ns != 0 && clock_now_ns() - reaped_at_ns < EXPECT_NS;
}

void segment_look_after(void)
{
	if (!is_in())
		return;
	bool has_taken_over = segment_common_tend();
	segment_patrol_if_late(path, &member->seat);
	if (has_taken_over)
		segment_common_reaped();
}

static void view_devices(const struct segment *segment, struct segment_view *view)
{
	for (unsigned i = 0; i < SEGMENT_DEVICES; i++) {
		const struct segment_device *device = &segment->devices[i];
		uint64_t identity = word_load(&device->identity);
		if (identity == 0)
			return;
		uint64_t quota = segment_quota(device);
		view->devices[view->device_count].identity = identity;
		view->devices[view->device_count].used_bytes = segment_total(device) * SEGMENT_UNIT;
		view->devices[view->device_count].quota_bytes =
			quota == SEGMENT_MAX_UNITS ? UINT64_MAX : quota * SEGMENT_UNIT;
		view->devices[view->device_count].share_ppm = segment_least_share(device);
		view->device_count++;
	}
}

bool segment_peek(const char *name, struct segment_view *ret_view, const char **ret_reason)
{
	struct segment_view view = {0};
	int fd;

	if (!segment_file_peek(name, &segment_kind_group, &fd, ret_reason))
		return false;
	struct segment *segment = segment_file_map(fd, &segment_kind_group, false);
	for (unsigned i = 0; segment != NULL && i < SEGMENT_SLOTS; i++) {
		if (word_load(&segment->owners[i]) != 0 && !segment_file_is_free(fd, i))
			view.member_count++;
	}
	int saved_errno = errno;
	close(fd);
	errno = saved_errno;
	if (segment == NULL) {
		*ret_reason = "no memory to map it in";
		return false;
	}
	view_devices(segment, &view);
	pages_free(segment, sizeof(*segment));
	*ret_view = view;
	return true;
}
