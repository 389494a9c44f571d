/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Order of work in streams, and between them by way of the legacy default stream. The entry points
 * are in stream_api.c.
 */
#include "stream.h"

#include <stdlib.h>

#include "capture.h"
#include "cluster.h"
#include "context.h"
#include "entry.h"
#include "green.h"
#include "module.h"
#include "thread.h"
#include "work.h"

static uint64_t last_id;

CUstream stream_create_in(CUcontext ctx, unsigned flags, int priority)
{
	CUstream stream = handle_create(HANDLE_STREAM, sizeof(*stream));

	if (!stream)
		return NULL;
	stream->ctx = ctx;
	stream->flags = flags;
	stream->priority = priority;
	stream->id = ++last_id;
	if (!deps_add_all(&stream->waits, &ctx->waits)) {
		deps_clear(&stream->waits);
		handle_recycle(&stream->handle, HANDLE_STREAM);
		return NULL;
	}
	stream->next_in_context = ctx->streams;
	ctx->streams = stream;
	return stream;
}

static void leave_owner(CUstream stream)
{
	CUstream *link = &stream->owner->streams;

	while (*link != stream)
		link = &(*link)->next_of_owner;
	*link = stream->next_of_owner;
	stream->owner = NULL;
}

/* Takes a stream out of everything. */
static void end(CUstream stream)
{
	CUcontext ctx = stream->ctx;
	CUstream *link = &ctx->streams;

	while (*link != stream)
		link = &(*link)->next_in_context;
	*link = stream->next_in_context;
	if (stream->owner)
		leave_owner(stream);
	if (stream->capture)
		capture_forget_stream(stream);
	/* Without memory the context's end would not wait for it: nothing else depends on this. */
	(void)deps_add(&ctx->orphans, stream->last);
	deps_clear(&stream->waits);
	free(stream->tips.nodes);
	stream->tips = (struct node_list){0};
}

void stream_destroy_in(CUstream stream)
{
	end(stream);
	handle_recycle(&stream->handle, HANDLE_STREAM);
}

/* cuda.h promises a leak, and this is it. */
void stream_orphan_in(CUstream stream)
{
	end(stream);
	stream->ctx = NULL;
	stream->is_orphan = true;
	handle_keep(&stream->handle);
}

void stream_abandon_thread(struct thread *thread)
{
	driver_lock();
	while (thread->streams)
		stream_destroy_in(thread->streams);
	driver_unlock();
}

static CUresult per_thread_stream(CUcontext ctx, CUstream *ret_stream)
{
	struct thread *thread = thread_self();
	CUstream stream = thread->streams;

	while (stream && stream->ctx != ctx)
		stream = stream->next_of_owner;
	if (!stream) {
		stream = stream_create_in(ctx, CU_STREAM_DEFAULT, 0);
		if (!stream)
			return CUDA_ERROR_OUT_OF_MEMORY;
		stream->owner = thread;
		stream->next_of_owner = thread->streams;
		thread->streams = stream;
	}
	*ret_stream = stream;
	return CUDA_SUCCESS;
}

CUresult stream_resolve(CUstream handle, enum stream_default meaning, CUstream *ret_stream)
{
	CUcontext ctx = NULL;
	const CUresult result = context_current(&ctx);
	const bool is_named =
		handle && handle != CU_STREAM_LEGACY && handle != CU_STREAM_PER_THREAD;

	/* Only a default stream is that of the current context: others know theirs. */
	if (result != CUDA_SUCCESS && (result != CUDA_ERROR_INVALID_CONTEXT || !is_named))
		return result;
	if (!handle)
		handle = meaning == STREAM_LEGACY ? CU_STREAM_LEGACY : CU_STREAM_PER_THREAD;
	if (handle == CU_STREAM_PER_THREAD && ctx->primary)
		return CUDA_ERROR_INVALID_HANDLE;
	if (handle == CU_STREAM_PER_THREAD)
		return per_thread_stream(ctx, ret_stream);
	if (handle == CU_STREAM_LEGACY)
		handle = ctx->legacy;
	if (!handle_is(handle, HANDLE_STREAM))
		return CUDA_ERROR_INVALID_HANDLE;
	if (handle->is_orphan)
		return CUDA_ERROR_CONTEXT_IS_DESTROYED;
	*ret_stream = handle;
	return CUDA_SUCCESS;
}

