/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The set of allocations.
 */
#include "memory.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "arena.h"
#include "client.h"
#include "context.h"
#include "device.h"
#include "entry.h"
#include "pool.h"

#define MIN_ALIGNMENT 512

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct treap *known;
static uint64_t last_id;

static uint64_t round_up(const struct device *device, uint64_t size)
{
	const uint64_t asked = device->info->granularity_bytes;
	const uint64_t unit = asked > MIN_ALIGNMENT ? asked : MIN_ALIGNMENT;

	return (size + unit - 1) / unit * unit;
}

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

/* The setting may change meanwhile, which counts at once. */
static void wait_for_answer(void)
{
	const uint64_t start_us = now_us();
	uint64_t waited_us = 0, wait_us;

	while ((wait_us = atomic_load(&entry.machine->memory_answer_us)) > waited_us) {
		const uint64_t rest_us = wait_us - waited_us;

		usleep(rest_us < 1000 ? (useconds_t)rest_us : 1000);
		waited_us = now_us() - start_us;
	}
}

bool memory_charge_once(const struct device *device, uint64_t bytes)
{
	const struct wire_request request = {
		.kind = WIRE_MEM_RESERVE, .device = device->index, .bytes = bytes};
	struct wire_reply reply;

	if (entry_is_null())
		return true;
	wait_for_answer();
	return client_ask(&request, &reply) && reply.status == WIRE_OK;
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
		client_tell(&request);
}

static void know(struct memory *memory)
{
	memory->id = ++last_id;
	treap_insert(&known, &memory->range);
}

