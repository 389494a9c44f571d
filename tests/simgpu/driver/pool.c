/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Which chunks a pool has, and which parts of them are whose. The entry points are in pool_api.c
 * and pool_async.c.
 *
 * The lock of the pools comes after the driver lock and before that of memory.c.
 */
#include "pool.h"

#include <pthread.h>

#include "context.h"
#include "memory.h"
#include "pool_blocks.h"
#include "stream.h"
#include "work.h"

#define PART_UNIT 512u

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static CUmemoryPool pools;
static CUmemoryPool default_pools[WIRE_MAX_DEVICES], current_pools[WIRE_MAX_DEVICES];

void pools_lock(void)
{
	pthread_mutex_lock(&lock);
}

void pools_unlock(void)
{
	pthread_mutex_unlock(&lock);
}

static CUmemoryPool create_locked(struct device *device)
{
	CUmemoryPool pool = handle_create(HANDLE_POOL, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->device = device;
	pool->max_bytes = UINT64_MAX;
	for (int i = 0; i < POOL_REUSE_FLAGS; i++)
		pool->reuse[i] = 1;
	pool->next = pools;
	pools = pool;
	return pool;
}

static CUmemoryPool default_locked(struct device *device)
{
	CUmemoryPool *pool = &default_pools[device_ordinal(device)];

	if (!*pool) {
		*pool = create_locked(device);
		if (*pool)
			(*pool)->is_default = true;
	}
	return *pool;
}

CUmemoryPool pool_default(struct device *device)
{
	pools_lock();
	CUmemoryPool pool = default_locked(device);

	pools_unlock();
	return pool;
}

CUmemoryPool pool_current(struct device *device)
{
	pools_lock();
	CUmemoryPool pool = current_pools[device_ordinal(device)];

	if (!pool)
		pool = default_locked(device);
	pools_unlock();
	return pool;
}

CUresult pool_set_current(struct device *device, CUmemoryPool pool)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;

	pools_lock();
	if (handle_is(pool, HANDLE_POOL) && pool->device == device && !pool->is_of_host) {
		current_pools[device_ordinal(device)] = pool;
		result = CUDA_SUCCESS;
	}
	pools_unlock();
	return result;
}

CUmemoryPool pool_create(struct device *device, bool is_of_host, uint64_t max_bytes)
{
	pools_lock();
	CUmemoryPool pool = create_locked(device);

	if (pool) {
		pool->is_of_host = is_of_host;
		if (max_bytes)
			pool->max_bytes = max_bytes;
	}
	pools_unlock();
	return pool;
}

/* Takes a chunk that nobody uses out of the pool at *link. */
static void give_chunk_back(CUmemoryPool pool, struct chunk **link)
{
	struct chunk *chunk = *link;

	*link = chunk->next;
	pool->reserved -= chunk->bytes;
	memory_give_addresses(pool->device, chunk->base, chunk->bytes);
	if (!pool->is_of_host)
		memory_discharge(pool->device, chunk->bytes);
	chunk_destroy(chunk);
}

static bool trim_locked(CUmemoryPool pool, uint64_t bytes_to_keep)
{
	struct chunk **link = &pool->chunks;
	bool has_trimmed = false;

	while (*link) {
		if (pool->reserved - (*link)->bytes >= bytes_to_keep && chunk_is_unused(*link)) {
			give_chunk_back(pool, link);
			has_trimmed = true;
		} else {
			link = &(*link)->next;
		}
	}
	return has_trimmed;
}

void pool_trim(CUmemoryPool pool, uint64_t bytes_to_keep)
{
	pools_lock();
	if (pool->reserved > bytes_to_keep)
		trim_locked(pool, bytes_to_keep);
	pools_unlock();
}

/* A pool without a program that knows it ends with its last chunk. */
static void end_if_unused(CUmemoryPool pool)
{
	CUmemoryPool *link = &pools;

	if (!pool->is_destroyed)
		return;
	trim_locked(pool, 0);
	if (pool->chunks)
		return;
	while (*link != pool)
		link = &(*link)->next;
	*link = pool->next;
	handle_recycle(&pool->handle, HANDLE_POOL);
}

