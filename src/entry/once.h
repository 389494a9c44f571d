/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Something that is made once in a process, by whoever comes first, without a lock: a forked child
 * would wait for a thread that it does not have.
 */
#ifndef CUSLICE_ENTRY_ONCE_H
#define CUSLICE_ENTRY_ONCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define ONCE_DONE_STATE UINT64_MAX

struct once {
	_Atomic uint64_t state; /* 0 not yet; pid << 32 | tid of the thread that is at it; done */
};

enum once_claim {
	ONCE_DONE,
	ONCE_MINE,   /* the caller makes it and then calls once_finish() */
	ONCE_INSIDE, /* the caller is making it already, further up its stack */
};

/* What was made before once_finish() is seen where this says true. Threads: any. */
static inline bool once_is_done(const struct once *once)
{
	/* acquire: pairs with the release in once_finish() */
	return atomic_load_explicit(&once->state, memory_order_acquire) == ONCE_DONE_STATE;
}

/* Waits while another thread of this process is at it; what a parent was at when it forked is taken
 * over. Threads: any. */
enum once_claim once_claim(struct once *once);
void once_finish(struct once *once);

#endif
