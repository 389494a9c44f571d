/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What the helper thread does for limits that change while a program runs: every 40 ms it looks
 * whether the group has got a share, or lost its last.
 */
#ifndef CUSLICE_SLICE_WATCH_H
#define CUSLICE_SLICE_WATCH_H

#include "base/compiler.h"

#include <stdbool.h>

/* Makes what the watch needs, not the thread. At the start, once. False without memory. */
bool watch_init(void) MUST_CHECK;

/* Has the thread watch, where there is anything to watch and it does not already: once the limits
 * are set, at each cuInit, for a forked child has no thread. Threads: any. Keeps errno. */
void watch_begin(void);

#endif
