/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "hooks/pools.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/wipe.h"
#include "driver/driver.h"
#include "hooks/capture_mode.h"
#include "hooks/reconcile.h"
#include "slice/slice.h"

#include <stdatomic.h>

/* Drivers give a pool memory in multiples of this, or of more, which is learnt from what they do.
 */
#define SMALLEST_CHUNK (2ull << 20)
#define LARGEST_CHUNK  (1ull << 30)

/* How long a refusal waits at most for the stream to give back what the driver took too much. */
#define UNDO_WAIT_NS  (10 * NS_PER_MS)
#define LOOK_AGAIN_NS (100 * NS_PER_US)

#define POOLS_PER_BLOCK 60
#define NOT_COUNTED     (-1)

struct pool {
	CUmemoryPool handle; /* NULL: unused */
	CUdevice device;     /* NOT_COUNTED for host memory */
	/* What it has, or had when it was last asked, but for what calls on their way reserved. */
	struct reservation charge;
	uint64_t reserved; /* what it had when it was last asked */
	uint64_t expected; /* that calls on their way have reserved */
	uint64_t chunk;
	uint64_t calls;    /* that have begun */
	unsigned on_way;   /* of these have not ended */
	uint64_t hopeless; /* frees that had been seen when the pool had no room in what it has */
	bool is_tried;     /* by a call that finds out by itself whether it has taken too much */
	bool has_excess;   /* took more than fits, and its stream has not come to give it back */
	uint64_t excess_above; /* these bytes */
	bool is_destroyed;
};

struct pool_block {
	struct pool_block *next;
	struct pool pools[POOLS_PER_BLOCK];
};

static struct pools {
	struct lock tries; /* one at a time, held across the driver's answer; before the other */
	struct lock lock;
	_Atomic bool has_any; /* since the start: most programs never have one */
	_Atomic uint64_t frees;
	struct pool_block *blocks;
} * pools;

bool pools_init(void)
{
	pools = wipe_alloc(sizeof(*pools));
	return pools != NULL;
}

static bool has_any(void)
{
	return atomic_load_explicit(&pools->has_any, memory_order_relaxed);
}

static uint64_t frees_seen(void)
{
	return atomic_load_explicit(&pools->frees, memory_order_relaxed);
}

void pools_note_free(void)
{
	if (has_any())
		atomic_fetch_add_explicit(&pools->frees, 1, memory_order_relaxed);
}

/* Calls `visit` for each pool until it returns true; the lock is held, as for all that follow. */
static struct pool *find_if(
	bool (*is_it)(const struct pool *pool, const void *arg), const void *arg)
{
	for (struct pool_block *block = pools->blocks; block != NULL; block = block->next) {
		for (unsigned i = 0; i < POOLS_PER_BLOCK; i++) {
			if (is_it(&block->pools[i], arg))
				return &block->pools[i];
		}
	}
	return NULL;
}

static bool has_handle(const struct pool *pool, const void *arg)
{
	return pool->handle == arg;
}

static bool is_unused(const struct pool *pool, const void *arg)
{
	(void)arg;
	return pool->handle == NULL && pool->on_way == 0;
}

static struct pool *find(CUmemoryPool handle)
{
	return handle != NULL ? find_if(has_handle, handle) : NULL;
}

static struct pool *take_unused(void)
{
	struct pool *pool = find_if(is_unused, NULL);

	if (pool != NULL)
		return pool;
	struct pool_block *block = pages_alloc(sizeof(*block));
	if (block == NULL)
		return NULL;
	block->next = pools->blocks;
	pools->blocks = block;
	return &block->pools[0];
}

/* Returns NULL without memory. */
static struct pool *add(CUmemoryPool handle, CUdevice device)
{
	struct pool *pool = take_unused();

	if (pool == NULL)
		return NULL;
	*pool = (struct pool){.handle = handle, .device = device, .chunk = SMALLEST_CHUNK};
	if (device == NOT_COUNTED || !slice_exists(device))
		pool->device = NOT_COUNTED;
	else if (!ledger_reserve((unsigned)device, LEDGER_POOL, 0, &pool->charge))
		pool->device = NOT_COUNTED; /* nothing always fits */
	atomic_store_explicit(&pools->has_any, true, memory_order_relaxed);
	return pool;
}

static bool is_counted(const struct pool *pool)
{
	return pool->handle != NULL && pool->device != NOT_COUNTED;
}

