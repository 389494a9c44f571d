/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "group/segment_seat.h"
#include "base/clock.h"
#include "group/segment_exports.h"
#include "group/segment_protocol.h"
#include "group/segment_share.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

/* Slots may all be locked for a moment by somebody who looks whether the file is still used. */
#define ATTEMPTS     50
#define TRY_AGAIN_NS NS_PER_MS

/* Reasons that may have passed a moment later. */
static const char all_taken[] = "all of its 256 slots are taken";
static const char is_removed[] = "others keep removing it";

/* With the slot's lock held. */
static void reap_device(struct segment_device *device, unsigned slot, uint64_t kept)
{
	bool is_known = segment_held(device, slot) > kept;

	/* Before the bytes come back, so that whoever gets them knows. */
	if (is_known)
		word_store(&device->reaped_at_ns, clock_now_ns());
	if (segment_reap(device, slot, kept) > 0 && !is_known)
		word_store(&device->reaped_at_ns, clock_now_ns());
	segment_settle_flights(device, slot, clock_now_ns());
	segment_reap_share(device, slot);
}

/* With the slot's lock held. The owner goes last: a reaper that dies leaves it to the next. So does
 * what others hold that the dead one paid for, until one of them pays, or nobody holds it. True
 * where nothing is left. */
static bool reap_slot(struct segment *segment, unsigned slot)
{
	uint64_t kept_in_all = 0;

	segment_exports_reap(segment->exports, slot);
	for (unsigned i = 0; i < SEGMENT_DEVICES; i++) {
		struct segment_device *device = &segment->devices[i];
		uint64_t identity = word_load(&device->identity);
		if (identity == 0)
			continue;
		uint64_t kept = segment_exports_kept(segment->exports, slot, identity);
		reap_device(device, slot, kept);
		kept_in_all |= kept;
	}
	if (kept_in_all == 0)
		word_store(&segment->owners[slot], 0);
	return kept_in_all == 0;
}

/* True where nothing is left of any. */
static bool reap_all(const struct segment_seat *seat, int fd)
{
	struct segment *segment = seat->segment;
	bool is_all = true;

	for (unsigned i = 0; i < SEGMENT_SLOTS; i++) {
		if (i == seat->slot || word_load(&segment->owners[i]) == 0 ||
			!segment_file_is_free(fd, i) || !segment_file_lock(fd, i))
			continue;
		/* Another may have reaped it, and it may even have had an owner again, before we
		 * had the lock: then there is nothing left, or a dead one's after all. */
		if (word_load(&segment->owners[i]) != 0)
			is_all &= reap_slot(segment, i);
		segment_file_unlock(fd, i);
	}
	return is_all;
}

void segment_seat_reap_dead(const struct segment_seat *seat, int fd)
{
	/* Once more, for what was kept for others that turned out to be dead as well. */
	if (!reap_all(seat, fd))
		(void)reap_all(seat, fd);
}

/* Not one of a dead process that has to be kept. */
static bool lock_if_free(int fd, struct segment *segment, unsigned slot)
{
	if (!segment_file_lock(fd, slot))
		return false;
	if (word_load(&segment->owners[slot]) == 0 || reap_slot(segment, slot))
		return true;
	segment_file_unlock(fd, slot);
	return false;
}

/* SEGMENT_SLOTS where none is free. */
static unsigned lock_free_slot(int fd, struct segment *segment)
{
	unsigned slot = 0;

	while (slot < SEGMENT_SLOTS && !lock_if_free(fd, segment, slot))
		slot++;
	return slot;
}

/* Slots are taken from the first on, so that few are ever looked at in a small group. */
static void note_used(struct segment *segment, unsigned slot)
{
	uint64_t used = word_load(&segment->slots_used);

	while (used <= slot && !word_swap(&segment->slots_used, used, slot + 1))
		used = word_load(&segment->slots_used);
}

/* Takes a slot of the file that is open. NULL or a reason. */
static const char *take_slot(int fd, struct segment_seat *ret_seat)
{
	struct segment_seat seat = {0};

	if (segment_file_identify(fd, &seat.file))
		seat.segment = segment_file_map(fd, &segment_kind_group, true);
	if (seat.segment == NULL)
		return "no memory to map it in";
	seat.slot = lock_free_slot(fd, seat.segment);
	if (seat.slot == SEGMENT_SLOTS) {
		munmap(seat.segment, sizeof(struct segment));
		return all_taken;
	}
	note_used(seat.segment, seat.slot);
	word_store(&seat.segment->owners[seat.slot], (uint64_t)getpid());
	*ret_seat = seat;
	return NULL;
}

/* Whoever removes an unused segment holds the locks of all its slots meanwhile. So one that has its
 * name after we have a slot keeps it. */
static const char *try_take(const char *path, struct segment_seat *ret_seat)
{
	const char *reason;
	int fd;

	if (!segment_file_open(path, &segment_kind_group, &fd, &reason))
		return reason;
	reason = take_slot(fd, ret_seat);
	close(fd);
	if (reason != NULL || segment_file_is(path, &ret_seat->file))
		return reason;
	munmap(ret_seat->segment, sizeof(struct segment));
	return is_removed;
}

bool segment_seat_take(const char *path, struct segment_seat *ret_seat, const char **ret_reason)
{
	int saved_errno = errno;
	struct segment_seat seat;
	const char *reason = try_take(path, &seat);
	int fd;

	for (int i = 1; (reason == all_taken || reason == is_removed) && i < ATTEMPTS; i++) {
		clock_sleep_ns(TRY_AGAIN_NS);
		reason = try_take(path, &seat);
	}
	if (reason == NULL && segment_file_reopen(path, &seat.file, &fd)) {
		segment_seat_reap_dead(&seat, fd);
		close(fd);
	}
	if (reason == NULL)
		*ret_seat = seat;
	else
		*ret_reason = reason;
	errno = saved_errno;
	return reason == NULL;
}
