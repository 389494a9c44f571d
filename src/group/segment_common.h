/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Memory that this member holds in common with others of its group: what it has handed out, and
 * what it was handed. One of them pays for it; when that one lets go it goes on paying for the
 * others, and when it dies one of them takes over, beyond the quota if need be. So it is counted
 * once, from when the first has it to when the last lets go.
 *
 * Only for processes of which segment_is_used() is true. A forked child has nothing in common.
 * Threads: any.
 */
#ifndef CUSLICE_GROUP_SEGMENT_COMMON_H
#define CUSLICE_GROUP_SEGMENT_COMMON_H

#include "base/compiler.h"
#include "group/segment_exports.h"

#include <stdbool.h>
#include <stdint.h>

bool segment_common_init(void) MUST_CHECK;

/* This member holds memory for which it has taken `units`, and which others may know by `name`.
 * Returns a number for segment_let_go(), which is to give the units back; 0 where the group's table
 * is full: nothing has changed then, and others pay for themselves. */
unsigned segment_export(unsigned device, uint64_t units, const struct segment_name *name);

/* This member holds memory of that name too. Returns a number for segment_let_go(), or 0 where no
 * other member pays for it.
 * ret_units  what it is worth */
unsigned segment_join(unsigned device, const struct segment_name *name, uint64_t *ret_units);

/* Ends one of the two. */
void segment_let_go(unsigned number);

/* Units that this member holds and another pays for; and how often they became less. */
uint64_t segment_in_common(unsigned device);
uint64_t segment_common_let_gos(unsigned device);

/* Takes over what dead members paid for, and gives back what nobody holds any more. To be called
 * now and then. True where it has taken something over: both pay until the dead one is reaped, and
 * others know that this will come back until segment_common_reaped(). */
bool segment_common_tend(void);
void segment_common_reaped(void);

#endif