static CUresult read_number(
	const struct pool *pool, CUmemPool_attribute attribute, uint64_t *ret_value)
{
	cuuint64_t value = 0;
	CUstreamCaptureMode mode = relax_capture();
	CUresult res = driver.cuMemPoolGetAttribute(pool->handle, attribute, &value);

	restore_capture(mode);
	*ret_value = value;
	return res;
}

/* Where the driver does not say what a pool has (before 11.3), pools are not counted. */
static bool can_never_say(CUresult res)
{
	return res == CUDA_ERROR_NOT_SUPPORTED || res == CUDA_ERROR_INVALID_VALUE;
}

/* Makes the charge what the pool has. What calls on their way may have added to that is covered by
 * what they have reserved.
 * is_taken  what does not fit is charged beyond the quota, for it cannot be undone
 * Returns   false if it does not fit */
static bool settle(struct pool *pool, bool is_taken)
{
	uint64_t reserved;
	CUresult res = read_number(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, &reserved);

	if (can_never_say(res))
		ledger_shrink(&pool->charge, 0);
	if (res != CUDA_SUCCESS)
		return true;
	reserved = ledger_round(reserved);
	pool->reserved = reserved;
	ledger_shrink(&pool->charge, reserved);
	uint64_t own = reserved > pool->expected ? reserved - pool->expected : 0;
	if (ledger_extend(&pool->charge, own))
		return true;
	if (is_taken && !pool->is_tried)
		ledger_settle(&pool->charge, own);
	return false;
}

static void trim(struct pool *pool, uint64_t bytes_to_keep)
{
	CUstreamCaptureMode mode = relax_capture();

	driver.cuMemPoolTrimTo(pool->handle, bytes_to_keep);
	restore_capture(mode);
}

static bool is_over_quota(const struct pool *pool)
{
	return ledger_used((unsigned)pool->device) > ledger_quota((unsigned)pool->device);
}

/* What the pool took beyond what fits goes back as soon as that is possible. */
static void shed_excess(struct pool *pool)
{
	if (!pool->has_excess)
		return;
	trim(pool, pool->excess_above);
	(void)settle(pool, true);
	pool->has_excess = pool->reserved > pool->excess_above && is_over_quota(pool);
}

/* A pool that the program has destroyed ends with its last allocation. */
static void end_if_empty(struct pool *pool)
{
	if (!pool->is_destroyed)
		return;
	trim(pool, 0);
	(void)settle(pool, true);
	if (pool->charge.bytes > 0 || pool->on_way > 0)
		return;
	driver.cuMemPoolDestroy(pool->handle);
	pool->handle = NULL;
}

static void settle_and_end(struct pool *pool)
{
	(void)settle(pool, true);
	shed_excess(pool);
	end_if_empty(pool);
}

void pools_settle(unsigned device)
{
	if (!has_any())
		return;
	lock_take(&pools->lock);
	for (struct pool_block *block = pools->blocks; block != NULL; block = block->next) {
		for (unsigned i = 0; i < POOLS_PER_BLOCK; i++) {
			struct pool *pool = &block->pools[i];
			if (is_counted(pool) && pool->device == (CUdevice)device)
				settle_and_end(pool);
		}
	}
	lock_drop(&pools->lock);
}

static void trim_and_settle(struct pool *pool)
{
	uint64_t used;

	if (pool->charge.bytes == 0)
		return;
	/* One that is used up has nothing to give: without the question each refused allocation
	 * would have the driver search it. */
	if (read_number(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used) != CUDA_SUCCESS ||
		used < pool->charge.bytes)
		trim(pool, 0);
	settle_and_end(pool);
}

bool pools_trim(unsigned device)
{
	if (!has_any())
		return false;
	uint64_t before = ledger_used_for(device, LEDGER_POOL);
	lock_take(&pools->lock);
	for (struct pool_block *block = pools->blocks; block != NULL; block = block->next) {
		for (unsigned i = 0; i < POOLS_PER_BLOCK; i++) {
			struct pool *pool = &block->pools[i];
			if (is_counted(pool) && pool->device == (CUdevice)device)
				trim_and_settle(pool);
		}
	}
	lock_drop(&pools->lock);
	return ledger_used_for(device, LEDGER_POOL) < before;
}

void pools_settle_one(CUmemoryPool handle)
{
	if (!has_any())
		return;
	lock_take(&pools->lock);
	struct pool *pool = find(handle);
	if (pool != NULL && is_counted(pool))
		settle_and_end(pool);
	lock_drop(&pools->lock);
}

