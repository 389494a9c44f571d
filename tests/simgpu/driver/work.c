/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Time and effects of each kind of work.
 */
#include "work.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "context.h"
#include "entry.h"
#include "event.h"
#include "green.h"
#include "memory.h"
#include "module.h"
#include "pool.h"

#define DEFAULT_BLOCK_NS 10000
#define MAX_STAGED_BYTES ((size_t)64 << 10)
#define FILL_STEP_BYTES  ((size_t)4 << 10) /* a multiple of every element */

struct work *work_create(enum work_kind kind)
{
	struct work *work = calloc(1, sizeof(*work));

	if (!work)
		return NULL;
	atomic_store_explicit(&work->refs, 1, memory_order_relaxed);
	work->kind = kind;
	return work;
}

void work_ref(struct work *work)
{
	atomic_fetch_add_explicit(&work->refs, 1, memory_order_relaxed);
}

void work_unref(struct work *work)
{
	/* Release and acquire: the last one sees what all others did with the work. */
	if (!work || atomic_fetch_sub_explicit(&work->refs, 1, memory_order_acq_rel) != 1)
		return;
	switch (work->kind) {
	case WORK_KERNEL:
		free(work->kernel.params);
		free(work->kernel.param_bytes);
		break;
	case WORK_COPY:
		free(work->copy.staged);
		break;
	case WORK_EVENT:
		event_unref(work->event);
		break;
	default:
		break;
	}
	free(work);
}

static bool copy_params(struct work_kernel *kernel, const struct sim_kernel *declared,
	void **kernel_params, const void *buffer, size_t buffer_bytes)
{
	const uint32_t count = declared->param_count;

	/* One byte more than nothing: kernels without parameters need no special case. */
	kernel->param_bytes = calloc(1, declared->param_bytes + 1u);
	kernel->params = calloc(count + 1u, sizeof(*kernel->params));
	if (!kernel->param_bytes || !kernel->params)
		return false;
	if (buffer)
		memcpy(kernel->param_bytes, buffer,
			buffer_bytes < declared->param_bytes ? buffer_bytes
							     : declared->param_bytes);
	for (uint32_t i = 0; i < count; i++) {
		const struct sim_param *param = &declared->params[i];

		kernel->params[i] = kernel->param_bytes + param->offset;
		if (kernel_params)
			memcpy(kernel->params[i], kernel_params[i], param->size);
	}
	return true;
}

struct work *work_create_kernel(CUfunction function, const struct simgpu_twin_launch *launch,
	void **kernel_params, const void *buffer, size_t buffer_bytes)
{
	struct work *work = work_create(WORK_KERNEL);

	if (!work)
		return NULL;
	work->kernel.function = function;
	work->kernel.twin = function->twin;
	work->kernel.launch = *launch;
	work->kernel.launch.param_count = function->declared->param_count;
	if (copy_params(&work->kernel, function->declared, kernel_params, buffer, buffer_bytes))
		return work;
	work_unref(work);
	return NULL;
}

uint64_t work_kernel_blocks(const struct work_kernel *kernel)
{
	const uint32_t *grid = kernel->launch.grid;

	return (uint64_t)grid[0] * grid[1] * grid[2];
}

void work_place(struct work *work, CUcontext ctx)
{
	work->place = ctx;
	work->place_id = ctx->id;
}

void work_replace(struct work *work, const struct work *old)
{
	if (work->place || (work->kind == WORK_KERNEL && green_leaks_by_params()))
		return;
	work->place = old->place;
	work->place_id = old->place_id;
}

CUresult work_context(const struct work *work, CUcontext launch_ctx, CUcontext *ret_ctx)
{
	const bool is_kernel = work->kind == WORK_KERNEL;
	CUcontext place = work->place;

	*ret_ctx = is_kernel ? work->kernel.function->module->ctx : launch_ctx;
	if (!place)
		return CUDA_SUCCESS;
	if (handle_is(place, HANDLE_CONTEXT) && place->id == work->place_id)
		*ret_ctx = place;
	else if (is_kernel)
		return CUDA_ERROR_CONTEXT_IS_DESTROYED;
	return CUDA_SUCCESS;
}