bool stream_is_blocking(CUstream stream)
{
	return !(stream->flags & CU_STREAM_NON_BLOCKING);
}

static bool add_own(CUstream stream, struct deps *deps)
{
	return deps_add(deps, stream->last) && deps_add_all(deps, &stream->waits);
}

bool stream_collect_deps(CUstream stream, struct deps *deps)
{
	CUcontext ctx = stream->ctx;

	if (stream != ctx->legacy)
		return add_own(stream, deps) &&
		       (!stream_is_blocking(stream) || add_own(ctx->legacy, deps));
	for (CUstream other = ctx->streams; other; other = other->next_in_context) {
		if (stream_is_blocking(other) && !add_own(other, deps))
			return false;
	}
	return true;
}

void stream_advance(CUstream stream, uint64_t seq)
{
	stream->last = seq;
	stream->waits.count = 0;
}

static CUresult check_kernel(const struct work_kernel *kernel, CUcontext ctx)
{
	if (kernel->function->module->ctx != context_home(ctx))
		return CUDA_ERROR_INVALID_HANDLE;
	if (kernel->cluster_blocks > 1 &&
		cluster_room(ctx, kernel->blocks_per_sm, kernel->cluster_blocks) == 0)
		return CUDA_ERROR_INVALID_CLUSTER_SIZE;
	if (!kernel->is_cooperative)
		return CUDA_SUCCESS;
	const uint64_t room = (uint64_t)kernel->blocks_per_sm * context_sm_count(ctx);

	return work_kernel_blocks(kernel) > room ? CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE
						 : CUDA_SUCCESS;
}

CUresult stream_submit(CUstream stream, struct work *work, uint64_t *ret_seq)
{
	struct deps deps = {0};
	uint64_t seq = 0;
	CUresult result = CUDA_SUCCESS;

	if (work->kind == WORK_KERNEL)
		result = check_kernel(&work->kernel, stream->ctx);
	if (result != CUDA_SUCCESS)
		capture_spoil(stream);
	if (result == CUDA_SUCCESS && stream == stream->ctx->legacy)
		result = capture_refuse_legacy(stream->ctx);
	if (result == CUDA_SUCCESS && stream->capture) {
		work_place(work, stream->ctx);
		result = capture_add_work(stream, work);
	} else if (result == CUDA_SUCCESS) {
		if (stream_collect_deps(stream, &deps))
			seq = work_submit(work,
				green_leak(stream->ctx, stream == stream->ctx->legacy, false),
				stream->priority, &deps);
		if (seq)
			stream_advance(stream, seq);
		else if (!entry_is_null())
			result = CUDA_ERROR_DEVICE_UNAVAILABLE;
		deps_clear(&deps);
	}
	if (ret_seq)
		*ret_seq = seq;
	return result;
}

enum patience { PUT_ONLY, PUT_AND_WAIT, PUT_COPY };

static CUresult put(
	CUstream handle, enum stream_default meaning, struct work *work, enum patience patience)
{
	bool is_waiting = patience == PUT_AND_WAIT;
	CUstream stream;
	uint64_t seq = 0;

	if (!work)
		return CUDA_ERROR_OUT_OF_MEMORY;
	driver_lock();
	CUresult result = stream_resolve(handle, meaning, &stream);

	if (result == CUDA_SUCCESS && is_waiting)
		result = capture_refuse_stream(stream);
	if (result == CUDA_SUCCESS) {
		if (patience == PUT_COPY && !stream->capture)
			is_waiting = !work_stage(work);
		result = stream_submit(stream, work, &seq);
	}
	driver_unlock();
	work_unref(work);
	return result == CUDA_SUCCESS && is_waiting ? ops_wait(seq) : result;
}

CUresult stream_put(CUstream handle, enum stream_default meaning, struct work *work)
{
	return put(handle, meaning, work, PUT_ONLY);
}

CUresult stream_put_and_wait(CUstream handle, enum stream_default meaning, struct work *work)
{
	return put(handle, meaning, work, PUT_AND_WAIT);
}

CUresult stream_put_copy(CUstream handle, enum stream_default meaning, struct work *work)
{
	return put(handle, meaning, work, PUT_COPY);
}
