/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "base/clock.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

void clock_sleep_ns(uint64_t ns)
{
	int saved_errno = errno;
	struct timespec span = {
		.tv_sec = (time_t)(ns / NS_PER_S),
		.tv_nsec = (long)(ns % NS_PER_S),
	};

	syscall(SYS_nanosleep, &span, NULL);
	errno = saved_errno;
}
