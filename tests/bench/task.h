/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The calls of a row, made in the process that is measured: prepared once, run in batches.
 */
#ifndef CUSLICE_BENCH_TASK_H
#define CUSLICE_BENCH_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda.h>

#include "cuda_client.h"
#include "linked.h"
#include "rows.h"

struct task {
	struct cuda_client cuda;
	CUfunction kernel;
	__typeof__(linked_launch) *linked_launch;
	CUdeviceptr *live;
	size_t live_count;
	size_t too_much;                       /* bytes */
	const _Atomic uint64_t *event_records; /* NULL: not known */
	uint64_t random;
};

enum task_state {
	TASK_READY,
	TASK_IMPOSSIBLE, /* this driver cannot be asked that; nothing to measure */
	TASK_FAILED,     /* said why on standard error */
};

/* Opens the driver. False having said why it cannot be. */
bool task_open(struct task *ret_task);

enum task_state task_prepare(struct task *task, const struct row *row);

/* Makes `calls` calls of a prepared row. False as soon as one of them did not answer as it has
 * to, having said so. */
bool task_run(struct task *task, const struct row *row, unsigned calls);

/* Waits until the device is idle, and where the row has a share, until what was launched before has
 * been paid for: outside of what is timed. */
void task_settle(const struct task *task, const struct row *row);

/* How many events were recorded in this process so far; always 0 where the driver does not tell. */
uint64_t task_event_records(const struct task *task);

/* Frees what task_prepare() made, whatever it returned. */
void task_finish(struct task *task);

#endif
