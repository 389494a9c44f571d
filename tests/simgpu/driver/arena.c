/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Arenas of address space.
 */
#include "arena.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client.h"
#include "device.h"
#include "entry.h"

#define ARENA_ALIGN ((uint64_t)2 << 20)
#define LOW_BYTES   ((uint64_t)512 << 20)
#define LOW_ADDRESS ((uintptr_t)0x40000000)
/* Address space is cheap: so much more than memory that it never runs out by fragmentation. */
#define ARENA_FACTOR 4

struct arena arena_low;

/* fd  of a file; -1: memory of its own */
static void *map_arena(void *hint, uint64_t bytes, int fd)
{
	const int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	void *ptr = mmap(hint, bytes, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, fd, 0);

	if (ptr == MAP_FAILED)
		return NULL;
	/* A touched byte is to cost a page, not 2 MiB; a core dump not the whole device; and a
	 * child has nothing of what its parent holds. */
	madvise(ptr, bytes, MADV_NOHUGEPAGE);
	madvise(ptr, bytes, MADV_DONTDUMP);
	if (fd >= 0)
		madvise(ptr, bytes, MADV_DONTFORK);
	return ptr;
}

/* Returns a file of that size for the device's memory, or -1 in null mode, or without a server. */
static int open_arena_file(const struct device *device, uint64_t bytes)
{
	const struct wire_request request = {
		.kind = WIRE_ARENA, .device = device->index, .bytes = bytes};
	struct wire_reply reply;
	int fd = -1;

	if (!entry_is_null())
		(void)client_ask_fd(&request, &reply, &fd);
	return fd;
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

static bool open_arena(struct device *device)
{
	struct arena *arena = &device->arena;
	uint64_t bytes =
		(device->info->memory_bytes * ARENA_FACTOR + ARENA_ALIGN) & ~(ARENA_ALIGN - 1);
	const int fd = open_arena_file(device, bytes);
	void *ptr = NULL;

	while (!ptr && bytes > ARENA_ALIGN) {
		ptr = map_arena(NULL, bytes, fd);
		if (!ptr)
			bytes = (bytes / 2) & ~(ARENA_ALIGN - 1);
	}
	if (fd >= 0)
		close(fd);
	if (!ptr)
		return false;
	const uintptr_t base = ((uintptr_t)ptr + ARENA_ALIGN - 1) & ~(uintptr_t)(ARENA_ALIGN - 1);

	arena->base = (uintptr_t)ptr;
	arena->is_shared = fd >= 0;
	arena->is_open = add_free_range(arena, base, bytes - (base - (uintptr_t)ptr));
	return arena->is_open;
}

static bool open_low_arena(struct arena *arena)
{
	void *ptr = map_arena((void *)LOW_ADDRESS, LOW_BYTES, -1);

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
static void clear_range(uintptr_t from, uintptr_t to, uintptr_t low, uintptr_t high, bool is_shared)
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
	madvise((void *)first, last - first, is_shared ? MADV_REMOVE : MADV_DONTNEED);
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
	clear_range(from, to, range->base, range->base + range->size, arena->is_shared);
	treap_insert(&arena->free, range);
}

uintptr_t arena_take(struct arena *arena, struct device *device, uint64_t bytes)
{
	if (!arena->is_open) {
		if (arena == &arena_low)
			open_low_arena(arena);
		else
			open_arena(device);
	}
	return take_range(arena, bytes);
}

void arena_give(struct arena *arena, uintptr_t base, uint64_t bytes)
{
	struct treap *range = calloc(1, sizeof(*range));

	if (!range)
		return;
	range->base = base;
	range->size = bytes;
	give_range(arena, range);
}
