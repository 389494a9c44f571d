/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The one clock: CLOCK_MONOTONIC in nanoseconds. Policies take it as an argument, so that tests
 * run them in virtual time; only the edges call these.
 */
#ifndef CUSLICE_BASE_CLOCK_H
#define CUSLICE_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

static inline uint64_t clock_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* Sleeps once; a signal handler of the program may end it early, and callers look again anyway.
 * By the bare system call, for libc's nanosleep() is a cancellation point, and a launch is none.
 * Keeps errno. */
void clock_sleep_ns(uint64_t ns);

#endif
