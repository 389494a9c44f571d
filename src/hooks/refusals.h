/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Refusals are counted, and told at info: at most one line a second for each device, which says how
 * many there were since the last.
 */
#ifndef CUSLICE_HOOKS_REFUSALS_H
#define CUSLICE_HOOKS_REFUSALS_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

/* Makes the counters; a forked child finds its own at 0. At the start, once. False without memory.
 */
bool refusals_init(void) MUST_CHECK;

/* `bytes` more had no room in the quota of `device`. Threads: any. */
void refusals_add(unsigned device, uint64_t bytes);

/* How many there were on `device` in this process. Threads: any. */
uint64_t refusals_count(unsigned device);

#endif