void pools_add(CUmemoryPool handle, CUdevice device)
{
	lock_take(&pools->lock);
	/* One of that handle is gone, or the driver would not have given it anew. */
	struct pool *stale = find(handle);
	if (stale != NULL) {
		ledger_shrink(&stale->charge, 0);
		stale->handle = NULL;
	}
	/* Without memory it is met as an unknown one at its first use. */
	(void)add(handle, device);
	lock_drop(&pools->lock);
}

/* The device of a pool that was not made here. */
static CUdevice device_of_unknown(CUmemoryPool handle, CUdevice stream_device)
{
	int count = 0;
	CUmemoryPool its_default;

	driver.cuDeviceGetCount(&count);
	for (CUdevice device = 0; device < count; device++) {
		if (driver.cuDeviceGetDefaultMemPool(&its_default, device) == CUDA_SUCCESS &&
			its_default == handle)
			return device;
	}
	return stream_device;
}

static uint64_t round_up(uint64_t bytes, uint64_t unit)
{
	uint64_t rest = bytes % unit;

	if (rest == 0)
		return bytes;
	return bytes > UINT64_MAX - unit ? UINT64_MAX : bytes + unit - rest;
}

void pool_call_begin(
	CUmemoryPool handle, CUdevice stream_device, uint64_t bytes, struct pool_call *ret_call)
{
	*ret_call = (struct pool_call){.bytes = bytes};
	lock_take(&pools->lock);
	struct pool *pool = find(handle);
	if (pool == NULL && handle != NULL)
		pool = add(handle, device_of_unknown(handle, stream_device));
	if (pool != NULL && is_counted(pool)) {
		ret_call->pool = pool;
		ret_call->is_alone = pool->on_way == 0;
		ret_call->reserved_then = pool->reserved;
		pool->on_way++;
		ret_call->calls_before = ++pool->calls;
		ret_call->growth = round_up(bytes, pool->chunk);
		ret_call->is_late = pool->is_destroyed;
	}
	lock_drop(&pools->lock);
}

/* With the lock held. */
static void expect(struct pool_call *call)
{
	call->pool->expected += call->charge.reservation.bytes;
}

bool pool_call_reserve(struct pool_call *call)
{
	struct pool *pool = call->pool;

	if (pool == NULL)
		return true;
	lock_take(&pools->lock);
	bool has_room = charge_try_on(pool->device, LEDGER_POOL, call->growth, &call->charge);
	if (has_room)
		expect(call);
	lock_drop(&pools->lock);
	return has_room;
}

bool pool_call_reserve_patiently(struct pool_call *call)
{
	struct pool *pool = call->pool;

	if (pool == NULL)
		return true;
	if (!charge_begin_within(
		    pool->device, LEDGER_POOL, call->growth, call->wait_until_ns, &call->charge))
		return false;
	lock_take(&pools->lock);
	expect(call);
	lock_drop(&pools->lock);
	return true;
}

static bool is_in_excess(const struct pool *pool, const void *device)
{
	return is_counted(pool) && pool->device == *(const CUdevice *)device && pool->has_excess;
}

/* While one pool has too much no other may try, or they would add up. */
static bool has_excess_on(CUdevice device)
{
	struct pool *pool;

	while ((pool = find_if(is_in_excess, &device)) != NULL) {
		shed_excess(pool);
		if (pool->has_excess)
			return true;
	}
	return false;
}

/* What was freed in stream order counts as used until the stream is there, and is to be had in that
 * stream before. So with every free there is hope again. */
static bool may_fit(struct pool *pool, uint64_t bytes)
{
	uint64_t used;

	if (has_excess_on(pool->device) || bytes > pool->reserved)
		return false;
	return pool->hopeless != frees_seen() ||
	       (read_number(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used) == CUDA_SUCCESS &&
		       used <= pool->reserved - bytes);
}

bool pool_call_try(struct pool_call *call)
{
	lock_take(&pools->tries);
	lock_take(&pools->lock);
	call->is_trying = may_fit(call->pool, call->bytes);
	call->pool->is_tried = call->is_trying;
	lock_drop(&pools->lock);
	if (!call->is_trying)
		lock_drop(&pools->tries);
	else
		/* What it may take is nobody's yet, and not other. */
		reconcile_hold((unsigned)call->pool->device);
	return call->is_trying;
}

static uint64_t power_of_two_from(uint64_t bytes)
{
	uint64_t power = SMALLEST_CHUNK;

	while (power < bytes && power < LARGEST_CHUNK)
		power *= 2;
	return power;
}