bool work_stage(struct work *work)
{
	struct work_copy *copy = &work->copy;
	const size_t rows = copy->height * copy->depth;

	if (!copy->src_is_pageable && !copy->dst_is_pageable)
		return true;
	if (copy->dst_is_pageable || copy->width * rows > MAX_STAGED_BYTES)
		return false;
	char *staged = malloc(copy->width * rows + 1);

	if (!staged)
		return false;
	for (size_t i = 0; i < rows; i++) {
		const char *slice = copy->src + i / copy->height * copy->src_slice;

		memcpy(staged + i * copy->width, slice + i % copy->height * copy->src_pitch,
			copy->width);
	}
	copy->src = copy->staged = staged;
	copy->src_pitch = copy->width;
	copy->src_slice = copy->width * copy->height;
	return true;
}

/* A kernel whose bandwidth alone is listed takes the time of all others, and the other way round.
 */
static struct wire_kernel_time listed_time(const struct wire_machine *machine, const char *name)
{
	struct wire_kernel_time any = {.block_ns = DEFAULT_BLOCK_NS};
	const struct wire_kernel_time *found = NULL;

	for (uint32_t i = 0; i < machine->kernel_count && i < WIRE_MAX_KERNELS; i++) {
		const struct wire_kernel_time *kernel = &machine->kernels[i];

		if (strcmp(kernel->name, "*") == 0)
			any = *kernel;
		else if (strncmp(kernel->name, name, sizeof(kernel->name) - 1) == 0)
			found = kernel;
	}
	if (!found)
		return any;
	return (struct wire_kernel_time){
		.block_ns = found->block_ns == WIRE_KERNEL_AS_ALL ? any.block_ns : found->block_ns,
		.bandwidth_ppm = found->bandwidth_ppm,
	};
}

/* The server may change the table at any time: the generation is odd meanwhile. */
static struct wire_kernel_time time_of(const char *name)
{
	const struct wire_machine *machine = entry.machine;

	for (;;) {
		/* Both pair with the server's updates around a change. */
		const uint32_t before =
			atomic_load_explicit(&machine->generation, memory_order_acquire);
		const struct wire_kernel_time found = listed_time(machine, name);

		atomic_thread_fence(memory_order_acquire);
		if (before % 2 == 0 &&
			before == atomic_load_explicit(&machine->generation, memory_order_relaxed))
			return found;
		sched_yield();
	}
}

/* Work that moves bytes: by an SM where the machine says how fast they do that, as a kernel of one
 * block, else beside the SMs. */
static void lower_bytes(uint64_t bytes, uint64_t sm_mib_per_ms, struct wire_op *op)
{
	const uint64_t mib_per_ms = sm_mib_per_ms ? sm_mib_per_ms : entry.machine->copy_mib_per_ms;

	op->kind = sm_mib_per_ms ? WIRE_OP_KERNEL : WIRE_OP_COPY;
	op->blocks = bytes ? 1 : 0;
	op->blocks_per_sm = 1;
	op->duration_ns = mib_per_ms ? bytes * 1000000u / (mib_per_ms << 20) : 0;
}

static void lower_kernel(const struct work_kernel *kernel, struct wire_op *op)
{
	const struct wire_kernel_time time = time_of(kernel->function->declared->name);
	const struct simgpu_twin_launch *launch = &kernel->launch;
	const uint32_t threads = launch->block[0] * launch->block[1] * launch->block[2];
	const uint32_t at_a_time =
		function_blocks_per_sm(kernel->function, threads, launch->shared_bytes);

	op->kind = WIRE_OP_KERNEL;
	op->blocks = work_kernel_blocks(kernel);
	op->blocks_per_sm = at_a_time ? at_a_time : 1;
	op->duration_ns = time.block_ns;
	op->bandwidth_ppm = time.bandwidth_ppm;
	if (kernel->function->twin)
		op->flags |= WIRE_OP_TELL_SMS;
}

