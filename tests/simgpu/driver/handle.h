/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The objects behind CUDA's opaque handles. Their memory is recycled but never given back, so that
 * a handle that was destroyed can still be looked at and be recognised as such.
 */
#ifndef SIMGPU_DRIVER_HANDLE_H
#define SIMGPU_DRIVER_HANDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum handle_kind {
	HANDLE_NONE,
	HANDLE_CONTEXT,
	HANDLE_STREAM,
	HANDLE_EVENT,
	HANDLE_MODULE,
	HANDLE_FUNCTION,
	HANDLE_LIBRARY,
	HANDLE_KERNEL,
	HANDLE_GRAPH,
	HANDLE_NODE,
	HANDLE_EXEC,
	HANDLE_POOL,
	HANDLE_ARRAY,
	HANDLE_MIPMAP,
	HANDLE_EXTERNAL,
	HANDLE_TEXTURE,
	HANDLE_SURFACE,
	HANDLE_PHYSICAL,
	HANDLE_DESCRIPTOR,
	HANDLE_GREEN,
	HANDLE_CONDITIONAL,
	HANDLE_KINDS,
};

/* The first member of every such object. */
struct handle {
	_Atomic uint32_t kind; /* enum handle_kind; HANDLE_NONE once it is destroyed */
	struct handle *next;   /* while it waits to be used again, or is kept */
};

/* Returns zeroed memory for an object whose first member is a struct handle of `kind`, or NULL.
 * size  bytes; the same for all objects of a kind
 */
void *handle_create(enum handle_kind kind, size_t size);

/* Makes `handle` invalid for callers; its memory stays in use. */
void handle_retire(struct handle *handle);

/* Gives the memory of an object of `kind` back for reuse. */
void handle_recycle(struct handle *handle, enum handle_kind kind);

/* Remembers an object for which CUDA has no call that ends it: it is not lost, but lasts. */
void handle_keep(struct handle *handle);

/* Returns whether `ptr` is an object of `kind`. As with the real driver, what never was a handle
 * may end the process; small numbers and NULL are told. */
bool handle_is(const void *ptr, enum handle_kind kind);

#endif
