/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Operations and their table.
 */
#include "op.h"

#include <stdlib.h>

#include "alloc.h"

#define FIRST_BUCKETS 64 /* a power of two, as all bucket counts are */

void op_free(struct op *op)
{
	free(op->kernel.ran_on);
	free(op);
}

void op_table_init(struct op_table *table)
{
	*table = (struct op_table){
		.buckets = alloc_zeroed(FIRST_BUCKETS * sizeof(struct op *)),
		.bucket_count = FIRST_BUCKETS,
	};
}

void op_table_finish(struct op_table *table)
{
	for (size_t i = 0; i < table->bucket_count; i++) {
		for (struct op *op = table->buckets[i], *next; op; op = next) {
			next = op->next;
			op_free(op);
		}
	}
	free(table->buckets);
	*table = (struct op_table){0};
}

/* Numbers follow one another, so their low bits spread them best. */
static struct op **bucket_of(const struct op_table *table, uint64_t seq)
{
	return &table->buckets[seq & (table->bucket_count - 1)];
}

struct op *op_table_find(const struct op_table *table, uint64_t seq)
{
	struct op *op = *bucket_of(table, seq);
	while (op && op->seq != seq)
		op = op->next;
	return op;
}

static void put(struct op_table *table, struct op *op)
{
	struct op **bucket = bucket_of(table, op->seq);
	op->next = *bucket;
	*bucket = op;
}

static void grow(struct op_table *table)
{
	struct op_table old = *table;
	table->bucket_count = 2 * old.bucket_count;
	table->buckets = alloc_zeroed(table->bucket_count * sizeof(struct op *));
	for (size_t i = 0; i < old.bucket_count; i++) {
		for (struct op *op = old.buckets[i], *next; op; op = next) {
			next = op->next;
			put(table, op);
		}
	}
	free(old.buckets);
}

void op_table_remove(struct op_table *table, const struct op *op)
{
	struct op **link = bucket_of(table, op->seq);
	while (*link != op)
		link = &(*link)->next;
	*link = op->next;
	table->count--;
}

struct op *op_table_take_context(struct op_table *table, uint32_t context)
{
	struct op *taken = NULL;
	for (size_t i = 0; i < table->bucket_count; i++) {
		struct op **link = &table->buckets[i];
		while (*link) {
			struct op *op = *link;
			if (op->context != context) {
				link = &op->next;
				continue;
			}
			*link = op->next;
			op->next = taken;
			taken = op;
			table->count--;
		}
	}
	return taken;
}

static void wait_for(struct op *waiter, struct op *op)
{
	struct edge *edge = &waiter->edges[waiter->waits_for++];
	*edge = (struct edge){waiter, op->waiters, &op->waiters};
	if (edge->next)
		edge->next->link = &edge->next;
	op->waiters = edge;
}

struct op *op_table_add(struct op_table *table, const struct wire_op *wire)
{
	struct op *op = alloc_zeroed(sizeof(*op) + wire->dep_count * sizeof(op->edges[0]));
	op->seq = wire->seq;
	op->kind = wire->kind;
	op->context = wire->context;
	op->flags = wire->flags;
	op->duration_ns = wire->duration_ns;
	for (uint32_t i = 0; i < wire->dep_count; i++) {
		struct op *dep = op_table_find(table, wire->deps[i]);
		if (dep)
			wait_for(op, dep);
	}
	op->edge_count = op->waits_for;
	if (table->count++ == table->bucket_count)
		grow(table);
	put(table, op);
	return op;
}

void op_unlink(struct op *op)
{
	for (uint32_t i = 0; i < op->edge_count; i++) {
		struct edge *edge = &op->edges[i];
		if (!edge->link)
			continue;
		*edge->link = edge->next;
		if (edge->next)
			edge->next->link = edge->link;
	}
}
