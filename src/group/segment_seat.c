/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "group/segment_seat.h"
#include "base/clock.h"
#include "group/segment_protocol.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

/* Slots may all be locked for a moment by somebody who looks whether the file is still used. */
#define ATTEMPTS     50
#define TRY_AGAIN_NS NS_PER_MS

/* Reasons that may have passed a moment later. */
static const char all_taken[] = "all of its 256 slots are taken by living processes";
static const char is_removed[] = "others keep removing it";

/* With the slot's lock held. */
static void reap_device(struct segment_device *device, unsigned slot)
{
	bool is_known = segment_held(device, slot) > 0;

	/* Before the bytes come back, so that whoever gets them knows. */
	if (is_known)
		word_store(&device->reaped_at_ns, clock_now_ns());
	if (segment_reap(device, slot) > 0 && !is_known)
		word_store(&device->reaped_at_ns, clock_now_ns());
}

/* With the slot's lock held. The owner goes last: a reaper that dies leaves it to the next. */
static void reap_slot(struct segment *segment, unsigned slot)
{
	for (unsigned i = 0; i < SEGMENT_DEVICES; i++) {
		if (word_load(&segment->devices[i].identity) != 0)
			reap_device(&segment->devices[i], slot);
	}
	word_store(&segment->owners[slot], 0);
}

void segment_seat_reap_dead(const struct segment_seat *seat, int fd)
{
	struct segment *segment = seat->segment;

	for (unsigned i = 0; i < SEGMENT_SLOTS; i++) {
		if (i == seat->slot || word_load(&segment->owners[i]) == 0 ||
			!segment_file_is_free(fd, i) || !segment_file_lock(fd, i))
			continue;
		/* Another may have reaped it, and it may even have had an owner again, before we
		 * had the lock: then there is nothing left, or a dead one's after all. */
		if (word_load(&segment->owners[i]) != 0)
			reap_slot(segment, i);
		segment_file_unlock(fd, i);
	}
}

/* SEGMENT_SLOTS where none is free. */
static unsigned lock_free_slot(int fd)
{
	unsigned slot = 0;

	while (slot < SEGMENT_SLOTS && !segment_file_lock(fd, slot))
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
	struct segment_seat seat = {.slot = lock_free_slot(fd)};

	if (seat.slot == SEGMENT_SLOTS)
		return all_taken;
	if (segment_file_identify(fd, &seat.file))
		seat.segment = segment_file_map(fd, &segment_kind_group, true);
	if (seat.segment == NULL)
		return "no memory to map it in";
	if (word_load(&seat.segment->owners[seat.slot]) != 0)
		reap_slot(seat.segment, seat.slot);
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
