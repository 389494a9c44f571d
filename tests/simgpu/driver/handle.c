/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Storage of the objects behind handles.
 */
#include "handle.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct handle *unused[HANDLE_KINDS];
static struct handle *kept;

static struct handle *take_unused(enum handle_kind kind)
{
	pthread_mutex_lock(&lock);
	struct handle *handle = unused[kind];

	if (handle)
		unused[kind] = handle->next;
	pthread_mutex_unlock(&lock);
	return handle;
}

void *handle_create(enum handle_kind kind, size_t size)
{
	struct handle *handle = take_unused(kind);

	if (!handle)
		handle = malloc(size);
	if (!handle)
		return NULL;
	memset(handle, 0, size);
	atomic_store_explicit(&handle->kind, (uint32_t)kind, memory_order_relaxed);
	return handle;
}

void handle_retire(struct handle *handle)
{
	atomic_store_explicit(&handle->kind, HANDLE_NONE, memory_order_relaxed);
}

void handle_recycle(struct handle *handle, enum handle_kind kind)
{
	handle_retire(handle);
	pthread_mutex_lock(&lock);
	handle->next = unused[kind];
	unused[kind] = handle;
	pthread_mutex_unlock(&lock);
}

void handle_keep(struct handle *handle)
{
	pthread_mutex_lock(&lock);
	handle->next = kept;
	kept = handle;
	pthread_mutex_unlock(&lock);
}

bool handle_is(const void *ptr, enum handle_kind kind)
{
	const struct handle *handle = ptr;

	if ((uintptr_t)ptr < 4096)
		return false;
	return atomic_load_explicit(&handle->kind, memory_order_relaxed) == (uint32_t)kind;
}
