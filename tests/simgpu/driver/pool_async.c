/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Entry points that allocate and free in the order of a stream.
 */
#include "capture.h"
#include "context.h"
#include "entry.h"
#include "graph_memory.h"
#include "memory.h"
#include "null.h"
#include "pool.h"
#include "stream.h"
#include "work.h"

/* `pool` is NULL for the current one of the stream's device. */
static CUresult take_in(CUstream stream, size_t size, CUmemoryPool pool, CUdeviceptr *ret_address)
{
	CUresult result = CUDA_SUCCESS;

	if (stream == stream->ctx->legacy)
		result = capture_refuse_legacy(stream->ctx);
	if (result != CUDA_SUCCESS)
		return result;
	if (stream->capture)
		return graph_memory_capture_alloc(stream, size, ret_address);
	if (!pool)
		pool = pool_current(stream->ctx->device);
	return pool ? pool_take(pool, size, stream, ret_address) : CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult allocate(CUdeviceptr *ret_address, size_t size, CUmemoryPool pool, CUstream handle,
	enum stream_default meaning)
{
	CUdeviceptr address;
	CUstream stream;

	if (!ret_address || size == 0)
		return CUDA_ERROR_INVALID_VALUE;
	driver_lock();
	CUresult result = stream_resolve(handle, meaning, &stream);

	if (result == CUDA_SUCCESS)
		result = take_in(stream, size, pool, &address);
	driver_unlock();
	if (result == CUDA_SUCCESS)
		*ret_address = address;
	return result;
}

CUresult cuMemAllocAsync(CUdeviceptr *dptr, size_t bytesize, CUstream hStream)
{
	ENTER_OR_NULL(cuMemAllocAsync, null_alloc(dptr, bytesize));
	return allocate(dptr, bytesize, NULL, hStream, STREAM_LEGACY);
}

CUresult cuMemAllocAsync_ptsz(CUdeviceptr *dptr, size_t bytesize, CUstream hStream)
{
	ENTER_OR_NULL(cuMemAllocAsync_ptsz, null_alloc(dptr, bytesize));
	return allocate(dptr, bytesize, NULL, hStream, STREAM_PER_THREAD);
}

CUresult cuMemAllocFromPoolAsync(
	CUdeviceptr *dptr, size_t bytesize, CUmemoryPool pool, CUstream hStream)
{
	ENTER_OR_NULL(cuMemAllocFromPoolAsync, null_alloc(dptr, bytesize));
	if (!handle_is(pool, HANDLE_POOL))
		return CUDA_ERROR_INVALID_VALUE;
	return allocate(dptr, bytesize, pool, hStream, STREAM_LEGACY);
}

CUresult cuMemAllocFromPoolAsync_ptsz(
	CUdeviceptr *dptr, size_t bytesize, CUmemoryPool pool, CUstream hStream)
{
	ENTER_OR_NULL(cuMemAllocFromPoolAsync_ptsz, null_alloc(dptr, bytesize));
	if (!handle_is(pool, HANDLE_POOL))
		return CUDA_ERROR_INVALID_VALUE;
	return allocate(dptr, bytesize, pool, hStream, STREAM_PER_THREAD);
}

static CUresult release_linear(const struct memory *memory, CUstream stream)
{
	struct work *work = work_create(WORK_RELEASE);

	if (!work)
		return CUDA_ERROR_OUT_OF_MEMORY;
	work->release.address = memory->range.base;
	work->release.id = memory->id;
	const CUresult result = stream_submit(stream, work, NULL);

	work_unref(work);
	return result;
}

static CUresult release_graph_memory(struct graph_memory *memory, CUstream stream)
{
	struct work *work = work_create(WORK_EMPTY);

	if (!work)
		return CUDA_ERROR_OUT_OF_MEMORY;
	CUresult result = CUDA_ERROR_INVALID_VALUE;

	if (memory->is_allocated)
		result = stream_submit(stream, work, &memory->last);
	work_unref(work);
	return result == CUDA_SUCCESS ? graph_memory_free(memory) : result;
}

/* A capture takes memory of graphs only. */
static CUresult release_captured(CUstream stream, const struct memory *memory)
{
	if (memory->kind == MEMORY_GRAPH)
		return graph_memory_capture_free(stream, memory->owner);
	(void)capture_refuse_stream(stream);
	return CUDA_ERROR_INVALID_VALUE;
}

static CUresult release_in(CUstream stream, CUdeviceptr address)
{
	struct memory memory;

	if (!memory_find(address, &memory) || memory.range.base != address)
		return CUDA_ERROR_INVALID_VALUE;
	if (stream->capture)
		return release_captured(stream, &memory);
	switch (memory.kind) {
	case MEMORY_DEVICE:
		return release_linear(&memory, stream);
	case MEMORY_POOLED:
		return pool_free(memory.owner, address, stream);
	case MEMORY_GRAPH:
		return release_graph_memory(memory.owner, stream);
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
}

static CUresult release(CUdeviceptr address, CUstream handle, enum stream_default meaning)
{
	CUstream stream;

	driver_lock();
	CUresult result = stream_resolve(handle, meaning, &stream);

	if (result == CUDA_SUCCESS)
		result = release_in(stream, address);
	driver_unlock();
	return result;
}

CUresult cuMemFreeAsync(CUdeviceptr dptr, CUstream hStream)
{
	ENTER_OR_NULL(cuMemFreeAsync, null_free(dptr));
	return release(dptr, hStream, STREAM_LEGACY);
}

CUresult cuMemFreeAsync_ptsz(CUdeviceptr dptr, CUstream hStream)
{
	ENTER_OR_NULL(cuMemFreeAsync_ptsz, null_free(dptr));
	return release(dptr, hStream, STREAM_PER_THREAD);
}
