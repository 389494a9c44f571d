/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Stream-ordered memory and its pools.
 */
#include "driver/driver.h"
#include "driver/stream_context.h"
#include "hooks/graph_memory.h"
#include "hooks/hooks.h"
#include "hooks/pools.h"

/* What the program asked for. */
struct request {
	CUresult(CUDAAPI *alloc)(
		CUdeviceptr *, size_t, CUstream); /* from the current pool; or NULL */
	CUresult(CUDAAPI *alloc_from)(CUdeviceptr *, size_t, CUmemoryPool, CUstream);
	CUresult(CUDAAPI *free)(CUdeviceptr, CUstream);
	size_t bytes;
	CUmemoryPool pool;    /* for alloc_from */
	CUstream stream;      /* as given */
	CUstream real_stream; /* CU_STREAM_PER_THREAD in place of a per-thread default stream */
};

static CUstream per_thread(CUstream stream)
{
	return stream == NULL ? CU_STREAM_PER_THREAD : stream;
}

static CUresult ask_driver(const struct request *request, CUdeviceptr *ret_address)
{
	if (request->alloc != NULL)
		return request->alloc(ret_address, request->bytes, request->stream);
	return request->alloc_from(ret_address, request->bytes, request->pool, request->stream);
}

/* Captured allocations become nodes of a graph, and take nothing yet. */
static bool is_capturing(CUstream stream)
{
	CUstreamCaptureStatus status;

	if (driver.cuStreamIsCapturing(stream, &status) != CUDA_SUCCESS ||
		status == CU_STREAM_CAPTURE_STATUS_NONE)
		return false;
	graph_memory_note_node();
	return true;
}

static bool find_device_of(CUcontext context, CUdevice *ret_device)
{
	if (driver.cuCtxPushCurrent_v2(context) != CUDA_SUCCESS)
		return false;
	bool is_found = driver.cuCtxGetDevice(ret_device) == CUDA_SUCCESS;
	driver.cuCtxPopCurrent_v2(&context);
	return is_found;
}

static bool find_device(CUstream stream, CUdevice *ret_device)
{
	CUcontext context, current;

	if (stream_is_default(stream))
		return driver.cuCtxGetDevice(ret_device) == CUDA_SUCCESS;
	if (driver.cuStreamGetCtx(stream, &context) != CUDA_SUCCESS)
		return false;
	if (driver.cuCtxGetCurrent(&current) == CUDA_SUCCESS && current == context)
		return driver.cuCtxGetDevice(ret_device) == CUDA_SUCCESS;
	return find_device_of(context, ret_device);
}

/* Makes it an allocation from a pool that is named: which one is current may change at any time. */
static bool find_pool(struct request *request, CUdevice device)
{
	if (request->alloc == NULL)
		return true;
	if (driver.cuDeviceGetMemPool(&request->pool, device) != CUDA_SUCCESS)
		return false;
	request->alloc = NULL;
	return true;
}

/* Asks the driver, and gives back what it has taken beyond what was reserved and fits.
 * Returns  CUDA_ERROR_OUT_OF_MEMORY then, with the call ended, as in all cases */
