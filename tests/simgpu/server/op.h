/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * One operation from its submission to its end, and the table in which a process finds its
 * operations by number.
 */
#ifndef SIMGPU_OP_H
#define SIMGPU_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../wire.h"
#include "lane.h"

/* That `waiter` waits for an operation: one link of that operation's list of waiters. */
struct edge {
	struct op *waiter;
	struct edge *next,
		**link; /* `link` points to what points here, so that an edge can leave */
};

struct op {
	struct kernel kernel; /* kernels only; what it notes of its SMs is the operation's */
	struct engine_process *process;
	struct op *next; /* in a bucket of the table */
	struct op *next_ready;
	struct edge *waiters;
	uint64_t seq;
	uint64_t arrival; /* unique in the engine */
	uint32_t kind;    /* enum wire_op_kind */
	uint32_t context;
	uint32_t flags; /* enum wire_op_flag */
	uint64_t duration_ns;
	uint64_t start_ns, end_ns; /* copies only */
	uint32_t waits_for;        /* operations that have not ended */
	uint32_t edge_count;
	struct edge edges[]; /* in the lists of the operations that this one waits for */
};

struct op_table {
	struct op **buckets;
	size_t bucket_count, count;
};

void op_free(struct op *op);

void op_table_init(struct op_table *table);

/* Frees the table and every operation in it. */
void op_table_finish(struct op_table *table);

/* The operation `seq`, or NULL. */
struct op *op_table_find(const struct op_table *table, uint64_t seq);

void op_table_remove(struct op_table *table, const struct op *op);

/* Takes every operation of `context` out, linked by `next`. */
struct op *op_table_take_context(struct op_table *table, uint32_t context);

/* Adds a new operation as the wire describes it, linked to those in the table that it depends on;
 * `waits_for` says how many. The caller sets process and arrival. */
struct op *op_table_add(struct op_table *table, const struct wire_op *wire);

/* Takes the operation out of the lists of those that it waits for. */
void op_unlink(struct op *op);

#endif
