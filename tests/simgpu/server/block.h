/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Blocks: memory that more than one process may hold, see struct wire_block in ../wire.h. Each is a
 * file in memory. An exported fd has a lock of its own on that file, so that the server can tell
 * whether it is still open anywhere, whoever has it.
 */
#ifndef SIMGPU_BLOCK_H
#define SIMGPU_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../wire.h"
#include "account.h"

struct client;

struct block {
	struct block *next;
	struct wire_block wire;
	uint32_t device;
	uint64_t bytes;
	struct account *account; /* whose bytes they are; NULL: they cost nothing */
	int fd;
	bool is_exported;
	bool is_kept; /* its process is dead */
	struct block_ref {
		struct block_ref *next;
		const struct client *client;
		uint64_t count;
	} * refs;
};

#define BLOCK_BUCKETS 1024

/* All zeros is a good start. */
struct blocks {
	uint64_t last_id;
	size_t orphans; /* exported, and no process refers to them */
	struct block *buckets[BLOCK_BUCKETS];
};

/* A file of zeros in memory; -1 where the system has no room. The caller closes it. */
int block_file_create(uint64_t bytes);

/* A block with one reference of `client`, as `request` asks for it, whose bytes `account` has
 * reserved and `fd` holds, which stays the caller's. NULL where the system has no room. */
struct block *blocks_add(struct blocks *blocks, const struct client *client,
	struct account *account, const struct wire_request *request, int fd);

/* By id, or by the file where that is 0; NULL where there is none. */
struct block *blocks_find(const struct blocks *blocks, const struct wire_block *wire);

void block_refer_by(struct blocks *blocks, struct block *block, const struct client *client);

/* False where the client does not refer to it. Ends the block with its last holder. */
bool block_drop_by(struct blocks *blocks, struct accounts *accounts, struct block *block,
	const struct client *client);

/* An fd that keeps the block; -1 where the system has no room. The caller closes it. */
int block_export(struct block *block);

/* The process of `client` dies: drops its references, and has its bytes kept that others hold. */
void blocks_drop_client(struct blocks *blocks, struct accounts *accounts,
	const struct client *client, struct account *account);

/* Ends the blocks of which the last exported fd was closed. */
void blocks_reap(struct blocks *blocks, struct accounts *accounts);

void blocks_finish(struct blocks *blocks);

#endif
