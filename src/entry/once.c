/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "entry/once.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

enum once_claim once_claim(struct once *once)
{
	uint64_t me = (uint64_t)getpid() << 32 | (uint32_t)syscall(SYS_gettid);
	uint64_t seen = 0;

	while (!atomic_compare_exchange_strong_explicit(
		&once->state, &seen, me, memory_order_acquire, memory_order_acquire)) {
		if (seen == ONCE_DONE_STATE)
			return ONCE_DONE;
		if (seen == me)
			return ONCE_INSIDE;
		if (seen >> 32 == me >> 32) {
			sched_yield();
			seen = 0;
		}
		/* else: left by the parent of this fork; the next round takes it over */
	}
	return ONCE_MINE;
}

void once_finish(struct once *once)
{
	atomic_store_explicit(&once->state, ONCE_DONE_STATE, memory_order_release);
}
