/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The thread that a process has which shares anything with others. It opens files where the program
 * does not see it, and looks after what is shared now and then. It has all signals blocked, and
 * where the kernel gives it one (5.9) a table of descriptors of its own: the program neither sees
 * what is opened there, nor can it close it, nor does a child that is forked meanwhile inherit it;
 * and nothing that the program closes stays open because of us. It can write no log.
 */
#ifndef CUSLICE_GROUP_HELPER_H
#define CUSLICE_GROUP_HELPER_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

/* Makes what the thread needs, not the thread. Again is nothing. False without memory.
 * Threads: one at a time. */
bool helper_init(void) MUST_CHECK;

/* Has the thread call work(data), waits until it has, and starts the thread before, where there is
 * none: at first, and in a forked child. Where the C library of the program has no threads the
 * caller does it by himself; then nothing is watched.
 * Threads: any. Keeps errno. */
void helper_do(void (*work)(void *data), void *data);

/* From within work: has the thread call look(data) now and then, for ever. It returns in how many
 * ns again. False, and nothing, where it is not the thread that works. */
bool helper_watch(uint64_t (*look)(void *data), void *data);

/* From within work and look: true where descriptors can be kept open. */
bool helper_has_own_table(void);

#endif
