/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Waiting for another thread of this process, or for some time to pass, whichever comes first.
 */
#ifndef CUSLICE_BASE_WAIT_H
#define CUSLICE_BASE_WAIT_H

#include <stdatomic.h>
#include <stdint.h>

/* Sleeps for `ns`, unless the word is not `seen` or somebody wakes it before. Signal handlers of
 * the program may end it early too; callers look again anyway. Not a cancellation point. Keeps
 * errno. */
void wait_at_most(_Atomic uint32_t *word, uint32_t seen, uint64_t ns);

/* Changes the word (release) and wakes all that wait for it. Keeps errno. */
void wait_wake_all(_Atomic uint32_t *word);

/* The same for a word that processes share. Whoever else may write there can make the wait shorter,
 * not longer. */
void wait_shared_at_most(_Atomic uint32_t *word, uint32_t seen, uint64_t ns);
void wait_shared_wake_all(_Atomic uint32_t *word);

#endif
