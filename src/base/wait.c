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

static void wait_on(_Atomic uint32_t *word, int operation, uint32_t seen, uint64_t ns)
{
	int saved_errno = errno;
	struct timespec span = {
		.tv_sec = (time_t)(ns / NS_PER_S),
		.tv_nsec = (long)(ns % NS_PER_S),
	};

	syscall(SYS_futex, word, operation, seen, &span, NULL, 0);
	errno = saved_errno;
}

static void wake_all(_Atomic uint32_t *word, int operation)
{
	int saved_errno = errno;

	/* release: whoever sees the change by an acquire sees all that came before */
	atomic_fetch_add_explicit(word, 1, memory_order_release);
	syscall(SYS_futex, word, operation, INT_MAX, NULL, NULL, 0);
	errno = saved_errno;
}

void wait_at_most(_Atomic uint32_t *word, uint32_t seen, uint64_t ns)
{
	wait_on(word, FUTEX_WAIT_PRIVATE, seen, ns);
}

void wait_wake_all(_Atomic uint32_t *word)
{
	wake_all(word, FUTEX_WAKE_PRIVATE);
}

void wait_shared_at_most(_Atomic uint32_t *word, uint32_t seen, uint64_t ns)
{
	wait_on(word, FUTEX_WAIT, seen, ns);
}

void wait_shared_wake_all(_Atomic uint32_t *word)
{
	wake_all(word, FUTEX_WAKE);
}