void pool_destroy(CUmemoryPool pool)
{
	pools_lock();
	handle_retire(&pool->handle);
	pool->is_destroyed = true;
	if (current_pools[device_ordinal(pool->device)] == pool)
		current_pools[device_ordinal(pool->device)] = NULL;
	end_if_unused(pool);
	pools_unlock();
}

/* A block that `stream` may use now, and whether it has to wait for the operation that frees it. */
static bool can_use(CUmemoryPool pool, const struct block *block, CUstream stream, bool is_waiting)
{
	if (block->state == BLOCK_UNUSED)
		return true;
	if (block->state != BLOCK_FREED)
		return false;
	if (is_waiting)
		return pool->reuse[CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES - 1] != 0;
	return block->stream_id == stream->id;
}

static struct block *find_block(CUmemoryPool pool, uint64_t bytes, CUstream stream, bool is_waiting)
{
	for (struct chunk *chunk = pool->chunks; chunk; chunk = chunk->next) {
		for (struct block *block = chunk->blocks; block; block = block->after) {
			if (block->bytes >= bytes && can_use(pool, block, stream, is_waiting))
				return block;
		}
	}
	return NULL;
}

static bool give_up_unused_locked(const struct device *device)
{
	bool has_given = false;

	for (CUmemoryPool pool = pools; pool; pool = pool->next) {
		if (pool->device == device && !pool->is_of_host && trim_locked(pool, 0))
			has_given = true;
	}
	return has_given;
}

static bool charge_chunk(CUmemoryPool pool, uint64_t bytes)
{
	return pool->is_of_host || memory_charge_once(pool->device, bytes) ||
	       (give_up_unused_locked(pool->device) && memory_charge_once(pool->device, bytes));
}

/* Adds a chunk that has room for `bytes`. Returns its block, or NULL. */
static struct block *grow(CUmemoryPool pool, uint64_t bytes)
{
	const uint64_t unit = pool->device->info->pool_chunk_bytes;
	const uint64_t chunk_bytes = (bytes + unit - 1) / unit * unit;

	if (chunk_bytes > pool->max_bytes || pool->reserved > pool->max_bytes - chunk_bytes ||
		!charge_chunk(pool, chunk_bytes))
		return NULL;
	const uintptr_t base = memory_take_addresses(pool->device, chunk_bytes);
	struct chunk *chunk = base ? chunk_create(base, chunk_bytes) : NULL;

	if (!chunk) {
		if (base)
			memory_give_addresses(pool->device, base, chunk_bytes);
		if (!pool->is_of_host)
			memory_discharge(pool->device, chunk_bytes);
		return NULL;
	}
	chunk->next = pool->chunks;
	pool->chunks = chunk;
	pool->reserved += chunk_bytes;
	if (pool->reserved > pool->reserved_high)
		pool->reserved_high = pool->reserved;
	return chunk->blocks;
}

/* Makes the first `bytes` of `block` a part that is in use. */
static CUresult use_block(
	CUmemoryPool pool, struct block *block, size_t size, uint64_t bytes, CUstream stream)
{
	if (!block_cut(block, bytes))
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (!memory_add_part(context_home(stream->ctx), pool->device, MEMORY_POOLED, block->base,
		    size, bytes, pool))
		return CUDA_ERROR_OUT_OF_MEMORY;
	/* What was freed and not reached counted as used already. */
	if (block->state == BLOCK_UNUSED)
		pool->used += bytes;
	if (pool->used > pool->used_high)
		pool->used_high = pool->used;
	block->state = BLOCK_USED;
	block->ctx = context_home(stream->ctx);
	return CUDA_SUCCESS;
}

