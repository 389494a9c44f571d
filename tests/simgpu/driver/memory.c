/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Arenas of address space, and the set of allocations.
 */
#include "memory.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client.h"
#include "context.h"
#include "device.h"
#include "entry.h"
#include "pool.h"

#define ARENA_ALIGN ((uint64_t)2 << 20)
#define LOW_BYTES   ((uint64_t)512 << 20)
#define LOW_ADDRESS ((uintptr_t)0x40000000)
/* Address space is cheap: so much more than memory that it never runs out by fragmentation. */
#define ARENA_FACTOR  4
#define MIN_ALIGNMENT 512

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct treap *known;
static struct arena low_arena;
static uint64_t last_id;

static void *map_arena(void *hint, uint64_t bytes)
{
	void *ptr = mmap(hint, bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (ptr == MAP_FAILED)
		return NULL;
	/* A touched byte is to cost a page, not 2 MiB; and a core dump not the whole device. */
	madvise(ptr, bytes, MADV_NOHUGEPAGE);
	madvise(ptr, bytes, MADV_DONTDUMP);
	return ptr;
}

static bool add_free_range(struct arena *arena, uintptr_t base, uint64_t size)
{
	struct treap *range = calloc(1, sizeof(*range));

	if (!range)
		return false;
	range->base = base;
	range->size = size;
	treap_insert(&arena->free, range);
	return true;
}

static bool open_arena(struct arena *arena, const struct wire_device *info)
{
	uint64_t bytes = (info->memory_bytes * ARENA_FACTOR + ARENA_ALIGN) & ~(ARENA_ALIGN - 1);
	void *ptr = NULL;

	while (!ptr && bytes > ARENA_ALIGN) {
		ptr = map_arena(NULL, bytes);
		if (!ptr)
			bytes = (bytes / 2) & ~(ARENA_ALIGN - 1);
	}
	if (!ptr)
		return false;
	const uintptr_t base = ((uintptr_t)ptr + ARENA_ALIGN - 1) & ~(uintptr_t)(ARENA_ALIGN - 1);

	arena->is_open = add_free_range(arena, base, bytes - (base - (uintptr_t)ptr));
	return arena->is_open;
}

static bool open_low_arena(struct arena *arena)
{
	void *ptr = map_arena((void *)LOW_ADDRESS, LOW_BYTES);

	if (ptr && (uintptr_t)ptr + LOW_BYTES <= UINT32_MAX) {
		arena->is_open = add_free_range(arena, (uintptr_t)ptr, LOW_BYTES);
		return arena->is_open;
	}
	if (ptr)
		munmap(ptr, LOW_BYTES);
	return false;
}

/* Returns the address of `bytes` of address space, or 0. */
static uintptr_t take_range(struct arena *arena, uint64_t bytes)
{
	struct treap *range = treap_first_fit(arena->free, bytes);

	if (!range)
		return 0;
	const uintptr_t base = range->base;

	treap_remove(&arena->free, base);
	if (range->size > bytes) {
		range->base += bytes;
		range->size -= bytes;
		treap_insert(&arena->free, range);
	} else {
		free(range);
	}
	return base;
}

/* Makes [from, to) zero. Only what is not zero is written: reading untouched memory is free. */
static void clear_bytes(uintptr_t from, uintptr_t to)
{
	unsigned char *bytes = (unsigned char *)from;
	const size_t count = from < to ? to - from : 0;

	for (size_t i = 0; i < count; i++) {
		if (bytes[i]) {
			memset(bytes + i, 0, count - i);
			return;
		}
	}
}

/* Makes [from, to), which lies in the free range [low, high), zero for its next owner, and gives
 * the pages that are free as a whole back to the machine. */
static void clear_range(uintptr_t from, uintptr_t to, uintptr_t low, uintptr_t high)
{
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	const uintptr_t low_page = (low + page - 1) & ~(page - 1), from_page = from & ~(page - 1);
	const uintptr_t high_page = high & ~(page - 1), to_page = (to + page - 1) & ~(page - 1);
	const uintptr_t first = low_page > from_page ? low_page : from_page;
	const uintptr_t last = high_page < to_page ? high_page : to_page;

	if (first >= last) {
		clear_bytes(from, to);
		return;
	}
	madvise((void *)first, last - first, MADV_DONTNEED);
	clear_bytes(from, first);
	clear_bytes(last, to);
}

/* Gives `range`, whose node is used up here, back and joins it with its free neighbours. */
static void give_range(struct arena *arena, struct treap *range)
{
	const uintptr_t from = range->base, to = range->base + range->size;
	struct treap *before = treap_find(arena->free, from - 1);
	struct treap *after = treap_remove(&arena->free, to);

	if (after) {
		range->size += after->size;
		free(after);
	}
	if (before) {
		treap_remove(&arena->free, before->base);
		range->base = before->base;
		range->size += before->size;
		free(before);
	}
	clear_range(from, to, range->base, range->base + range->size);
	treap_insert(&arena->free, range);
}

static uint64_t round_up(const struct device *device, uint64_t size)
{
	const uint64_t asked = device->info->granularity_bytes;
	const uint64_t unit = asked > MIN_ALIGNMENT ? asked : MIN_ALIGNMENT;

	return (size + unit - 1) / unit * unit;
}

bool memory_charge_once(const struct device *device, uint64_t bytes)
{
	const struct wire_request request = {
		.kind = WIRE_MEM_RESERVE, .device = device->index, .bytes = bytes};
	struct wire_reply reply;

	return entry_is_null() || (client_ask(&request, &reply) && reply.status == WIRE_OK);
}

bool memory_charge(const struct device *device, uint64_t bytes)
{
	return memory_charge_once(device, bytes) ||
	       (pools_give_up_unused(device) && memory_charge_once(device, bytes));
}

void memory_discharge(const struct device *device, uint64_t bytes)
{
	const struct wire_request request = {
		.kind = WIRE_MEM_RELEASE, .device = device->index, .bytes = bytes};

	if (!entry_is_null())
		client_send(&request, sizeof(request));
}

static void know(struct memory *memory)
{
	memory->id = ++last_id;
	treap_insert(&known, &memory->range);
}

static uintptr_t take_range_of(struct arena *arena, const struct device *device, uint64_t bytes)
{
	if (!arena->is_open) {
		if (arena == &low_arena)
			open_low_arena(arena);
		else
			open_arena(arena, device->info);
	}
	return take_range(arena, bytes);
}

/* Finds addresses for `memory`, whose arena and size are set. */
static bool place(struct memory *memory, const struct device *device)
{
	pthread_mutex_lock(&lock);
	memory->range.base = take_range_of(memory->arena, device, memory->range.size);
	if (memory->range.base)
		know(memory);
	pthread_mutex_unlock(&lock);
	return memory->range.base != 0;
}

CUresult memory_reserve(CUcontext ctx, enum memory_kind kind, size_t size, unsigned flags, bool low,
	CUdeviceptr *ret_address)
{
	struct device *device = ctx->device;

	if (size == 0)
		return CUDA_ERROR_INVALID_VALUE;
	if (size > device->info->memory_bytes)
		return CUDA_ERROR_OUT_OF_MEMORY;
	struct memory *memory = calloc(1, sizeof(*memory));

	if (!memory)
		return CUDA_ERROR_OUT_OF_MEMORY;
	memory->size = size;
	memory->range.size = round_up(device, size);
	memory->kind = kind;
	memory->flags = flags;
	memory->ctx = ctx;
	memory->device = device;
	memory->arena = low ? &low_arena : &device->arena;
	if (!memory_charge(device, memory->range.size)) {
		free(memory);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	if (!place(memory, device)) {
		memory_discharge(device, memory->range.size);
		free(memory);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	*ret_address = memory->range.base;
	return CUDA_SUCCESS;
}

static bool is_on_device(const struct memory *memory)
{
	return memory->kind == MEMORY_DEVICE || memory->kind == MEMORY_MANAGED ||
	       memory->kind == MEMORY_ARRAY;
}

static bool is_part(const struct memory *memory)
{
	return memory->kind == MEMORY_POOLED || memory->kind == MEMORY_GRAPH;
}

/* Gives addresses back; without memory for the node they are lost, but no bytes. */
static void give_addresses_locked(struct arena *arena, uintptr_t base, uint64_t bytes)
{
	struct treap *range = calloc(1, sizeof(*range));

	if (!range)
		return;
	range->base = base;
	range->size = bytes;
	give_range(arena, range);
}

/* Gives the addresses and bytes of `memory`, which is no longer known, back. */
static void give_up_locked(struct memory *memory)
{
	if (is_on_device(memory)) {
		give_addresses_locked(memory->arena, memory->range.base, memory->range.size);
		memory_discharge(memory->device, memory->range.size);
	} else if (memory->kind == MEMORY_HOST || memory->kind == MEMORY_EXTERNAL) {
		munmap((void *)memory->range.base, memory->range.size);
	}
	free(memory);
}

CUresult memory_release(CUdeviceptr address)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;

	pthread_mutex_lock(&lock);
	struct memory *memory = (struct memory *)treap_find(known, (uintptr_t)address);

	if (memory && memory->range.base == address &&
		(is_on_device(memory) || memory->kind == MEMORY_EXTERNAL)) {
		treap_remove(&known, (uintptr_t)address);
		give_up_locked(memory);
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&lock);
	return result;
}

void memory_release_unordered(CUdeviceptr address)
{
	(void)memory_release(address);
}

CUresult memory_add_host(
	CUcontext ctx, enum memory_kind kind, void *address, size_t size, unsigned flags)
{
	struct memory *memory = calloc(1, sizeof(*memory));
	const uintptr_t base = (uintptr_t)address;

	if (!memory)
		return CUDA_ERROR_OUT_OF_MEMORY;
	memory->range.base = base;
	memory->range.size = memory->size = size;
	memory->kind = kind;
	memory->flags = flags;
	memory->ctx = ctx;
	pthread_mutex_lock(&lock);
	const bool is_free = !treap_find(known, base) && !treap_find(known, base + size - 1);

	if (is_free)
		know(memory);
	pthread_mutex_unlock(&lock);
	if (is_free)
		return CUDA_SUCCESS;
	free(memory);
	return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
}

bool memory_remove_host(enum memory_kind kind, void *address, size_t *ret_size)
{
	const uintptr_t base = (uintptr_t)address;
	bool found = false;

	pthread_mutex_lock(&lock);
	struct memory *memory = (struct memory *)treap_find(known, base);

	if (memory && memory->range.base == base && memory->kind == kind) {
		treap_remove(&known, base);
		*ret_size = memory->size;
		free(memory);
		found = true;
	}
	pthread_mutex_unlock(&lock);
	return found;
}

bool memory_find(CUdeviceptr address, struct memory *ret_memory)
{
	pthread_mutex_lock(&lock);
	const struct memory *memory = (const struct memory *)treap_find(known, (uintptr_t)address);

	if (memory)
		*ret_memory = *memory;
	pthread_mutex_unlock(&lock);
	return memory != NULL;
}

bool memory_holds(CUdeviceptr address, size_t bytes)
{
	struct memory memory;

	return memory_find(address, &memory) &&
	       bytes <= memory.range.size - (address - memory.range.base);
}

/* Returns the lowest allocation of `ctx` from `from` on, or NULL. */
static struct memory *next_of(struct treap *node, CUcontext ctx, uintptr_t from)
{
	if (!node)
		return NULL;
	struct memory *memory = (struct memory *)node;
	struct memory *found = NULL;

	if (node->base > from)
		found = next_of(node->left, ctx, from);
	if (found)
		return found;
	if (node->base >= from && memory->ctx == ctx && !is_part(memory))
		return memory;
	return next_of(node->right, ctx, from);
}

void memory_release_all(CUcontext ctx)
{
	struct memory *memory;
	uintptr_t from = 0;

	pthread_mutex_lock(&lock);
	while ((memory = next_of(known, ctx, from)) != NULL) {
		from = memory->range.base;
		treap_remove(&known, from);
		give_up_locked(memory);
	}
	pthread_mutex_unlock(&lock);
}

uintptr_t memory_take_addresses(struct device *device, uint64_t bytes)
{
	pthread_mutex_lock(&lock);
	const uintptr_t base = take_range_of(&device->arena, device, bytes);

	pthread_mutex_unlock(&lock);
	return base;
}

void memory_give_addresses(struct device *device, uintptr_t base, uint64_t bytes)
{
	pthread_mutex_lock(&lock);
	give_addresses_locked(&device->arena, base, bytes);
	pthread_mutex_unlock(&lock);
}

bool memory_add_part(CUcontext ctx, struct device *device, enum memory_kind kind, uintptr_t base,
	size_t size, uint64_t range_bytes, void *owner)
{
	struct memory *memory = calloc(1, sizeof(*memory));

	if (!memory)
		return false;
	memory->range.base = base;
	memory->range.size = range_bytes;
	memory->size = size;
	memory->kind = kind;
	memory->ctx = ctx;
	memory->device = device;
	memory->owner = owner;
	pthread_mutex_lock(&lock);
	know(memory);
	pthread_mutex_unlock(&lock);
	return true;
}

void memory_remove_part(uintptr_t base)
{
	pthread_mutex_lock(&lock);
	struct memory *memory = (struct memory *)treap_remove(&known, base);

	pthread_mutex_unlock(&lock);
	free(memory);
}
