/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The modes in which this program is its own child. Each returns the exit status.
 */
#ifndef CUSLICE_BENCH_WORKER_H
#define CUSLICE_BENCH_WORKER_H

#include "rows.h"
#include "task.h"

#define MODE_WORKER  "--worker"
#define MODE_INIT    "--init"
#define MODE_NOTHING "--nothing"

/* Answers the requests that come over CHILD_FD until it is closed. */
int worker_main(void);

/* Loads libcuda, calls cuInit, and sends over CHILD_FD how long both took: a uint64_t of ns. */
int worker_init_main(void);

/* Makes `parts` times `calls` calls of a row and says nothing: for callgrind, which counts from
 * outside. Each part is a call of count_part(), which callgrind knows by its name. */
int worker_count_main(const struct row *row, unsigned calls, unsigned parts);
bool count_part(struct task *task, const struct row *row, unsigned calls);

#endif
