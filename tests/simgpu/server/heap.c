/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A binary heap of pointers.
 */
#include "heap.h"

#include <stdlib.h>

#include "alloc.h"

void heap_init(struct heap *heap, bool (*before)(const void *a, const void *b))
{
	*heap = (struct heap){.before = before};
}

void heap_finish(struct heap *heap)
{
	free(heap->items);
	heap->items = NULL;
	heap->count = heap->capacity = 0;
}

static void swap(struct heap *heap, size_t a, size_t b)
{
	void *item = heap->items[a];
	heap->items[a] = heap->items[b];
	heap->items[b] = item;
}

static void sift_up(struct heap *heap, size_t at)
{
	while (at > 0) {
		size_t parent = (at - 1) / 2;
		if (!heap->before(heap->items[at], heap->items[parent]))
			return;
		swap(heap, at, parent);
		at = parent;
	}
}

static void sift_down(struct heap *heap, size_t at)
{
	for (;;) {
		size_t first = at;
		for (size_t child = 2 * at + 1; child <= 2 * at + 2; child++) {
			if (child < heap->count &&
				heap->before(heap->items[child], heap->items[first]))
				first = child;
		}
		if (first == at)
			return;
		swap(heap, at, first);
		at = first;
	}
}

void heap_push(struct heap *heap, void *item)
{
	if (heap->count == heap->capacity) {
		heap->capacity = heap->capacity ? 2 * heap->capacity : 16;
		heap->items = alloc_resized(heap->items, heap->capacity, sizeof(void *));
	}
	heap->items[heap->count] = item;
	sift_up(heap, heap->count++);
}

void *heap_top(const struct heap *heap)
{
	return heap->count ? heap->items[0] : NULL;
}

void *heap_pop(struct heap *heap)
{
	void *top = heap_top(heap);
	if (!top)
		return NULL;
	heap->items[0] = heap->items[--heap->count];
	sift_down(heap, 0);
	return top;
}

void heap_rebuild(struct heap *heap)
{
	for (size_t at = heap->count / 2; at-- > 0;)
		sift_down(heap, at);
}

void heap_remove_if(struct heap *heap, bool (*leaves)(void *item, void *arg), void *arg)
{
	size_t kept = 0;
	for (size_t at = 0; at < heap->count; at++) {
		void *item = heap->items[at];
		if (!leaves(item, arg))
			heap->items[kept++] = item;
	}
	heap->count = kept;
	heap_rebuild(heap);
}
