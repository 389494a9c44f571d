/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A set of address ranges that do not overlap, ordered by address: a treap. Every operation takes
 * logarithmic time. Callers bring the nodes and the lock.
 */
#ifndef SIMGPU_DRIVER_TREAP_H
#define SIMGPU_DRIVER_TREAP_H

#include <stdint.h>

struct treap {
	uintptr_t base;
	uint64_t size;     /* bytes, > 0 */
	uint64_t max_size; /* of this node and those below; the treap's own */
	uint32_t weight;   /* the treap's own */
	struct treap *left, *right;
};

/* Adds `node`, whose base and size are set, to the treap at *root (NULL: empty). */
void treap_insert(struct treap **root, struct treap *node);

/* Takes the node that begins at `base` out and returns it, or NULL. */
struct treap *treap_remove(struct treap **root, uintptr_t base);

/* Returns the node that `address` lies in, or NULL. */
struct treap *treap_find(struct treap *root, uintptr_t address);

/* Returns the lowest node that begins at `address` or above, or NULL. */
struct treap *treap_next(struct treap *root, uintptr_t address);

/* Returns the node of the lowest address with at least `size` bytes, or NULL. */
struct treap *treap_first_fit(struct treap *root, uint64_t size);

#endif
