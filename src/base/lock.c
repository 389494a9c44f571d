/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "base/lock.h"
#include "base/clock.h"
#include "base/wait.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

/* How long a sleeper sleeps that nobody wakes: one in a great many. */
#define LOOK_AGAIN_NS NS_PER_MS

void lock_wait(struct lock *lock)
{
	/* acquire: pairs with the release in lock_drop(). 2 says that a sleeper is to be woken. */
	while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire) != 0)
		wait_at_most(&lock->word, 2, LOOK_AGAIN_NS);
}

void lock_wake(struct lock *lock)
{
	int saved_errno = errno;

	syscall(SYS_futex, &lock->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	errno = saved_errno;
}
