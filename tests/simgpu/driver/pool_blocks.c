/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "pool_blocks.h"

#include <stdlib.h>

struct chunk *chunk_create(uintptr_t base, uint64_t bytes)
{
	struct chunk *chunk = calloc(1, sizeof(*chunk));
	struct block *block = calloc(1, sizeof(*block));

	if (!chunk || !block) {
		free(chunk);
		free(block);
		return NULL;
	}
	chunk->base = block->base = base;
	chunk->bytes = block->bytes = bytes;
	chunk->blocks = block;
	return chunk;
}

void chunk_destroy(struct chunk *chunk)
{
	while (chunk->blocks) {
		struct block *block = chunk->blocks;

		chunk->blocks = block->after;
		free(block);
	}
	free(chunk);
}

bool chunk_is_unused(const struct chunk *chunk)
{
	return chunk->blocks->state == BLOCK_UNUSED && !chunk->blocks->after;
}

bool block_cut(struct block *block, uint64_t bytes)
{
	if (block->bytes == bytes)
		return true;
	struct block *rest = malloc(sizeof(*rest));

	if (!rest)
		return false;
	*rest = *block;
	rest->base += bytes;
	rest->bytes -= bytes;
	rest->before = block;
	if (rest->after)
		rest->after->before = rest;
	block->after = rest;
	block->bytes = bytes;
	return true;
}

/* Makes `block` one with the one after it. */
static void join_next(struct block *block)
{
	struct block *next = block->after;

	block->bytes += next->bytes;
	block->after = next->after;
	if (next->after)
		next->after->before = block;
	free(next);
}

void block_release(struct block *block)
{
	block->state = BLOCK_UNUSED;
	block->ctx = NULL;
	block->stream_id = block->seq = 0;
	if (block->after && block->after->state == BLOCK_UNUSED)
		join_next(block);
	if (block->before && block->before->state == BLOCK_UNUSED)
		join_next(block->before);
}
