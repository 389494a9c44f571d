/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What was measured, as a table and as JSON.
 */
#ifndef CUSLICE_BENCH_REPORT_H
#define CUSLICE_BENCH_REPORT_H

#include <stdio.h>

#include "measure.h"

struct report {
	const struct measure *measure;
	const struct result *results;
	size_t count;
	double clock_ns; /* what a reading of the clock costs */
};

void report_print_table(const struct report *report, FILE *out);
void report_print_json(const struct report *report, FILE *out);

#endif
