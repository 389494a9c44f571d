/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "token/token_seat.h"
#include "base/clock.h"
#include "group/helper.h"
#include "token/token_protocol.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef F_OFD_SETLK
#define F_OFD_SETLK 37
#endif

/* Others are to run on within 20 ms after the death of one that had long work on the device. Alone
 * there is nothing to see. */
#define PERIOD_NS       (10 * NS_PER_MS)
#define LATELY_NS       (8 * NS_PER_MS)
#define PERIOD_ALONE_NS (100 * NS_PER_MS)

#define ATTEMPTS     50
#define TRY_AGAIN_NS NS_PER_MS

/* How long the file of a device that nobody uses stays: there are computers on which each start of
 * a container or a test brings a device of another name. */
#define YOUNGEST_S 60

const struct segment_kind token_kind = {
	.magic = {'c', 'u', 's', 'l', 'i', 'c', 'e', '\t'},
	.version = TOKEN_VERSION,
	.size = sizeof(struct token_segment),
	.slot_count = TOKEN_SLOTS,
	.device_count = 1,
};

static const char all_taken[] = "all of its 256 slots are taken by living processes";
static const char is_removed[] = "others keep removing it";

/* With the slot's lock held. The owner goes last: who dies meanwhile leaves it to the next. */
static void clear(struct token_segment *segment, unsigned slot)
{
	token_clear(segment, slot);
	word_store(&segment->owners[slot], 0);
}

/* A tenant without an owner is damage. */
static bool is_used(const struct token_segment *segment, unsigned slot)
{
	return word_load(&segment->owners[slot]) != 0 ||
	       word_load(&segment->slots[slot].group) != 0;
}

static void clear_dead(const struct token_place *place, int fd)
{
	struct token_segment *segment = place->segment;

	for (unsigned i = 0; i < TOKEN_SLOTS; i++) {
		if (i == place->slot || !is_used(segment, i) || !segment_file_is_free(fd, i) ||
			!segment_file_lock(fd, i))
			continue;
		if (is_used(segment, i))
			clear(segment, i);
		segment_file_unlock(fd, i);
	}
}

static bool has_others(const struct token_place *place)
{
	for (unsigned i = 0; i < TOKEN_SLOTS; i++) {
		if (i != place->slot && is_used(place->segment, i))
			return true;
	}
	return false;
}

static void note_used(struct token_segment *segment, unsigned slot)
{
	uint64_t used = word_load(&segment->slots_used);

	while (used <= slot && !word_swap(&segment->slots_used, used, slot + 1))
		used = word_load(&segment->slots_used);
}

/* One patrol in a period is enough for all. */
static uint64_t patrol(void *data)
{
	struct token_place *place = data;
	uint64_t at_ns = word_load(&place->segment->patrolled_at_ns), now_ns = clock_now_ns();
	int fd = place->fd;

	note_used(place->segment, place->slot);
	if (!has_others(place))
		return PERIOD_ALONE_NS;
	if (now_ns - at_ns < LATELY_NS ||
		!word_swap(&place->segment->patrolled_at_ns, at_ns, now_ns))
		return PERIOD_NS;
	if (fd < 0 && !segment_file_reopen(place->path, &place->file, &fd))
		return PERIOD_NS;
	clear_dead(place, fd);
	if (place->fd < 0)
		close(fd);
	return PERIOD_NS;
}

static const char *take_slot(int fd, struct token_place *place)
{
	for (place->slot = 0; place->slot < TOKEN_SLOTS; place->slot++) {
		if (segment_file_lock(fd, place->slot))
			break;
	}
	if (place->slot == TOKEN_SLOTS)
		return all_taken;
	if (segment_file_identify(fd, &place->file))
		place->segment = segment_file_map(fd, &token_kind, true);
	if (place->segment == NULL)
		return "no memory to map it in";
	clear(place->segment, place->slot);
	note_used(place->segment, place->slot);
	word_store(&place->segment->owners[place->slot], (uint64_t)getpid());
	return NULL;
}

static bool lock_all(int fd)
{
	struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(fd, F_OFD_SETLK, &all) == 0;
}

/* Takes the name from the file that is open, where nobody has a slot in it. */
static void remove_free(int folder, const char *name, int fd)
{
	struct segment_file_id id, named;
	int other;

	if (!lock_all(fd) || !segment_file_identify(fd, &id) ||
		(other = openat(folder, name, O_PATH | O_CLOEXEC | O_NOFOLLOW)) < 0)
		return;
	if (segment_file_identify(other, &named) && named.device == id.device &&
		named.inode == id.inode)
		(void)unlinkat(folder, name, 0);
	close(other);
}

