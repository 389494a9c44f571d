/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A lock between the threads of one process. Zero is unlocked, so a lock in memory that is wiped
 * at fork (base/wipe.h) is free in the child, whoever held it in the parent. Not for shared memory.
 */
#ifndef CUSLICE_BASE_LOCK_H
#define CUSLICE_BASE_LOCK_H

#include "base/compiler.h"

#include <stdatomic.h>
#include <stdint.h>

struct lock {
	_Atomic uint32_t word; /* 0 free, 1 held, 2 held and somebody sleeps */
};

/* The slow halves; use lock_take() and lock_drop(). Both keep errno. */
void lock_wait(struct lock *lock);
void lock_wake(struct lock *lock);

static inline void lock_take(struct lock *lock)
{
	uint32_t free_word = 0;

	/* acquire: pairs with the release in lock_drop() */
	if (unlikely(!atomic_compare_exchange_strong_explicit(
		    &lock->word, &free_word, 1, memory_order_acquire, memory_order_relaxed)))
		lock_wait(lock);
}

/* By two accesses, for an exchange costs as much as all else here. Who comes to sleep between them
 * is not woken, and looks again by itself. */
static inline void lock_drop(struct lock *lock)
{
	uint32_t seen = atomic_load_explicit(&lock->word, memory_order_relaxed);

	atomic_store_explicit(&lock->word, 0, memory_order_release);
	if (unlikely(seen == 2))
		lock_wake(lock);
}

#endif
