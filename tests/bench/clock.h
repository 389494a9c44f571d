/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The clock of the benchmark.
 */
#ifndef CUSLICE_BENCH_CLOCK_H
#define CUSLICE_BENCH_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

#endif