static void lower(const struct work *work, struct wire_op *op)
{
	switch (work->kind) {
	case WORK_KERNEL:
		lower_kernel(&work->kernel, op);
		break;
	case WORK_COPY:
		lower_bytes(work->copy.width * work->copy.height * work->copy.depth,
			work->copy.is_within_device ? entry.machine->d2d_mib_per_ms : 0, op);
		break;
	case WORK_FILL:
		lower_bytes(work->fill.width * work->fill.element_bytes * work->fill.height,
			entry.machine->fill_mib_per_ms, op);
		break;
	default:
		op->kind = WIRE_OP_MARKER;
		break;
	}
}

uint64_t work_submit(struct work *work, CUcontext ctx, int priority, const struct deps *deps)
{
	struct wire_op op;

	memset(&op, 0, offsetof(struct wire_op, deps));
	op.context = ctx->wire_id;
	op.priority = priority;
	lower(work, &op);
	if (green_has_extra_sms(ctx))
		op.flags |= WIRE_OP_EXTRA_SMS;
	return ops_submit(&op, deps, work);
}

static void apply_kernel(const struct work_kernel *kernel, const uint64_t *sms)
{
	struct simgpu_twin_launch launch = kernel->launch;

	if (!kernel->twin)
		return;
	launch.sms = sms;
	launch.sm_words = entry.machine->sm_words;
	kernel->twin(&launch, kernel->params);
}

static void apply_copy(const struct work_copy *copy)
{
	for (size_t z = 0; z < copy->depth; z++) {
		char *dst = copy->dst + z * copy->dst_slice;
		const char *src = copy->src + z * copy->src_slice;

		/* Overlap is undefined on a GPU, but must not be here. */
		for (size_t y = 0; y < copy->height; y++)
			memmove(dst + y * copy->dst_pitch, src + y * copy->src_pitch, copy->width);
	}
}

/* By copies of what is there already, from the cache: a fill must not take longer than it is
 * simulated to, and sanitizers look at each access. */
static void fill_row(const struct work_fill *fill, char *row)
{
	const size_t bytes = fill->width * fill->element_bytes;
	size_t more;

	if (bytes > 0)
		memcpy(row, &fill->value, fill->element_bytes); /* the low bytes come first */
	for (size_t done = fill->element_bytes; done < bytes; done += more) {
		more = done < FILL_STEP_BYTES ? done : FILL_STEP_BYTES;
		more = more < bytes - done ? more : bytes - done;
		memcpy(row + done, row, more);
	}
}

void work_apply(struct work *work, const struct wire_ring_entry *completion, const uint64_t *sms)
{
	switch (work->kind) {
	case WORK_EMPTY:
		break;
	case WORK_KERNEL:
		apply_kernel(&work->kernel, sms);
		break;
	case WORK_COPY:
		apply_copy(&work->copy);
		break;
	case WORK_FILL:
		for (size_t y = 0; y < work->fill.height; y++)
			fill_row(&work->fill, work->fill.dst + y * work->fill.pitch);
		break;
	case WORK_HOST:
		work->host.function(work->host.user_data);
		break;
	case WORK_CALLBACK:
		work->callback.function(
			work->callback.stream, CUDA_SUCCESS, work->callback.user_data);
		break;
	case WORK_EVENT:
		event_happened(work->event, completion->seq, completion->end_ns);
		break;
	case WORK_RELEASE:
		memory_release_unordered(work->release.address, work->release.id);
		break;
	case WORK_POOL_FREE:
		pools_free_reached(completion->seq);
		break;
	}
}
