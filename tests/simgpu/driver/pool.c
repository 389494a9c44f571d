/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Stream-ordered memory on the default pool of a device. The pool keeps nothing: an allocation is
 * made when it is asked for, and its bytes are given back when the stream reaches the free. Pools
 * of the program's own are not supported.
 */
#include "capture.h"
#include "context.h"
#include "entry.h"
#include "memory.h"
#include "null.h"
#include "stream.h"
#include "work.h"

struct CUmemPoolHandle_st {
	struct handle handle;
};

static struct CUmemPoolHandle_st default_pools[WIRE_MAX_DEVICES];

static CUresult pool_of(CUmemoryPool *ret_pool, CUdevice ordinal)
{
	if (!ret_pool)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device_of(ordinal))
		return CUDA_ERROR_INVALID_DEVICE;
	*ret_pool = &default_pools[ordinal];
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool_out, CUdevice dev)
{
	ENTER(cuDeviceGetDefaultMemPool);
	return pool_of(pool_out, dev);
}

CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice dev)
{
	ENTER(cuDeviceGetMemPool);
	return pool_of(pool, dev);
}

CUresult cuDeviceSetMemPool(CUdevice dev, CUmemoryPool pool)
{
	CUmemoryPool own;

	ENTER(cuDeviceSetMemPool);
	const CUresult result = pool_of(&own, dev);

	if (result != CUDA_SUCCESS)
		return result;
	return pool == own ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* `pool` is NULL for that of the stream's device. */
static CUresult allocate(CUdeviceptr *ret_address, size_t size, CUmemoryPool pool, CUstream handle,
	enum stream_default meaning)
{
	CUdeviceptr address;
	CUstream stream;

	if (!ret_address)
		return CUDA_ERROR_INVALID_VALUE;
	driver_lock();
	CUresult result = stream_resolve(handle, meaning, &stream);

	if (result == CUDA_SUCCESS)
		result = capture_refuse_stream(stream);
	CUcontext ctx = result == CUDA_SUCCESS ? stream->ctx : NULL;

	driver_unlock();
	if (result == CUDA_SUCCESS && pool && pool != &default_pools[device_ordinal(ctx->device)])
		result = CUDA_ERROR_INVALID_VALUE;
	if (result == CUDA_SUCCESS)
		result = memory_reserve(ctx, MEMORY_DEVICE, size, 0, false, &address);
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
	if (!pool)
		return CUDA_ERROR_INVALID_VALUE;
	return allocate(dptr, bytesize, pool, hStream, STREAM_LEGACY);
}

CUresult cuMemAllocFromPoolAsync_ptsz(
	CUdeviceptr *dptr, size_t bytesize, CUmemoryPool pool, CUstream hStream)
{
	ENTER_OR_NULL(cuMemAllocFromPoolAsync_ptsz, null_alloc(dptr, bytesize));
	if (!pool)
		return CUDA_ERROR_INVALID_VALUE;
	return allocate(dptr, bytesize, pool, hStream, STREAM_PER_THREAD);
}

static CUresult release(CUdeviceptr address, CUstream handle, enum stream_default meaning)
{
	struct memory memory;
	CUstream stream;

	if (!memory_find(address, &memory) || memory.range.base != address ||
		memory.kind != MEMORY_DEVICE)
		return CUDA_ERROR_INVALID_VALUE;
	struct work *work = work_create(WORK_RELEASE);

	if (!work)
		return CUDA_ERROR_OUT_OF_MEMORY;
	work->release = address;
	driver_lock();
	CUresult result = stream_resolve(handle, meaning, &stream);

	if (result == CUDA_SUCCESS)
		result = capture_refuse_stream(stream);
	if (result == CUDA_SUCCESS)
		result = stream_submit(stream, work, NULL);
	driver_unlock();
	work_unref(work);
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
