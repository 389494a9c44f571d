/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Addresses, bytes and states of graph memory. The entry points are in graph_memory_api.c.
 */
#include "graph_memory.h"

#include <stdlib.h>

#include "capture.h"
#include "context.h"
#include "exec.h"
#include "graph.h"
#include "memory.h"
#include "ops.h"

#define UNIT 512u

static struct graph_memory *all;
static struct graph_pool pools[WIRE_MAX_DEVICES];

struct graph_pool *graph_pool_of(const struct device *device)
{
	return &pools[device_ordinal(device)];
}

struct graph_memory *graph_memory_create(
	CUcontext ctx, struct device *device, CUgraph owner, size_t size)
{
	struct graph_memory *memory = calloc(1, sizeof(*memory));

	if (!memory || size > SIZE_MAX / 2) {
		free(memory);
		return NULL;
	}
	memory->refs = 1;
	memory->size = size;
	memory->bytes = (size + (uint64_t)UNIT - 1) / UNIT * UNIT;
	memory->device = device;
	memory->owner = owner;
	memory->base = memory_take_addresses(device, memory->bytes);
	if (!memory->base || !memory_add_part(ctx, device, MEMORY_GRAPH, memory->base, size,
				     memory->bytes, memory)) {
		if (memory->base)
			memory_give_addresses(device, memory->base, memory->bytes);
		free(memory);
		return NULL;
	}
	memory->next = all;
	all = memory;
	return memory;
}

void graph_memory_ref(struct graph_memory *memory)
{
	memory->refs++;
}

static void unmap(struct graph_memory *memory)
{
	if (memory->is_mapped)
		graph_pool_of(memory->device)->used -= memory->bytes;
	memory->is_mapped = false;
}

static void end_if_unused(struct graph_memory *memory)
{
	struct graph_memory **link = &all;

	if (memory->refs || memory->is_allocated)
		return;
	while (*link != memory)
		link = &(*link)->next;
	*link = memory->next;
	unmap(memory);
	memory_remove_part(memory->base);
	memory_give_addresses(memory->device, memory->base, memory->bytes);
	free(memory);
}

void graph_memory_unref(struct graph_memory *memory)
{
	memory->refs--;
	end_if_unused(memory);
}

CUresult graph_memory_capture_alloc(CUstream stream, size_t size, CUdeviceptr *ret_address)
{
	struct graph_memory *memory = graph_memory_create(
		context_home(stream->ctx), stream->ctx->device, stream->capture->graph, size);

	if (!memory)
		return CUDA_ERROR_OUT_OF_MEMORY;
	const CUresult result = capture_add_memory(stream, CU_GRAPH_NODE_TYPE_MEM_ALLOC, memory);

	if (result == CUDA_SUCCESS)
		*ret_address = memory->base;
	graph_memory_unref(memory);
	return result;
}

CUresult graph_memory_capture_free(CUstream stream, struct graph_memory *memory)
{
	const CUresult result = graph_memory_free_by(memory, stream->capture->graph);

	return result == CUDA_SUCCESS
		       ? capture_add_memory(stream, CU_GRAPH_NODE_TYPE_MEM_FREE, memory)
		       : result;
}

CUresult graph_memory_free_by(struct graph_memory *memory, CUgraph graph)
{
	if (memory->is_freed_by_owner)
		return CUDA_ERROR_INVALID_VALUE;
	if (memory->owner == graph)
		memory->is_freed_by_owner = true;
	return CUDA_SUCCESS;
}

CUresult graph_memory_free(struct graph_memory *memory)
{
	if (!memory->is_allocated)
		return CUDA_ERROR_INVALID_VALUE;
	memory->is_allocated = false;
	end_if_unused(memory);
	return CUDA_SUCCESS;
}

static bool allocates(const struct exec_node *node)
{
	return node->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC;
}

/* Makes the pool hold `bytes` more than are used. */
static bool make_room(struct device *device, uint64_t bytes)
{
	struct graph_pool *pool = graph_pool_of(device);
	const uint64_t unit = device->info->pool_chunk_bytes;

	if (pool->used + bytes <= pool->reserved)
		return true;
	const uint64_t missing = pool->used + bytes - pool->reserved;
	const uint64_t growth = (missing + unit - 1) / unit * unit;

	if (!memory_charge(device, growth))
		return false;
	pool->reserved += growth;
	if (pool->reserved > pool->reserved_high)
		pool->reserved_high = pool->reserved;
	return true;
}

static void map(struct graph_memory *memory)
{
	struct graph_pool *pool = graph_pool_of(memory->device);

	pool->used += memory->bytes;
	if (pool->used > pool->used_high)
		pool->used_high = pool->used;
	memory->is_mapped = true;
}

CUresult graph_memory_map(CUgraphExec exec)
{
	for (int i = 0; i < devices_count(); i++) {
		struct device *device = device_of(i);
		uint64_t bytes = 0;

		for (uint32_t j = 0; j < exec->count; j++) {
			const struct graph_memory *memory = exec->nodes[j].memory;

			if (allocates(&exec->nodes[j]) && memory->device == device &&
				!memory->is_mapped)
				bytes += memory->bytes;
		}
		if (bytes && !make_room(device, bytes))
			return CUDA_ERROR_OUT_OF_MEMORY;
	}
	for (uint32_t i = 0; i < exec->count; i++) {
		if (allocates(&exec->nodes[i]) && !exec->nodes[i].memory->is_mapped)
			map(exec->nodes[i].memory);
	}
	return CUDA_SUCCESS;
}

static bool can_launch(CUgraphExec exec)
{
	const bool frees_first = exec->flags & CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;

	for (uint32_t i = 0; i < exec->count; i++) {
		const struct exec_node *node = &exec->nodes[i];

		if (allocates(node) && node->memory->is_allocated && !frees_first)
			return false;
		if (node->type == CU_GRAPH_NODE_TYPE_MEM_FREE && !node->memory->is_allocated &&
			!node->memory->is_freed_by_owner)
			return false;
	}
	return true;
}

CUresult graph_memory_launch(CUgraphExec exec)
{
	if (!can_launch(exec))
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = graph_memory_map(exec);

	if (result != CUDA_SUCCESS)
		return result;
	/* A node that frees comes after the one that allocates. */
	for (uint32_t i = 0; i < exec->count; i++) {
		if (exec->nodes[i].memory)
			exec->nodes[i].memory->is_allocated = allocates(&exec->nodes[i]);
	}
	return CUDA_SUCCESS;
}

void graph_memory_launched(CUgraphExec exec)
{
	for (uint32_t i = 0; i < exec->count; i++) {
		if (exec->nodes[i].memory)
			exec->nodes[i].memory->last = exec->last;
	}
}

void graph_memory_trim(struct device *device)
{
	struct graph_pool *pool = graph_pool_of(device);
	const uint64_t unit = device->info->pool_chunk_bytes;

	for (struct graph_memory *memory = all; memory; memory = memory->next) {
		if (memory->device == device && !memory->is_allocated &&
			ops_has_ended(memory->last))
			unmap(memory);
	}
	const uint64_t kept = (pool->used + unit - 1) / unit * unit;

	if (kept < pool->reserved) {
		memory_discharge(device, pool->reserved - kept);
		pool->reserved = kept;
	}
}
