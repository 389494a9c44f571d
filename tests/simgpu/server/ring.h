/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The completion ring of one client, seen from the side of the server. What the client writes there
 * is not trusted: at worst it hurts itself.
 */
#ifndef SIMGPU_RING_H
#define SIMGPU_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sm_set.h"

/* An entry that is not published yet. */
struct ring_item {
	struct wire_ring_entry entry;
	struct sm_set *sms; /* that its operation asked for, owned; or NULL */
};

struct ring {
	struct wire_ring *shared;
	uint32_t sm_words;         /* of each entry's SMs: see struct wire_machine */
	uint32_t published;        /* the server's own count */
	struct ring_item *backlog; /* circular */
	size_t backlog_first, backlog_count, backlog_capacity;
};

/* Makes an empty ring. Returns the fd to be sent to the client, which the caller closes, or -1 with
 * errno set. finish gives all memory back. */
int ring_init(struct ring *ring, uint32_t sm_words);
void ring_finish(struct ring *ring);

/* Keeps an entry, and the SMs of its operation (NULL: they are not asked for), until the next
 * ring_flush. */
void ring_push(struct ring *ring, const struct wire_ring_entry *entry, const struct sm_set *sms);

/* Publishes as many entries as there is room for, and wakes the client. Returns whether all were.
 */
bool ring_flush(struct ring *ring);

#endif
