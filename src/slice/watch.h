/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Limits that change while a program runs. Every 20 ms the helper thread looks whether the policy
 * has changed, whether the group has got a share or lost its last, and whether a program that
 * `auto` has confined to a partition is still alone on its device. A policy acts when it has rested
 * for one look, so within 50 ms; one that is not understood changes nothing.
 */
#ifndef CUSLICE_SLICE_WATCH_H
#define CUSLICE_SLICE_WATCH_H

#include "base/compiler.h"

#include <stdatomic.h>
#include <stdbool.h>

/* Makes what the watch needs, not the thread. At the start, once. False without memory. */
bool watch_init(void) MUST_CHECK;

/* Has the thread watch, where there is anything to watch and it does not already: once the limits
 * are set, at each cuInit, for a forked child has no thread. Threads: any. Keeps errno. */
void watch_begin(void);

/* Says what the thread has found, which can write no log. Where a program comes by now and then:
 * one load where there is nothing to say. Threads: any. Keeps errno. */
void watch_tell_news(void);
extern atomic_bool watch_has_news __attribute__((visibility("hidden")));
static inline void watch_tell(void)
{
	if (unlikely(atomic_load_explicit(&watch_has_news, memory_order_relaxed)))
		watch_tell_news();
}

#endif
