/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "base/wait.h"
#include "base/clock.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

void wait_at_most(_Atomic uint32_t *word, uint32_t seen, uint64_t ns)
{
	int saved_errno = errno;
	struct timespec span = {
		.tv_sec = (time_t)(ns / NS_PER_S),
		.tv_nsec = (long)(ns % NS_PER_S),
	};

	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, &span, NULL, 0);
	errno = saved_errno;
}

void wait_wake_all(_Atomic uint32_t *word)
{
	int saved_errno = errno;

	/* release: whoever sees the change by an acquire sees all that came before */
	atomic_fetch_add_explicit(word, 1, memory_order_release);
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
	errno = saved_errno;
}
