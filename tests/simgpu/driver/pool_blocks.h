/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A chunk of a pool, cut into blocks that cover it from end to end. Knows no streams and takes no
 * lock: pool.c does.
 */
#ifndef SIMGPU_DRIVER_POOL_BLOCKS_H
#define SIMGPU_DRIVER_POOL_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

#include <cuda.h>

enum block_state {
	BLOCK_UNUSED,
	BLOCK_USED,
	BLOCK_FREED, /* in stream order, and the stream is not there yet */
};

struct block {
	uintptr_t base;
	uint64_t bytes;
	enum block_state state;
	CUcontext ctx;      /* of the stream in which it was taken */
	uint64_t stream_id; /* in which it was freed */
	uint64_t seq;       /* of the operation that frees it */
	struct block *before, *after;
};

struct chunk {
	uintptr_t base;
	uint64_t bytes;
	struct block *blocks; /* by address */
	struct chunk *next;
};

/* Returns a chunk of one unused block, or NULL when memory is out. */
struct chunk *chunk_create(uintptr_t base, uint64_t bytes);
void chunk_destroy(struct chunk *chunk);

/* Returns whether all of it is unused. */
bool chunk_is_unused(const struct chunk *chunk);

/* Cuts `block` after `bytes`; the rest is a block of the same state. False when memory is out. */
bool block_cut(struct block *block, uint64_t bytes);

/* Makes `block` unused and joins it with its unused neighbours. */
void block_release(struct block *block);

#endif
