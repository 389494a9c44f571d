/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The modes in which this program is its own child. Each returns the exit status.
 */
#ifndef CUSLICE_BENCH_WORKER_H
#define CUSLICE_BENCH_WORKER_H

#include "rows.h"

#define MODE_WORKER  "--worker"
#define MODE_INIT    "--init"
#define MODE_NOTHING "--nothing"

/* Answers the requests that come over CHILD_FD until it is closed. */
int worker_main(void);

/* Loads libcuda, calls cuInit, and sends over CHILD_FD how long both took: a uint64_t of ns. */
int worker_init_main(void);

/* Makes `calls` calls of a row and says nothing: for callgrind, which counts from outside. */
int worker_count_main(const struct row *row, unsigned calls);

#endif
