/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Life of blocks.
 */
#include "block.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc.h"

int block_file_create(uint64_t bytes)
{
	int fd = memfd_create("simgpu-memory", MFD_CLOEXEC);
	if (fd < 0)
		return -1;
	if (bytes <= INT64_MAX && ftruncate(fd, (off_t)bytes) == 0)
		return fd;
	close(fd);
	return -1;
}

static struct block **bucket_of(struct blocks *blocks, uint64_t id)
{
	return &blocks->buckets[id % BLOCK_BUCKETS];
}

struct block *blocks_add(struct blocks *blocks, const struct client *client,
	struct account *account, const struct wire_request *request, int fd)
{
	struct stat file;
	const int own_fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (own_fd < 0 || fstat(own_fd, &file)) {
		if (own_fd >= 0)
			close(own_fd);
		return NULL;
	}
	struct block *block = alloc_zeroed(sizeof(*block));
	block->wire = request->block;
	block->wire.id = ++blocks->last_id;
	block->device = (uint32_t)request->device;
	block->bytes = request->bytes;
	block->account = request->block.is_free ? NULL : account;
	block->fd = own_fd;
	/* What lies in an arena is found by its id only: it shares the file. */
	if (request->kind == WIRE_BLOCK_CREATE) {
		block->wire.file_device = file.st_dev;
		block->wire.file_inode = file.st_ino;
		block->wire.offset = 0;
	}
	block_refer_by(blocks, block, client);
	block->next = *bucket_of(blocks, block->wire.id);
	*bucket_of(blocks, block->wire.id) = block;
	return block;
}

static bool is_file(const struct block *block, const struct wire_block *wire)
{
	return wire->file_inode != 0 && block->wire.file_inode == wire->file_inode &&
	       block->wire.file_device == wire->file_device;
}

struct block *blocks_find(const struct blocks *blocks, const struct wire_block *wire)
{
	struct block *block = blocks->buckets[wire->id % BLOCK_BUCKETS];
	if (wire->id != 0) {
		while (block && block->wire.id != wire->id)
			block = block->next;
		return block;
	}
	for (size_t i = 0; i < BLOCK_BUCKETS; i++) {
		for (block = blocks->buckets[i]; block; block = block->next) {
			if (is_file(block, wire))
				return block;
		}
	}
	return NULL;
}

void block_refer_by(struct blocks *blocks, struct block *block, const struct client *client)
{
	struct block_ref *ref = block->refs;
	if (!ref && block->is_exported)
		blocks->orphans--;
	while (ref && ref->client != client)
		ref = ref->next;
	if (!ref) {
		ref = alloc_zeroed(sizeof(*ref));
		ref->client = client;
		ref->next = block->refs;
		block->refs = ref;
	}
	ref->count++;
}

/* Whether an exported fd of it is open in any process. */
static bool is_open_elsewhere(const struct block *block)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
	return block->is_exported && fcntl(block->fd, F_OFD_GETLK, &lock) == 0 &&
	       lock.l_type != F_UNLCK;
}

static void forget(struct blocks *blocks, struct block *block)
{
	struct block **link = bucket_of(blocks, block->wire.id);
	while (*link != block)
		link = &(*link)->next;
	*link = block->next;
	close(block->fd);
	free(block);
}

static void end(struct blocks *blocks, struct accounts *accounts, struct block *block)
{
	if (block->account && block->is_kept)
		account_unkeep(accounts, block->account, block->device, block->bytes);
	else if (block->account)
		account_release(accounts, block->account, block->device, block->bytes);
	forget(blocks, block);
}

static void remove_ref(struct blocks *blocks, struct block *block, struct block_ref **link)
{
	struct block_ref *ref = *link;
	*link = ref->next;
	free(ref);
	if (!block->refs && block->is_exported)
		blocks->orphans++;
}

bool block_drop_by(struct blocks *blocks, struct accounts *accounts, struct block *block,
	const struct client *client)
{
	struct block_ref **link = &block->refs;
	while (*link && (*link)->client != client)
		link = &(*link)->next;
	if (!*link)
		return false;
	if (--(*link)->count == 0)
		remove_ref(blocks, block, link);
	if (!block->refs && !block->is_exported)
		end(blocks, accounts, block);
	else
		blocks_reap(blocks, accounts);
	return true;
}

/* A description of its own, for a lock belongs to one: those of an fd and its copies go together
 * when the last of them is closed. */
int block_export(struct block *block)
{
	char path[64];
	struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
	snprintf(path, sizeof(path), "/proc/self/fd/%d", block->fd);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (fcntl(fd, F_OFD_SETLK, &lock) == 0) {
		block->is_exported = true;
		return fd;
	}
	close(fd);
	return -1;
}

static void drop_client_of(struct blocks *blocks, struct accounts *accounts, struct block *block,
	const struct client *client, struct account *account)
{
	struct block_ref **link = &block->refs;
	while (*link && (*link)->client != client)
		link = &(*link)->next;
	const bool is_ref = *link != NULL;
	if (is_ref)
		remove_ref(blocks, block, link);
	const bool is_held = block->refs || is_open_elsewhere(block);
	if (block->account == account && is_held) {
		account_keep(accounts, account, block->device, block->bytes);
		block->is_kept = true;
	}
	if (is_held)
		return;
	if (block->is_exported)
		blocks->orphans--;
	/* Its own bytes come back with all others of the process. */
	if (block->account == account)
		forget(blocks, block);
	else
		end(blocks, accounts, block);
}

void blocks_drop_client(struct blocks *blocks, struct accounts *accounts,
	const struct client *client, struct account *account)
{
	for (size_t i = 0; i < BLOCK_BUCKETS; i++) {
		struct block *block = blocks->buckets[i], *next;
		for (; block; block = next) {
			next = block->next;
			drop_client_of(blocks, accounts, block, client, account);
		}
	}
}

void blocks_reap(struct blocks *blocks, struct accounts *accounts)
{
	for (size_t i = 0; blocks->orphans > 0 && i < BLOCK_BUCKETS; i++) {
		struct block *block = blocks->buckets[i], *next;
		for (; block; block = next) {
			next = block->next;
			if (block->refs || is_open_elsewhere(block))
				continue;
			if (block->is_exported)
				blocks->orphans--;
			end(blocks, accounts, block);
		}
	}
}

void blocks_finish(struct blocks *blocks)
{
	for (size_t i = 0; i < BLOCK_BUCKETS; i++) {
		while (blocks->buckets[i])
			forget(blocks, blocks->buckets[i]);
	}
}
