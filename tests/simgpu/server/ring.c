/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Publication of ends of operations.
 */
#include "ring.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "alloc.h"
#include "shared.h"

int ring_init(struct ring *ring, uint32_t sm_words)
{
	*ring = (struct ring){.sm_words = sm_words};
	return shared_create("simgpu-ring", sizeof(*ring->shared), (void **)&ring->shared);
}

/* The i-th of those that wait. */
static struct ring_item *item_at(const struct ring *ring, size_t i)
{
	return &ring->backlog[(ring->backlog_first + i) & (ring->backlog_capacity - 1)];
}

void ring_finish(struct ring *ring)
{
	if (ring->shared)
		munmap(ring->shared, sizeof(*ring->shared));
	for (size_t i = 0; i < ring->backlog_count; i++)
		free(item_at(ring, i)->sms);
	free(ring->backlog);
	*ring = (struct ring){0};
}

static void grow_backlog(struct ring *ring)
{
	size_t old = ring->backlog_capacity;
	ring->backlog_capacity = old ? 2 * old : 256;
	ring->backlog =
		alloc_resized(ring->backlog, ring->backlog_capacity, sizeof(ring->backlog[0]));
	/* What had wrapped around to the front goes behind the old end. */
	for (size_t i = 0; i < ring->backlog_first; i++)
		ring->backlog[old + i] = ring->backlog[i];
}

void ring_push(struct ring *ring, const struct wire_ring_entry *entry, const struct sm_set *sms)
{
	if (ring->backlog_count == ring->backlog_capacity)
		grow_backlog(ring);
	struct ring_item *item = item_at(ring, ring->backlog_count++);
	*item = (struct ring_item){.entry = *entry};
	if (sms) {
		item->sms = alloc_zeroed(sizeof(*sms));
		*item->sms = *sms;
	}
}

static void publish(struct ring *ring, struct ring_item *item)
{
	uint32_t slot = ring->published++ % WIRE_RING_ENTRIES;
	ring->shared->entries[slot] = item->entry;
	if (item->sms)
		memcpy(&ring->shared->sms[(size_t)slot * ring->sm_words], item->sms->words,
			ring->sm_words * sizeof(item->sms->words[0]));
	free(item->sms);
}

bool ring_flush(struct ring *ring)
{
	/* Acquire: the client has read an entry before it says so in `retired`. */
	uint32_t unread = ring->published -
			  atomic_load_explicit(&ring->shared->retired, memory_order_acquire);
	uint32_t room = unread <= WIRE_RING_ENTRIES ? WIRE_RING_ENTRIES - unread : 0;
	uint32_t before = ring->published;

	while (room-- > 0 && ring->backlog_count > 0) {
		publish(ring, item_at(ring, 0));
		ring->backlog_first = (ring->backlog_first + 1) & (ring->backlog_capacity - 1);
		ring->backlog_count--;
	}
	if (ring->published != before) {
		/* Release: pairs with the client's acquire load before it reads the entries. */
		atomic_store_explicit(
			&ring->shared->published, ring->published, memory_order_release);
		syscall(SYS_futex, &ring->shared->published, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	}
	return ring->backlog_count == 0;
}
