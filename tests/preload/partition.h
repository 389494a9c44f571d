/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What client_partition writes down, and the twins of its kernels write for it.
 */
#ifndef CUSLICE_TESTS_PRELOAD_PARTITION_H
#define CUSLICE_TESTS_PRELOAD_PARTITION_H

#include <stdint.h>

#define MARKS_MAX 4096u

/* In device memory. Kernels mark_short, mark_middle and mark_long (marks, number) note that they
 * have run, in the order in which they end, and what the cell was then. */
struct marks {
	const uint32_t *cell; /* in device memory too */
	uint32_t count;
	struct {
		uint32_t number, cell;
	} list[MARKS_MAX];
};

#endif
