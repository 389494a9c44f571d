/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The table behind cuGetProcAddress; its rows are generated.
 */
#ifndef SIMGPU_DRIVER_TABLE_H
#define SIMGPU_DRIVER_TABLE_H

#include <stdbool.h>
#include <stddef.h>

struct lookup_row {
	const char *name;   /* without a version */
	int version;        /* the CUDA version that brought this symbol: 3020 */
	bool is_per_thread; /* the symbol is the one for per-thread default streams */
	void *address;
};

/* Sorted by name, then by version. */
extern const struct lookup_row lookup_rows[];
extern const size_t lookup_row_count;

#endif
