/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The measurement: the same batches bare and sliced, in turn, so that what else the machine does
 * meets both sides alike.
 */
#ifndef CUSLICE_BENCH_MEASURE_H
#define CUSLICE_BENCH_MEASURE_H

#include <stdbool.h>

#include "child.h"
#include "members.h"
#include "rows.h"
#include "stats.h"

#define MEASURE_MAX_BATCHES 1000

struct measure {
	struct environments environments;
	struct child workers[SETUP_COUNT]; /* started when a row needs them */
	struct members members;            /* likewise */
	bool is_real;
	unsigned batches; /* of each row and side; 1..MEASURE_MAX_BATCHES */
	unsigned divisor; /* of the calls in a batch; more than 1 makes it quick and coarse */
	/* told by the bare worker */
	int driver_version; /* 13000 is CUDA 13.0 */
	char device[64];
};

/* All in ns. */
struct side {
	bool is_measured; /* false: this driver cannot be asked that */
	struct stats per_call;
	/* Medians over the batches. Calls that recorded no event, and those that did; 0: none. */
	double single_median, single_p99;
	double sample_median, sample_p99;
	double samples; /* a call, two events each, where the driver counts them */
};

struct result {
	const struct row *row;
	struct side bare, sliced;
};

/* Starts the workers for `row`, runs all its batches. False having said what went wrong. */
bool measure_row(struct measure *measure, const struct row *row, struct result *ret_result);

/* Asks the bare worker what driver there is. False having said what went wrong. */
bool measure_describe(struct measure *measure);

/* Ends all workers and members. False where one did not end well. */
bool measure_end(struct measure *measure);

#endif
