/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The rows of the benchmark, as a table, and how each is chosen by name.
 */
#ifndef CUSLICE_BENCH_ROWS_H
#define CUSLICE_BENCH_ROWS_H

#include <stdbool.h>
#include <stddef.h>

/* One call of a row is one of these. */
enum work {
	WORK_LAUNCH,        /* cuLaunchKernel, by a pointer that dlsym gave */
	WORK_LAUNCH_LINKED, /* the same from a library that is linked with libcuda */
	WORK_NEWEST,        /* cuMemAlloc_v2, then cuMemFree_v2 of what it gave */
	WORK_RANDOM,        /* cuMemFree_v2 of any live pointer, then cuMemAlloc_v2 */
	WORK_MEMINFO,       /* cuMemGetInfo_v2 */
	WORK_REFUSED,       /* cuMemAlloc_v2 of all there is, while something is held */
	WORK_DLSYM,
	WORK_GETPROC,
	WORK_INIT,  /* a process: libcuda is loaded and initialised */
	WORK_START, /* a process: nothing */
};

/* The environment of a process that is measured. */
enum setup {
	SETUP_BARE,
	SETUP_QUOTA, /* preloaded, CUSLICE_MEMORY is set */
	SETUP_SHARE, /* preloaded, CUSLICE_COMPUTE is set too */
	SETUP_WHOLE, /* the same, to 100 % */
	SETUP_GROUP, /* preloaded, one of 64 processes in a group with CUSLICE_MEMORY */
	SETUP_COUNT
};

struct row {
	const char *name, *title;
	enum work work;
	size_t live; /* pointers */
	enum setup setup;
	unsigned calls, real_calls; /* of one batch */
};

enum {
	ROW_COUNT = 0
#define ROW(name, title, work, live, setup, calls, real_calls) +1
#include "rows.def"
#undef ROW
};

extern const struct row rows[ROW_COUNT];

/* The row of that name, or NULL. */
const struct row *row_find(const char *name);

/* True where one call is the life of a process, which the parent measures itself. */
bool row_is_process(const struct row *row);

/* True where single calls are timed too: what a program waits for most often. */
bool row_has_singles(const struct row *row);

#endif