/* In which steps the pool grows shows in the growth by one call. */
static void learn_chunk(const struct pool_call *call)
{
	struct pool *pool = call->pool;

	if (!call->is_alone || pool->calls != call->calls_before ||
		pool->reserved <= call->reserved_then)
		return;
	uint64_t growth = pool->reserved - call->reserved_then;
	if (growth >= call->bytes && growth != round_up(call->bytes, pool->chunk))
		pool->chunk = power_of_two_from(growth - call->bytes);
}

/* The call's reservation becomes the pool's. */
static void merge(struct pool_call *call)
{
	struct pool *pool = call->pool;

	if (!call->charge.is_counted)
		return;
	pool->expected -= call->charge.reservation.bytes;
	charge_move(&call->charge, &pool->charge);
}

static void end(struct pool_call *call)
{
	if (call->is_trying) {
		reconcile_resume((unsigned)call->pool->device);
		lock_drop(&pools->tries);
	}
	call->pool->on_way--;
	end_if_empty(call->pool);
}

void pool_call_cancel(struct pool_call *call)
{
	if (call->pool == NULL)
		return;
	lock_take(&pools->lock);
	merge(call);
	(void)settle(call->pool, true);
	end(call);
	lock_drop(&pools->lock);
}

bool pool_call_end(struct pool_call *call, CUresult res)
{
	struct pool *pool = call->pool;

	if (pool == NULL)
		return true;
	lock_take(&pools->lock);
	merge(call);
	bool has_fitted = settle(pool, false);
	if (!has_fitted && !pool->has_excess)
		pool->excess_above = pool->charge.bytes;
	if (call->is_trying)
		pool->is_tried = false;
	if (!has_fitted)
		(void)settle(pool, true);
	bool is_kept = has_fitted || res != CUDA_SUCCESS;
	learn_chunk(call);
	if (is_kept)
		end(call);
	lock_drop(&pools->lock);
	return is_kept;
}

/* With the lock held. Returns whether there is something left to give back. */
static bool undo(struct pool *pool)
{
	pool->has_excess = true;
	shed_excess(pool);
	return pool->has_excess;
}

void pool_call_undone(struct pool_call *call)
{
	struct pool *pool = call->pool;
	uint64_t until_ns = clock_now_ns() + UNDO_WAIT_NS;

	call->wait_until_ns = until_ns;
	lock_take(&pools->lock);
	while (undo(pool) && clock_now_ns() < until_ns) {
		lock_drop(&pools->lock);
		clock_sleep_ns(LOOK_AGAIN_NS);
		lock_take(&pools->lock);
	}
	pool->hopeless = frees_seen();
	end(call);
	lock_drop(&pools->lock);
}

/* The default pool takes the place of one that was current. */
static void leave_device(const struct pool *pool)
{
	CUmemoryPool current, its_default;

	if (driver.cuDeviceGetMemPool(&current, pool->device) == CUDA_SUCCESS &&
		current == pool->handle &&
		driver.cuDeviceGetDefaultMemPool(&its_default, pool->device) == CUDA_SUCCESS)
		driver.cuDeviceSetMemPool(pool->device, its_default);
}

static bool is_default(const struct pool *pool)
{
	CUmemoryPool its_default;

	return driver.cuDeviceGetDefaultMemPool(&its_default, pool->device) == CUDA_SUCCESS &&
	       its_default == pool->handle;
}

/* With the lock held. False where the driver is to be asked. */
static bool destroy_later(struct pool *pool)
{
	cuuint64_t nothing = 0;

	if (is_default(pool))
		return false;
	trim(pool, 0);
	(void)settle(pool, true);
	if (pool->charge.bytes == 0 && pool->on_way == 0)
		return false;
	pool->is_destroyed = true;
	driver.cuMemPoolSetAttribute(pool->handle, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &nothing);
	leave_device(pool);
	return true;
}

CUresult pools_destroy(CUmemoryPool handle, CUresult(CUDAAPI *destroy)(CUmemoryPool))
{
	lock_take(&pools->lock);
	struct pool *pool = find(handle);
	bool is_late = pool != NULL && pool->is_destroyed;
	CUresult res = is_late ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
	if (!is_late && (pool == NULL || !is_counted(pool) || !destroy_later(pool))) {
		res = destroy(handle);
		if (res == CUDA_SUCCESS && pool != NULL)
			pool->handle = NULL;
	}
	lock_drop(&pools->lock);
	return res;
}
