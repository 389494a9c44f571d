/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "base/wipe.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

/* Many more than there are calls of wipe_alloc(), each of which is made once in a process. */
#define MAX_REGIONS 64

/* glibc's; weak, because musl has none and a strong import would keep its programs from starting.
 */
int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *dso)
	__attribute__((weak));

static struct {
	void *start;
	size_t size;
} regions[MAX_REGIONS];
static atomic_uint region_count;

static void wipe_in_child(void)
{
	unsigned count = atomic_load_explicit(&region_count, memory_order_relaxed);

	for (unsigned i = 0; i < count && i < MAX_REGIONS; i++)
		memset(regions[i].start, 0, regions[i].size);
}

/* False where there is no room: memory that a child inherited would be worse than none. */
static bool wipe_by_handler(void *start, size_t size)
{
	unsigned i = atomic_fetch_add_explicit(&region_count, 1, memory_order_relaxed);

	if (i >= MAX_REGIONS)
		return false;
	regions[i].start = start;
	regions[i].size = size;
	if (i == 0 && __register_atfork != NULL)
		__register_atfork(NULL, NULL, wipe_in_child, NULL);
	return true;
}

void *pages_alloc(size_t size)
{
	int saved_errno = errno;
	void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	errno = saved_errno;
	return pages == MAP_FAILED ? NULL : pages;
}

void pages_free(void *pages, size_t size)
{
	int saved_errno = errno;

	if (pages != NULL)
		munmap(pages, size);
	errno = saved_errno;
}

void *wipe_alloc(size_t size)
{
	int saved_errno = errno;
	void *start = pages_alloc(size);

	if (start != NULL && madvise(start, size, MADV_WIPEONFORK) != 0 &&
		!wipe_by_handler(start, size)) {
		pages_free(start, size);
		start = NULL;
	}
	errno = saved_errno;
	return start;
}