CUresult pool_take(CUmemoryPool pool, size_t size, CUstream stream, CUdeviceptr *ret_address)
{
	const uint64_t bytes = (size + (uint64_t)PART_UNIT - 1) / PART_UNIT * PART_UNIT;
	CUresult result = CUDA_ERROR_OUT_OF_MEMORY;

	if (size > SIZE_MAX / 2)
		return result;
	pools_lock();
	struct block *block = find_block(pool, bytes, stream, false);

	if (!block) {
		block = find_block(pool, bytes, stream, true);
		if (block && !deps_add(&stream->waits, block->seq))
			block = NULL;
	}
	if (!block)
		block = grow(pool, bytes);
	if (block)
		result = use_block(pool, block, size, bytes, stream);
	if (result == CUDA_SUCCESS)
		*ret_address = block->base;
	pools_unlock();
	return result;
}

static struct block *find_used(CUmemoryPool pool, uintptr_t base)
{
	struct chunk *chunk = pool->chunks;

	while (chunk && base - chunk->base >= chunk->bytes)
		chunk = chunk->next;
	struct block *block = chunk ? chunk->blocks : NULL;

	while (block && block->base != base)
		block = block->after;
	return block && block->state == BLOCK_USED ? block : NULL;
}

static void release(CUmemoryPool pool, struct block *block)
{
	pool->used -= block->bytes;
	block_release(block);
}

static CUresult free_in_order(struct block *block, CUstream stream)
{
	struct work *work = work_create(WORK_POOL_FREE);
	CUresult result = CUDA_ERROR_OUT_OF_MEMORY;

	if (work)
		result = stream_submit(stream, work, &block->seq);
	work_unref(work);
	if (result != CUDA_SUCCESS)
		return result;
	block->state = BLOCK_FREED;
	block->stream_id = stream->id;
	return CUDA_SUCCESS;
}

CUresult pool_free(CUmemoryPool pool, CUdeviceptr address, CUstream stream)
{
	CUresult result = CUDA_SUCCESS;

	pools_lock();
	/* Held until the block says which operation frees it: that may end at once. */
	struct block *block = find_used(pool, (uintptr_t)address);

	if (!block)
		result = CUDA_ERROR_INVALID_VALUE;
	else if (stream)
		result = free_in_order(block, stream);
	if (result == CUDA_SUCCESS) {
		memory_remove_part((uintptr_t)address);
		if (!stream) {
			release(pool, block);
			end_if_unused(pool);
		}
	}
	pools_unlock();
	return result;
}

/* Releases all blocks of a pool for which `is_over` holds. */
static void release_blocks(CUmemoryPool pool,
	bool (*is_over)(const struct block *block, const void *arg), const void *arg)
{
	for (struct chunk *chunk = pool->chunks; chunk; chunk = chunk->next) {
		struct block *block = chunk->blocks;

		while (block) {
			if (!is_over(block, arg)) {
				block = block->after;
				continue;
			}
			if (block->state == BLOCK_USED)
				memory_remove_part(block->base);
			release(pool, block);
			/* It may be one with its neighbours now. */
			block = chunk->blocks;
		}
	}
	end_if_unused(pool);
}

static void release_everywhere(
	bool (*is_over)(const struct block *block, const void *arg), const void *arg)
{
	CUmemoryPool next;

	pools_lock();
	for (CUmemoryPool pool = pools; pool; pool = next) {
		next = pool->next;
		release_blocks(pool, is_over, arg);
	}
	pools_unlock();
}

static bool is_freed_by(const struct block *block, const void *arg)
{
	const uint64_t *seq = arg;

	return block->state == BLOCK_FREED && block->seq == *seq;
}

void pools_free_reached(uint64_t seq)
{
	release_everywhere(is_freed_by, &seq);
}

static bool was_taken_in(const struct block *block, const void *arg)
{
	return block->state == BLOCK_USED && block->ctx == arg;
}

void pools_release_context(CUcontext ctx)
{
	release_everywhere(was_taken_in, ctx);
	pools_release_excess();
}

void pools_release_excess(void)
{
	pools_lock();
	for (CUmemoryPool pool = pools; pool; pool = pool->next) {
		if (pool->reserved > pool->release_threshold)
			trim_locked(pool, pool->release_threshold);
	}
	pools_unlock();
}

bool pools_give_up_unused(const struct device *device)
{
	pools_lock();
	const bool has_given = give_up_unused_locked(device);

	pools_unlock();
	return has_given;
}
