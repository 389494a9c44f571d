/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What the helper thread (helper.h) does for a group: it takes the slot, and from then on sees now
 * and then whether another member has died, and reaps it. So the bytes of a killed process come
 * back though nobody allocates.
 */
#ifndef CUSLICE_GROUP_SEGMENT_PATROL_H
#define CUSLICE_GROUP_SEGMENT_PATROL_H

#include "group/segment_seat.h"

/* As segment_seat_take(), by the thread. Where the C library of the program has
 * no threads, it does it by itself; then nobody patrols here, and segment_patrol_if_late() is all.
 * `path` stays as it is from now on.
 * Once in a process. Threads: one caller at a time. Waits for the thread to have a slot.
 */
bool segment_patrol_start(
	const char *path, struct segment_seat *ret_seat, const char **ret_reason) MUST_CHECK;

/* Looks after the members now, if none has done it for long. */
void segment_patrol_if_late(const char *path, const struct segment_seat *seat);

#endif