static CUresult ask_and_end(
	const struct request *request, struct pool_call *call, CUdeviceptr *ret_address)
{
	CUdeviceptr address = 0;
	CUresult res;

	do
		res = ask_driver(request, &address);
	while (charge_again(&call->charge, res));
	if (!pool_call_end(call, res)) {
		request->free(address, request->stream);
		pool_call_undone(call);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	if (res == CUDA_SUCCESS)
		*ret_address = address;
	return res;
}

static CUresult allocate(struct request *request, CUdeviceptr *ret_address)
{
	struct pool_call call;
	CUdevice device;

	if (ret_address == NULL || request->bytes == 0 || is_capturing(request->real_stream) ||
		!find_device(request->real_stream, &device) || !find_pool(request, device))
		return ask_driver(request, ret_address);
	pool_call_begin(request->pool, device, request->bytes, &call);
	if (call.is_late) {
		pool_call_cancel(&call);
		return CUDA_ERROR_INVALID_VALUE;
	}
	if (pool_call_reserve(&call))
		return ask_and_end(request, &call, ret_address);
	/* The quota has no room for the pool to grow, but the pool may have what is needed. */
	if (pool_call_try(&call)) {
		if (ask_and_end(request, &call, ret_address) == CUDA_SUCCESS)
			return CUDA_SUCCESS;
		uint64_t wait_until_ns = call.wait_until_ns;
		pool_call_begin(request->pool, device, request->bytes, &call);
		call.wait_until_ns = wait_until_ns;
	}
	if (pool_call_reserve_patiently(&call))
		return ask_and_end(request, &call, ret_address);
	pool_call_cancel(&call);
	return CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult CUDAAPI hook_cuMemAllocAsync(CUdeviceptr *dptr, size_t bytesize, CUstream stream)
{
	struct request request = {
		.alloc = driver.cuMemAllocAsync,
		.alloc_from = driver.cuMemAllocFromPoolAsync,
		.free = driver.cuMemFreeAsync,
		.bytes = bytesize,
		.stream = stream,
		.real_stream = stream,
	};

	return allocate(&request, dptr);
}

CUresult CUDAAPI hook_cuMemAllocAsync_ptsz(CUdeviceptr *dptr, size_t bytesize, CUstream stream)
{
	struct request request = {
		.alloc = driver.cuMemAllocAsync_ptsz,
		.alloc_from = driver.cuMemAllocFromPoolAsync_ptsz,
		.free = driver.cuMemFreeAsync_ptsz,
		.bytes = bytesize,
		.stream = stream,
		.real_stream = per_thread(stream),
	};

	return allocate(&request, dptr);
}

CUresult CUDAAPI hook_cuMemAllocFromPoolAsync(
	CUdeviceptr *dptr, size_t bytesize, CUmemoryPool pool, CUstream stream)
{
	struct request request = {
		.alloc_from = driver.cuMemAllocFromPoolAsync,
		.free = driver.cuMemFreeAsync,
		.bytes = bytesize,
		.pool = pool,
		.stream = stream,
		.real_stream = stream,
	};

	return allocate(&request, dptr);
}

CUresult CUDAAPI hook_cuMemAllocFromPoolAsync_ptsz(
	CUdeviceptr *dptr, size_t bytesize, CUmemoryPool pool, CUstream stream)
{
	struct request request = {
		.alloc_from = driver.cuMemAllocFromPoolAsync_ptsz,
		.free = driver.cuMemFreeAsync_ptsz,
		.bytes = bytesize,
		.pool = pool,
		.stream = stream,
		.real_stream = per_thread(stream),
	};

	return allocate(&request, dptr);
}

CUresult CUDAAPI hook_cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *props)
{
	CUresult res = driver.cuMemPoolCreate(pool, props);

	if (res != CUDA_SUCCESS)
		return res;
	switch (props->location.type) {
	case CU_MEM_LOCATION_TYPE_DEVICE:
		pools_add(*pool, props->location.id);
		break;
	case CU_MEM_LOCATION_TYPE_HOST:
	case CU_MEM_LOCATION_TYPE_HOST_NUMA:
		/* Managed memory that prefers the host may be on a device all the same. */
		if (props->allocType == CU_MEM_ALLOCATION_TYPE_PINNED)
			pools_add(*pool, -1);
		break;
	default:
		break;
	}
	return res;
}

CUresult CUDAAPI hook_cuMemPoolDestroy(CUmemoryPool pool)
{
	return pools_destroy(pool, driver.cuMemPoolDestroy);
}

CUresult CUDAAPI hook_cuMemPoolTrimTo(CUmemoryPool pool, size_t bytes_to_keep)
{
	CUresult res = driver.cuMemPoolTrimTo(pool, bytes_to_keep);

	pools_settle_one(pool);
	return res;
}
