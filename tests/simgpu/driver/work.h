/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * One piece of work as CUDA knows it: a kernel, a copy, a host function. Streams and graphs order
 * pieces of work; this file lowers one to an operation of the simulated machine, and applies its
 * effects when that operation has ended.
 */
#ifndef SIMGPU_DRIVER_WORK_H
#define SIMGPU_DRIVER_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda.h>

#include "../twin.h"
#include "../wire.h"
#include "ops.h"

enum work_kind {
	WORK_EMPTY,
	WORK_KERNEL,
	WORK_COPY,
	WORK_FILL,
	WORK_HOST,
	WORK_CALLBACK,
	WORK_EVENT,     /* records an event */
	WORK_RELEASE,   /* gives device memory back */
	WORK_POOL_FREE, /* the same for parts of pools */
};

struct work_kernel {
	CUfunction function;
	simgpu_twin *twin; /* the function's, which may be gone when the kernel ends; or NULL */
	struct simgpu_twin_launch launch;
	void **params;              /* launch.param_count pointers into param_bytes */
	unsigned char *param_bytes; /* owned */
	uint32_t blocks_per_sm;     /* how many of its blocks an SM holds */
	uint32_t cluster_blocks;    /* 1: it has no clusters */
	bool is_cooperative;        /* all of its blocks have to run at a time */
};

/* Bytes: `depth` slices of `height` rows of `width`. */
struct work_copy {
	char *dst;
	const char *src;
	size_t width, height, depth;
	size_t dst_pitch, dst_slice, src_pitch, src_slice;
	bool src_is_pageable, dst_is_pageable; /* host memory that CUDA does not know */
	bool is_within_device;                 /* from and to memory of one device */
	bool is_synchronous;                   /* CU_POINTER_ATTRIBUTE_SYNC_MEMOPS of a side */
	void *staged; /* owned; what src points to if the source was copied at the call; or NULL */
};

/* `height` rows of `width` elements. */
struct work_fill {
	char *dst;
	size_t pitch, width, height;
	uint32_t value;
	uint32_t element_bytes; /* 1, 2 or 4 */
};

struct work_host {
	CUhostFn function;
	void *user_data;
};

struct work_callback {
	CUstreamCallback function;
	CUstream stream;
	void *user_data;
};

struct work {
	_Atomic uint32_t refs;
	enum work_kind kind;
	/* In a graph: the context in which it runs whatever stream the graph is launched in, and
	 * the id of it, for it may end before; NULL: that of the kernel, or of the launch. */
	CUcontext place;
	uint64_t place_id;
	union {
		struct work_kernel kernel;
		struct work_copy copy;
		struct work_fill fill;
		struct work_host host;
		struct work_callback callback;
		CUevent event; /* holds a reference */
		struct {
			CUdeviceptr address;
			uint64_t id;
		} release;
	};
};

/* Returns zeroed work with one reference that belongs to the caller, or NULL. */
struct work *work_create(enum work_kind kind);
void work_ref(struct work *work);
/* Drops a reference; NULL is allowed. */
void work_unref(struct work *work);

/* Returns work that launches `function`, or NULL when memory is out.
 * kernel_params  as cuLaunchKernel takes them: one pointer a parameter; copied; or NULL
 * buffer         else the packed parameters, `buffer_bytes` long; copied
 */
struct work *work_create_kernel(CUfunction function, const struct simgpu_twin_launch *launch,
	void **kernel_params, const void *buffer, size_t buffer_bytes);

/* Makes `work`, which nobody else has yet, part of a graph, in which it runs in `ctx`. */
void work_place(struct work *work, CUcontext ctx);

/* The same for work of a node that did `old` before: it stays where that was, unless it has a place
 * of its own. */
void work_replace(struct work *work, const struct work *old);

/* Finds where the work of a graph that is launched in `launch_ctx` runs.
 * Returns  CUDA_ERROR_CONTEXT_IS_DESTROYED for a kernel whose context has ended
 */
CUresult work_context(const struct work *work, CUcontext launch_ctx, CUcontext *ret_ctx);

/* Returns the blocks of the grid. */
uint64_t work_kernel_blocks(const struct work_kernel *kernel);

/* Makes the copy `work` independent of its source's memory, as a driver does that stages small
 * copies from pageable memory.
 * Returns  false if it does not: the caller has to wait for the copy then
 */
bool work_stage(struct work *work);

/* Submits `work` after `deps` in context `ctx`. The caller holds the driver lock.
 * Returns  the operation, or 0 when memory is out or the server is gone; in null mode 0 always
 */
uint64_t work_submit(struct work *work, CUcontext ctx, int priority, const struct deps *deps);

/* Does what the work does, at its end; in the effects thread.
 * sms  on which it ran, a bit each, if it is a kernel with a twin
 */
void work_apply(struct work *work, const struct wire_ring_entry *completion, const uint64_t *sms);

#endif
