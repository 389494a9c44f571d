/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Where this member stands in its group's segment, for other files of this room.
 */
#ifndef CUSLICE_GROUP_SEGMENT_MEMBER_H
#define CUSLICE_GROUP_SEGMENT_MEMBER_H

#include "base/compiler.h"
#include "group/segment_layout.h"

#include <stdbool.h>

struct segment_place {
	struct segment *segment;
	struct segment_device *device;
	unsigned slot;
};

/* False where this process is no member, and cannot become one. Threads: any. */
bool segment_own_place(unsigned device, struct segment_place *ret_place) MUST_CHECK;

#endif
