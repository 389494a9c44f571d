/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Life of contexts. The entry points are in context_api.c and primary.c.
 */
#include "context.h"

#include <string.h>

#include "client.h"
#include "entry.h"
#include "green.h"
#include "memory.h"
#include "module.h"
#include "pool.h"
#include "stream.h"
#include "thread.h"

/* Of which stacks are kept. */
#define THREADS_PER_SM 2048u

static uint64_t last_id;
static CUcontext contexts;

CUresult context_current(CUcontext *ret_ctx)
{
	const struct thread *thread = thread_self();

	if (!thread)
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (thread->is_effects_thread)
		return CUDA_ERROR_NOT_PERMITTED;
	if (thread->context_count == 0 || !thread->contexts[thread->context_count - 1])
		return CUDA_ERROR_INVALID_CONTEXT;
	CUcontext ctx = thread->contexts[thread->context_count - 1];

	if (!handle_is(ctx, HANDLE_CONTEXT))
		return CUDA_ERROR_CONTEXT_IS_DESTROYED;
	*ret_ctx = ctx;
	return CUDA_SUCCESS;
}

CUresult context_current_home(CUcontext *ret_ctx)
{
	const CUresult result = context_current(ret_ctx);

	if (result == CUDA_SUCCESS)
		*ret_ctx = context_home(*ret_ctx);
	return result;
}

uint32_t context_sm_count(CUcontext ctx)
{
	return ctx->primary ? share_count(&ctx->share) : ctx->sm_limit;
}