/* Finds addresses for `memory`, whose arena and size are set. */
static bool place(struct memory *memory, struct device *device)
{
	pthread_mutex_lock(&lock);
	memory->range.base = arena_take(memory->arena, device, memory->range.size);
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
	memory->arena = low ? &arena_low : &device->arena;
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

static void drop_block(uint64_t id)
{
	const struct wire_request request = {.kind = WIRE_BLOCK_DROP, .block = {.id = id}};

	client_tell(&request);
}

/* Its pages begin where the other process's do. */
static void unmap_imported(const struct memory *memory)
{
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	const uintptr_t first = memory->range.base & ~(page - 1);

	munmap((void *)first, memory->range.base + memory->range.size - first);
	drop_block(memory->block_id);
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

/* Gives the addresses and bytes of `memory`, which is no longer known, back. */
static void give_up_locked(struct memory *memory)
{
	if (is_on_device(memory)) {
		arena_give(memory->arena, memory->range.base, memory->range.size);
		if (memory->block_id)
			drop_block(memory->block_id);
		else
			memory_discharge(memory->device, memory->range.size);
	} else if (memory->kind == MEMORY_HOST || memory->kind == MEMORY_EXTERNAL) {
		munmap((void *)memory->range.base, memory->range.size);
	} else if (memory->kind == MEMORY_IMPORTED) {
		unmap_imported(memory);
	}
	free(memory);
}

/* id  0: whatever begins there */
static CUresult release(CUdeviceptr address, uint64_t id)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;

	pthread_mutex_lock(&lock);
	struct memory *memory = (struct memory *)treap_find(known, (uintptr_t)address);

	if (memory && memory->range.base == address && (id == 0 || memory->id == id) &&
		(is_on_device(memory) || memory->kind == MEMORY_EXTERNAL)) {
		treap_remove(&known, (uintptr_t)address);
		give_up_locked(memory);
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&lock);
	return result;
}

CUresult memory_release(CUdeviceptr address)
{
	return release(address, 0);
}

void memory_release_unordered(CUdeviceptr address, uint64_t id)
{
	(void)release(address, id);
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

void memory_set_synchronous(CUdeviceptr address, bool is_synchronous)
{
	pthread_mutex_lock(&lock);
	struct memory *memory = (struct memory *)treap_find(known, (uintptr_t)address);

	if (memory)
		memory->is_synchronous = is_synchronous;
	pthread_mutex_unlock(&lock);
}

bool memory_holds(CUdeviceptr address, size_t bytes, bool is_write)
{
	const unsigned needed =
		is_write ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE : CU_MEM_ACCESS_FLAGS_PROT_READ;
	bool is_held = false, is_further = true;

	pthread_mutex_lock(&lock);
	while (is_further && !is_held) {
		const struct memory *memory =
			(const struct memory *)treap_find(known, (uintptr_t)address);
		const bool is_mapped = memory && memory->kind == MEMORY_MAPPED;
		const size_t room =
			memory ? memory->range.size - (address - memory->range.base) : 0;

		is_further = is_mapped && (memory->access & needed) == needed;
		is_held = memory && bytes <= room && (is_further || !is_mapped);
		address += room;
		bytes -= room;
	}
	pthread_mutex_unlock(&lock);
	return is_held;
}

bool memory_add(const struct memory *memory)
{
	struct memory *copy = malloc(sizeof(*copy));

	if (!copy)
		return false;
	*copy = *memory;
	pthread_mutex_lock(&lock);
	know(copy);
	pthread_mutex_unlock(&lock);
	return true;
}

void memory_remove(uintptr_t base)
{
	pthread_mutex_lock(&lock);
	free(treap_remove(&known, base));
	pthread_mutex_unlock(&lock);
}

void memory_set_access(uintptr_t base, unsigned access)
{
	pthread_mutex_lock(&lock);
	struct memory *memory = (struct memory *)treap_find(known, base);

	if (memory && memory->kind == MEMORY_MAPPED)
		memory->access = access;
	pthread_mutex_unlock(&lock);
}

static bool share_locked(struct memory *memory)
{
	const struct wire_request request = {
		.kind = WIRE_BLOCK_SHARE,
		.device = memory->device->index,
		.bytes = memory->range.size,
		.block = {.offset = memory->range.base - memory->arena->base},
	};
	struct wire_reply reply;

	if (memory->block_id)
		return true;
	if (!client_ask(&request, &reply) || reply.status != WIRE_OK)
		return false;
	memory->block_id = reply.block.id;
	return true;
}

CUresult memory_share(CUdeviceptr address, struct memory *ret_memory)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;

	pthread_mutex_lock(&lock);
	struct memory *memory = (struct memory *)treap_find(known, (uintptr_t)address);

	if (memory && memory->kind == MEMORY_DEVICE && memory->range.base == address &&
		memory->arena->is_shared)
		result = share_locked(memory) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
	if (result == CUDA_SUCCESS)
		*ret_memory = *memory;
	pthread_mutex_unlock(&lock);
	return result;
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
	const uintptr_t base = arena_take(&device->arena, device, bytes);

	pthread_mutex_unlock(&lock);
	return base;
}

void memory_give_addresses(struct device *device, uintptr_t base, uint64_t bytes)
{
	pthread_mutex_lock(&lock);
	arena_give(&device->arena, base, bytes);
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

CUdeviceptr memory_open_again(CUcontext ctx, uint64_t block_id)
{
	struct memory *memory;
	uintptr_t from = 0;

	pthread_mutex_lock(&lock);
	while ((memory = next_of(known, ctx, from)) != NULL) {
		from = memory->range.base + 1;
		if (memory->kind == MEMORY_IMPORTED && memory->block_id == block_id)
			break;
	}
	if (memory)
		memory->opened++;
	const CUdeviceptr address = memory ? memory->range.base : 0;

	pthread_mutex_unlock(&lock);
	return address;
}

bool memory_close(CUdeviceptr address)
{
	pthread_mutex_lock(&lock);
	struct memory *memory = (struct memory *)treap_find(known, (uintptr_t)address);
	const bool is_there =
		memory && memory->kind == MEMORY_IMPORTED && memory->range.base == address;

	if (is_there && --memory->opened == 0) {
		treap_remove(&known, (uintptr_t)address);
		give_up_locked(memory);
	}
	pthread_mutex_unlock(&lock);
	return is_there;
}
