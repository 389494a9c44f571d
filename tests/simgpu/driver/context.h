/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Contexts: what belongs to one, which is current, and its end.
 */
#ifndef SIMGPU_DRIVER_CONTEXT_H
#define SIMGPU_DRIVER_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>

#include <cuda.h>

#include "device.h"
#include "handle.h"
#include "ops.h"
#include "resource.h"

struct capture;
struct thread;

struct CUctx_st {
	struct handle handle;
	struct device *device;
	uint32_t wire_id; /* as the server knows it */
	uint64_t id;      /* as cuCtxGetId tells it */
	unsigned flags;
	unsigned api_version;
	bool is_primary;
	CUcontext primary; /* of a green context: all but its streams and SMs are there; or NULL */
	CUgreenCtx green;  /* whose context it is, or NULL */
	const struct thread *thread; /* in which a green context was current first; or NULL */
	uint32_t sm_limit;           /* how many SMs at a time */
	struct sm_share share;       /* SMs of its kernels */
	struct deps waits;           /* that streams which are made from now on wait for */
	unsigned attachments;        /* cuCtxAttach */
	CUstream streams;            /* all of them: linked by their next_in_context */
	CUstream legacy;
	struct deps orphans; /* last operations of streams that were destroyed */
	CUmodule modules;    /* linked by their next_in_context */
	CUcontext next;      /* in the list of all contexts */
	size_t limits[CU_LIMIT_MAX];
	uint64_t heap_bytes[CU_LIMIT_MAX]; /* taken for them beyond context_bytes */
	CUfunc_cache cache_config;
	CUsharedconfig shared_config;
};

/* Returns the context in which the memory, modules and events of `ctx` are: a green context has
 * none of its own. */
static inline CUcontext context_home(CUcontext ctx)
{
	return ctx->primary ? ctx->primary : ctx;
}

/* Finds the calling thread's current context.
 * Returns  CUDA_ERROR_INVALID_CONTEXT if there is none, CUDA_ERROR_CONTEXT_IS_DESTROYED, or
 *          CUDA_ERROR_NOT_PERMITTED in a callback
 */
CUresult context_current(CUcontext *ret_ctx);

/* The same, and its home. */
CUresult context_current_home(CUcontext *ret_ctx);

/* Returns how many SMs the kernels of `ctx` may use. */
uint32_t context_sm_count(CUcontext ctx);

/* Returns CUDA_SUCCESS if `ctx` is one; NULL stands for the current one, which is put in place. */
CUresult context_resolve(CUcontext *ctx);

/* Makes a context on `device`, current nowhere. */
CUresult context_create(struct device *device, unsigned flags, CUcontext *ret_ctx);

/* The same with no more than `sm_limit` SMs at a time, rounded up to a pair: MPS can do that. */
CUresult context_create_limited(
	struct device *device, unsigned flags, uint32_t sm_limit, CUcontext *ret_ctx);

/* Makes the context of `green`, with some SMs of `primary`. */
CUresult context_create_green(
	CUcontext primary, const struct sm_share *share, CUgreenCtx green, CUcontext *ret_ctx);

/* Returns a green context of `primary`, or NULL. Takes the driver lock. */
CUgreenCtx context_find_green(CUcontext primary);

/* Sets a limit and takes of the device what it needs beyond its default, whose bytes are among
 * those of the context.
 * Returns  CUDA_ERROR_OUT_OF_MEMORY if the device has no room; the limit is as it was then
 */
CUresult context_set_limit(CUcontext ctx, CUlimit limit, size_t value);

/* Waits for all that runs in `ctx`, then ends it and all that belongs to it. */
CUresult context_destroy(CUcontext ctx);

/* Waits for all that was submitted in `ctx`, and in green contexts of it, up to now. */
CUresult context_wait(CUcontext ctx);

/* Waits for all that was submitted in any context up to now. */
CUresult contexts_wait(void);

/* Makes `ctx` the last of the calling thread's stack. */
CUresult context_push(CUcontext ctx);

/* Returns a module of `library` in any context, or NULL. Takes the driver lock. */
CUmodule context_find_module(CUlibrary library);

/* Goes through `ctx` and its green contexts: the first for NULL, the one behind `last`, or NULL;
 * the driver lock is held. */
CUcontext context_next_within(CUcontext ctx, CUcontext last);

/* Adds what runs in `ctx` and its green contexts to `deps`; the driver lock is held. Returns false
 * when memory is out. */
bool context_collect(struct deps *deps, CUcontext ctx);

/* Makes all that is submitted in them from now on wait for the operation `seq`; the same. */
bool context_hold_back(CUcontext ctx, uint64_t seq);

/* Calls `visit` for every context; the driver lock is held. */
void contexts_for_each(
	void (*visit)(const struct capture *arg, CUcontext ctx), const struct capture *arg);

/* Removes the last of the calling thread's stack if it is `ctx`. */
void context_pop_if_current(CUcontext ctx);

#endif
