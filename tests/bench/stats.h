/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Order statistics of small samples.
 */
#ifndef CUSLICE_BENCH_STATS_H
#define CUSLICE_BENCH_STATS_H

#include <stddef.h>
#include <stdint.h>

struct stats {
	double min, median, p99, max;
};

/* By nearest rank, so with less than 100 samples p99 is the largest. Sorts `samples`; `count` is
 * not 0. */
struct stats stats_of(double *samples, size_t count);

/* What two readings of the clock in a row are apart, in the median. */
double stats_clock_ns(void);

#endif
