/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "base/lock.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

void lock_wait(struct lock *lock)
{
	int saved_errno = errno;

	/* acquire: pairs with the release in lock_drop(). 2 says that a sleeper is to be woken. */
	while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire) != 0)
		syscall(SYS_futex, &lock->word, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
	errno = saved_errno;
}

void lock_wake(struct lock *lock)
{
	int saved_errno = errno;

	syscall(SYS_futex, &lock->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	errno = saved_errno;
}
