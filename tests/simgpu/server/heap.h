/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A binary heap of pointers: the item that comes before all others is found at once.
 */
#ifndef SIMGPU_HEAP_H
#define SIMGPU_HEAP_H

#include <stdbool.h>
#include <stddef.h>

struct heap {
	void **items; /* items[0] is the first; the rest is in heap order */
	size_t count, capacity;
	bool (*before)(const void *a, const void *b);
};

/* An empty heap, ordered by `before`, a strict order. */
void heap_init(struct heap *heap, bool (*before)(const void *a, const void *b));

/* Frees the heap's own storage, not the items. */
void heap_finish(struct heap *heap);

void heap_push(struct heap *heap, void *item);

/* The first item, or NULL when there is none; pop takes it out as well. */
void *heap_top(const struct heap *heap);
void *heap_pop(struct heap *heap);

/* Puts the items in order again after their keys were changed. */
void heap_rebuild(struct heap *heap);

/* Takes out every item for which `leaves` is true. It is called once for each item and may free
 * those that leave. */
void heap_remove_if(struct heap *heap, bool (*leaves)(void *item, void *arg), void *arg);

#endif
