/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "stats.h"

#include <stdlib.h>

#include "clock.h"

#define CLOCK_READINGS 1001

static int compare(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

static double at_rank(const double *sorted, size_t count, unsigned percent)
{
	size_t rank = (count * percent + 99) / 100;

	return sorted[rank == 0 ? 0 : rank - 1];
}

struct stats stats_of(double *samples, size_t count)
{
	qsort(samples, count, sizeof(*samples), compare);
	return (struct stats){
		.min = samples[0],
		.median = at_rank(samples, count, 50),
		.p99 = at_rank(samples, count, 99),
		.max = samples[count - 1],
	};
}

double stats_clock_ns(void)
{
	double apart[CLOCK_READINGS];

	for (unsigned i = 0; i < CLOCK_READINGS; i++) {
		uint64_t first = clock_now_ns();
		apart[i] = (double)(clock_now_ns() - first);
	}
	return stats_of(apart, CLOCK_READINGS).median;
}
