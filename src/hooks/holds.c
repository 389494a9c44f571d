/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "hooks/holds.h"
#include "base/wipe.h"

#include <stddef.h>

#define CHUNK_BYTES   ((size_t)64 << 10)
#define FIRST_BUCKETS 1024u /* a power of two */

static bool add_cells(struct holds *holds)
{
	union cell *cells = pages_alloc(CHUNK_BYTES);

	for (size_t i = 0; cells != NULL && i < CHUNK_BYTES / sizeof(*cells); i++)
		holds_give_cell(holds, &cells[i]);
	return cells != NULL;
}

union cell *holds_take_cell(struct holds *holds)
{
	if (holds->unused == NULL && !add_cells(holds))
		return NULL;
	union cell *cell = holds->unused;
	holds->unused = cell->next_unused;
	*cell = (union cell){0};
	return cell;
}

void holds_give_cell(struct holds *holds, void *used)
{
	union cell *cell = used;

	cell->next_unused = holds->unused;
	holds->unused = cell;
}

static struct hold **bucket_of(const struct hold_table *table, uint64_t key)
{
	uint64_t hash = key * UINT64_C(0x9e3779b97f4a7c15) >> 32;

	return &table->buckets[hash & (table->bucket_count - 1)];
}

static void put_in_bucket(struct hold_table *table, struct hold *hold)
{
	struct hold **bucket = bucket_of(table, hold->key);

	hold->next = *bucket;
	*bucket = hold;
}

bool holds_make_room(struct holds *holds, enum hold_kind kind)
{
	struct hold_table *table = &holds->tables[kind];
	struct hold_table larger = {.count = table->count,
		.bucket_count = table->bucket_count ? 2 * table->bucket_count : FIRST_BUCKETS};

	if (table->count < table->bucket_count)
		return true;
	larger.buckets = pages_alloc(larger.bucket_count * sizeof(struct hold *));
	if (larger.buckets == NULL)
		return table->bucket_count > 0;
	for (uint32_t i = 0; i < table->bucket_count; i++) {
		for (struct hold *hold = table->buckets[i], *next; hold != NULL; hold = next) {
			next = hold->next;
			put_in_bucket(&larger, hold);
		}
	}
	if (table->bucket_count > 0)
		pages_free(table->buckets, table->bucket_count * sizeof(struct hold *));
	*table = larger;
	return true;
}

struct hold *holds_find(const struct holds *holds, enum hold_kind kind, uint64_t key)
{
	const struct hold_table *table = &holds->tables[kind];
	struct hold *hold = table->bucket_count > 0 ? *bucket_of(table, key) : NULL;

	while (hold != NULL && hold->key != key)
		hold = hold->next;
	return hold;
}

void holds_add(struct holds *holds, struct hold *hold)
{
	put_in_bucket(&holds->tables[hold->kind], hold);
	holds->tables[hold->kind].count++;
	hold->is_in_table = true;
}

void holds_remove(struct holds *holds, struct hold *hold)
{
	struct hold_table *table = &holds->tables[hold->kind];
	struct hold **link = bucket_of(table, hold->key);

	while (*link != hold)
		link = &(*link)->next;
	*link = hold->next;
	table->count--;
	hold->is_in_table = false;
}

struct hold *holds_search(const struct holds *holds, enum hold_kind kind,
	bool (*is_it)(const struct hold *, const void *), const void *data)
{
	const struct hold_table *table = &holds->tables[kind];

	for (uint32_t i = 0; i < table->bucket_count; i++) {
		for (struct hold *hold = table->buckets[i]; hold != NULL; hold = hold->next) {
			if (is_it(hold, data))
				return hold;
		}
	}
	return NULL;
}
