/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Where partitions are known to hold, by reports (covered.def).
 */
#ifndef CUSLICE_PARTITION_COVERED_H
#define CUSLICE_PARTITION_COVERED_H

#include <stdbool.h>

struct covered {
	const char *name; /* NULL in the row behind the last one */
	unsigned cc_major, cc_minor;
	int cuda_from, cuda_to; /* as cuDriverGetVersion() */
	const char *report;     /* in docs/results */
};
extern const struct covered covered_rows[] __attribute__((visibility("hidden")));

/* The row of that GPU with a driver of that version, NULL where there is none. */
const struct covered *covered_find(const struct covered rows[], const char *name, unsigned cc_major,
	unsigned cc_minor, int cuda_version);

/* False while there is no row at all. */
static inline bool covered_any(void)
{
	return covered_rows[0].name != (const char *)0;
}

#endif