CUresult context_resolve(CUcontext *ctx)
{
	if (!*ctx)
		return context_current(ctx);
	return handle_is(*ctx, HANDLE_CONTEXT) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

static const size_t default_limits[CU_LIMIT_MAX] = {
	[CU_LIMIT_STACK_SIZE] = 1024,
	[CU_LIMIT_PRINTF_FIFO_SIZE] = (size_t)1 << 20,
	[CU_LIMIT_MALLOC_HEAP_SIZE] = (size_t)8 << 20,
	[CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH] = 2,
	[CU_LIMIT_DEV_RUNTIME_PENDING_LAUNCH_COUNT] = 2048,
	[CU_LIMIT_MAX_L2_FETCH_GRANULARITY] = 64,
};

/* What one unit of a limit takes: a stack is there for every thread that the device can hold. */
static uint64_t unit_bytes(const struct device *device, CUlimit limit)
{
	switch (limit) {
	case CU_LIMIT_STACK_SIZE:
		return (uint64_t)device->info->sm_count * THREADS_PER_SM;
	case CU_LIMIT_PRINTF_FIFO_SIZE:
	case CU_LIMIT_MALLOC_HEAP_SIZE:
		return 1;
	default:
		return 0;
	}
}

static uint64_t bytes_beyond_default(const struct device *device, CUlimit limit, size_t value)
{
	const size_t units = value > default_limits[limit] ? value - default_limits[limit] : 0;
	uint64_t bytes;

	if (__builtin_mul_overflow(units, unit_bytes(device, limit), &bytes))
		return UINT64_MAX;
	return bytes;
}

CUresult context_set_limit(CUcontext ctx, CUlimit limit, size_t value)
{
	const uint64_t bytes = bytes_beyond_default(ctx->device, limit, value);

	if (bytes > ctx->device->info->memory_bytes)
		return CUDA_ERROR_OUT_OF_MEMORY;
	memory_discharge(ctx->device, ctx->heap_bytes[limit]);
	if (!memory_charge(ctx->device, bytes)) {
		/* Its old bytes were there a moment ago; if somebody took them they are gone. */
		if (!memory_charge(ctx->device, ctx->heap_bytes[limit]))
			ctx->heap_bytes[limit] = 0;
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	ctx->heap_bytes[limit] = bytes;
	ctx->limits[limit] = value;
	return CUDA_SUCCESS;
}

static CUresult register_at_server(CUcontext ctx)
{
	struct wire_request request = {
		.kind = ctx->primary ? WIRE_PARTITION_CREATE : WIRE_CONTEXT_CREATE,
		.device = ctx->device->index,
	};
	struct wire_reply reply;

	memcpy(request.partition.sms, ctx->share.sms, sizeof(ctx->share.sms));
	if (!ctx->primary && ctx->sm_limit < ctx->device->info->sm_count)
		request.partition.sm_limit = ctx->sm_limit;

	if (entry_is_null())
		return CUDA_SUCCESS;
	if (!client_ask(&request, &reply))
		return CUDA_ERROR_DEVICE_UNAVAILABLE;
	if (reply.status == WIRE_NO_MEMORY)
		return CUDA_ERROR_OUT_OF_MEMORY;
	ctx->wire_id = reply.context;
	return reply.status == WIRE_OK ? CUDA_SUCCESS : CUDA_ERROR_UNKNOWN;
}

/* Begins the life of a context whose device, share and primary context are set. */
static CUresult begin(CUcontext ctx, CUcontext *ret_ctx)
{
	ctx->api_version = 3020;
	ctx->attachments = 1;
	memcpy(ctx->limits, default_limits, sizeof(ctx->limits));
	const CUresult result = register_at_server(ctx);

	if (result != CUDA_SUCCESS) {
		handle_recycle(&ctx->handle, HANDLE_CONTEXT);
		return result;
	}
	driver_lock();
	ctx->id = ++last_id;
	ctx->next = contexts;
	contexts = ctx;
	ctx->legacy = stream_create_in(ctx, CU_STREAM_DEFAULT, 0);
	driver_unlock();
	*ret_ctx = ctx;
	return ctx->legacy ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult context_create(struct device *device, unsigned flags, CUcontext *ret_ctx)
{
	return context_create_limited(device, flags, device->sm_count, ret_ctx);
}

CUresult context_create_limited(
	struct device *device, unsigned flags, uint32_t sm_limit, CUcontext *ret_ctx)
{
	CUcontext ctx = handle_create(HANDLE_CONTEXT, sizeof(*ctx));

	if (!ctx)
		return CUDA_ERROR_OUT_OF_MEMORY;
	ctx->device = device;
	ctx->flags = flags;
	ctx->share = share_of_device(device);
	ctx->sm_limit = device->sm_count;
	if (sm_limit < device->sm_count)
		ctx->sm_limit = sm_limit + sm_limit % 2;
	return begin(ctx, ret_ctx);
}

CUresult context_create_green(
	CUcontext primary, const struct sm_share *share, CUgreenCtx green, CUcontext *ret_ctx)
{
	CUcontext ctx = handle_create(HANDLE_CONTEXT, sizeof(*ctx));

	if (!ctx)
		return CUDA_ERROR_OUT_OF_MEMORY;
	ctx->device = primary->device;
	ctx->flags = primary->flags;
	ctx->primary = primary;
	ctx->green = green;
	ctx->share = *share;
	return begin(ctx, ret_ctx);
}

CUgreenCtx context_find_green(CUcontext primary)
{
	CUgreenCtx green = NULL;

	driver_lock();
	for (CUcontext ctx = contexts; ctx && !green; ctx = ctx->next) {
		if (ctx->primary == primary)
			green = ctx->green;
	}
	driver_unlock();
	return green;
}

static bool add_context(struct deps *deps, CUcontext ctx)
{
	bool complete = deps_add_all(deps, &ctx->orphans);

	for (CUstream stream = ctx->streams; stream; stream = stream->next_in_context)
		complete = complete && deps_add(deps, stream->last) &&
			   deps_add_all(deps, &stream->waits);
	return complete;
}

static CUresult wait_for(struct deps *deps, bool is_complete)
{
	const CUresult result = is_complete ? ops_wait_all(deps) : CUDA_ERROR_OUT_OF_MEMORY;

	deps_clear(deps);
	return result;
}

CUcontext context_next_within(CUcontext ctx, CUcontext last)
{
	CUcontext next = last ? last->next : contexts;

	while (next && next != ctx && next->primary != ctx)
		next = next->next;
	return next;
}

bool context_collect(struct deps *deps, CUcontext ctx)
{
	bool is_complete = true;

	for (CUcontext one = context_next_within(ctx, NULL); one;
		one = context_next_within(ctx, one))
		is_complete = is_complete && add_context(deps, one);
	return is_complete;
}

bool context_hold_back(CUcontext ctx, uint64_t seq)
{
	bool is_complete = true;

	for (CUcontext one = context_next_within(ctx, NULL); one;
		one = context_next_within(ctx, one)) {
		is_complete = is_complete && deps_add(&one->waits, seq);
		for (CUstream stream = one->streams; stream; stream = stream->next_in_context)
			is_complete = is_complete && deps_add(&stream->waits, seq);
	}
	return is_complete;
}

CUresult context_wait(CUcontext ctx)
{
	struct deps deps = {0};

	driver_lock();
	const bool is_complete = context_collect(&deps, ctx);

	driver_unlock();
	return wait_for(&deps, is_complete);
}

CUresult contexts_wait(void)
{
	struct deps deps = {0};
	bool is_complete = true;

	driver_lock();
	for (CUcontext ctx = contexts; ctx; ctx = ctx->next)
		is_complete = is_complete && add_context(&deps, ctx);
	driver_unlock();
	return wait_for(&deps, is_complete);
}

void contexts_for_each(
	void (*visit)(const struct capture *arg, CUcontext ctx), const struct capture *arg)
{
	for (CUcontext ctx = contexts; ctx; ctx = ctx->next)
		visit(arg, ctx);
}

CUmodule context_find_module(CUlibrary library)
{
	CUmodule module = NULL;

	driver_lock();
	for (CUcontext ctx = contexts; ctx && !module; ctx = ctx->next) {
		module = ctx->modules;
		while (module && module->library != library)
			module = module->next_in_context;
	}
	driver_unlock();
	return module;
}

static void forget(CUcontext ctx)
{
	CUcontext *link = &contexts;

	while (*link != ctx)
		link = &(*link)->next;
	*link = ctx->next;
}

CUresult context_destroy(CUcontext ctx)
{
	const struct wire_request request = {.kind = WIRE_CONTEXT_DESTROY, .context = ctx->wire_id};
	struct wire_reply reply;
	const CUresult result = context_wait(ctx);

	driver_lock();
	handle_retire(&ctx->handle);
	/* Those of a green context are told apart from what never was a stream. */
	while (ctx->streams && ctx->primary && ctx->streams != ctx->legacy)
		stream_orphan_in(ctx->streams);
	while (ctx->streams)
		stream_destroy_in(ctx->streams);
	while (ctx->modules)
		module_destroy(ctx->modules);
	forget(ctx);
	deps_clear(&ctx->orphans);
	deps_clear(&ctx->waits);
	driver_unlock();
	pools_release_context(ctx);
	memory_release_all(ctx);
	for (int limit = 0; limit < CU_LIMIT_MAX; limit++)
		memory_discharge(ctx->device, ctx->heap_bytes[limit]);
	if (!entry_is_null())
		(void)client_ask(&request, &reply);
	handle_recycle(&ctx->handle, HANDLE_CONTEXT);
	return result;
}

CUresult context_push(CUcontext ctx)
{
	struct thread *thread = thread_self();

	if (!thread || thread->context_count == THREAD_CONTEXTS)
		return CUDA_ERROR_OUT_OF_MEMORY;
	thread->contexts[thread->context_count++] = ctx;
	green_note_thread(ctx);
	return CUDA_SUCCESS;
}

void context_pop_if_current(CUcontext ctx)
{
	struct thread *thread = thread_self();

	if (thread && thread->context_count && thread->contexts[thread->context_count - 1] == ctx)
		thread->context_count--;
}