/* A device's segment, of whatever version. */
static bool is_segment(int fd, struct segment_header *ret_header)
{
	return pread(fd, ret_header, sizeof(*ret_header), 0) == (ssize_t)sizeof(*ret_header) &&
	       memcmp(ret_header->magic, token_kind.magic, sizeof(ret_header->magic)) == 0;
}

static bool is_useless(int fd)
{
	struct segment_header header;
	struct stat info;

	return is_segment(fd, &header) && fstat(fd, &info) == 0 &&
	       (header.version != token_kind.version || header.size != token_kind.size ||
		       header.slot_count != token_kind.slot_count ||
		       header.device_count != token_kind.device_count ||
		       info.st_size != (off_t)token_kind.size);
}

/* What cannot be used though it is a device's segment, by another version or by damage, stays in
 * the way only as long as a process has a slot there. One that could be used was not to be had for
 * another reason, which may pass. */
static void remove_useless(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return;
	if (is_useless(fd))
		remove_free(AT_FDCWD, path, fd);
	close(fd);
}

/* Another may have been faster to put one there that can be used. */
static bool open_usable(const char *path, int *ret_fd, const char **ret_reason)
{
	if (segment_file_open(path, &token_kind, ret_fd, ret_reason))
		return true;
	remove_useless(path);
	return segment_file_open(path, &token_kind, ret_fd, ret_reason);
}

/* Whoever removes an unused segment holds the locks of all its slots meanwhile. So one that has its
 * name after we have a slot keeps it. */
static const char *try_take(const char *path, struct token_place *place)
{
	const char *reason;
	int fd;

	if (!open_usable(path, &fd, &reason))
		return reason;
	reason = take_slot(fd, place);
	close(fd);
	if (reason != NULL || segment_file_is(path, &place->file))
		return reason;
	munmap(place->segment, sizeof(*place->segment));
	place->segment = NULL;
	return is_removed;
}

/* In the directory of a group there may be files of others, of any name. */
static void remove_unused(int folder, const char *name)
{
	struct segment_header header;
	struct stat info;

	int fd = openat(folder, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return;
	if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) &&
		info.st_mtime + YOUNGEST_S <= time(NULL) && is_segment(fd, &header))
		remove_free(folder, name, fd);
	close(fd);
}

/* By the first user of a new device, of the files beside its own. */
static void clean_up(const struct token_place *place)
{
	char folder[4096];
	const char *slash = strrchr(place->path, '/');
	const struct dirent *entry;

	snprintf(folder, sizeof(folder), "%.*s", (int)(slash - place->path), place->path);
	DIR *dir = opendir(folder);
	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		if (strncmp(entry->d_name, "device-", 7) == 0 &&
			strcmp(entry->d_name, slash + 1) != 0)
			remove_unused(dirfd(dir), entry->d_name);
	}
	if (dir != NULL)
		closedir(dir);
}

struct order {
	const char *path, *reason;
	struct token_place *place;
	int attempts;
};

static void take(void *data)
{
	struct order *order = data;
	struct token_place place = {.path = order->path, .fd = -1};

	order->reason = try_take(order->path, &place);
	for (int i = 1;
		(order->reason == all_taken || order->reason == is_removed) && i < order->attempts;
		i++) {
		clock_sleep_ns(TRY_AGAIN_NS);
		order->reason = try_take(order->path, &place);
	}
	if (order->reason != NULL)
		return;
	if (helper_has_own_table() && !segment_file_reopen(order->path, &place.file, &place.fd))
		place.fd = -1;
	*order->place = place;
	if (word_load(&place.segment->patrolled_at_ns) == 0 &&
		word_swap(&place.segment->patrolled_at_ns, 0, clock_now_ns()))
		clean_up(&place);
	helper_watch(patrol, order->place);
}

bool token_place_take(
	const char *path, bool is_patient, struct token_place *ret_place, const char **ret_reason)
{
	struct order order = {
		.path = path, .place = ret_place, .attempts = is_patient ? ATTEMPTS : 2};

	helper_do(take, &order);
	if (order.reason != NULL)
		*ret_reason = order.reason;
	return order.reason == NULL;
}
