/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Slots: how a process takes one, how others learn that it has died, and how they reap it.
 *
 * A process that has a slot holds a write lock on the byte of the slot's number, by the open file
 * description that its mapping of the segment was made from. The descriptor is closed at once; the
 * mapping keeps the description, and with it the lock, until the process dies or executes another
 * program. Nothing that a program does to its descriptors loses it, and a forked child does not
 * inherit it, for the mapping does not pass to children.
 */
#ifndef CUSLICE_GROUP_SEGMENT_SEAT_H
#define CUSLICE_GROUP_SEGMENT_SEAT_H

#include "base/compiler.h"
#include "group/segment_file.h"

#include <stdbool.h>

struct segment_seat {
	struct segment *segment;
	struct segment_file_id file;
	unsigned slot;
};

/* Opens or makes the segment at `path`, takes a free slot, reaps what that held before and what
 * other members left that have died. With 256 living members there is none to be had.
 * ret_reason  static text; set where false is returned
 * Threads: any, also of other processes; but see segment_patrol.c about forks meanwhile.
 */
bool segment_seat_take(
	const char *path, struct segment_seat *ret_seat, const char **ret_reason) MUST_CHECK;

/* Reaps all members that have died. `fd` is the file, opened apart (segment_file_reopen()).
 * Threads: any. */
void segment_seat_reap_dead(const struct segment_seat *seat, int fd);

#endif
