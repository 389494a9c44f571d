/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Functions that need more than another stream in place of the program's.
 */
#include "partition/partition.h"
#include "partition/streams.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* A callback is told the stream that the program named. */
struct callback {
	CUstreamCallback function;
	CUstream stream;
	void *data;
};

static void CUDA_CB call_back(CUstream stream, CUresult status, void *data)
{
	struct callback callback = *(struct callback *)data;

	(void)stream;
	free(data);
	callback.function(callback.stream, status, callback.data);
}

static CUresult wrap_callback(
	CUstream named, CUstream stream, CUstreamCallback function, void *data, unsigned int flags)
{
	struct callback *callback;

	if (named == stream || function == NULL)
		return driver_real.cuStreamAddCallback(stream, function, data, flags);
	callback = malloc(sizeof(*callback));
	if (callback == NULL)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*callback = (struct callback){function, named, data};
	CUresult result = driver_real.cuStreamAddCallback(stream, call_back, callback, flags);
	if (result != CUDA_SUCCESS)
		free(callback);
	return result;
}

/* `named` is told to the callback; `asked` is the same, or what stands for it in this thread. */
static CUresult add_callback(
	CUstream named, CUstream asked, CUstreamCallback function, void *data, unsigned int flags)
{
	CUstream stream = streams_work(asked);
	if (stream == STREAMS_REFUSED)
		return STREAMS_REFUSAL;
	CUresult result = wrap_callback(named, stream, function, data, flags);
	streams_work_done(stream);
	return result;
}

CUresult CUDAAPI beneath_cuStreamAddCallback(
	CUstream stream, CUstreamCallback function, void *data, unsigned int flags)
{
	return add_callback(stream, stream, function, data, flags);
}

CUresult CUDAAPI beneath_cuStreamAddCallback_ptsz(
	CUstream stream, CUstreamCallback function, void *data, unsigned int flags)
{
	return add_callback(stream, streams_of_thread(stream), function, data, flags);
}

/* An event of a capture would draw our legacy stream into it, which the driver refuses for its own:
 * while there are captures that one waits, and ours waits for it. */
static CUresult wait_event(CUstream stream, CUevent event, unsigned int flags)
{
	bool is_whole = streams_is_legacy(stream) && streams_has_captures();

	stream = is_whole ? streams_whole() : streams_work(stream);
	if (stream == STREAMS_REFUSED)
		return STREAMS_REFUSAL;
	CUresult result = driver_real.cuStreamWaitEvent(stream, event, flags);
	if (is_whole)
		streams_whole_done();
	else
		streams_work_done(stream);
	return result;
}

CUresult CUDAAPI beneath_cuStreamWaitEvent(CUstream stream, CUevent event, unsigned int flags)
{
	return wait_event(stream, event, flags);
}

CUresult CUDAAPI beneath_cuStreamWaitEvent_ptsz(CUstream stream, CUevent event, unsigned int flags)
{
	return wait_event(streams_of_thread(stream), event, flags);
}

/* The driver refuses to attach memory to the legacy stream alone, which ours is not. */
static CUresult attach(CUstream stream, CUdeviceptr address, size_t bytes, unsigned int flags)
{
	if (flags == CU_MEM_ATTACH_SINGLE && streams_is_legacy(stream))
		return driver_real.cuStreamAttachMemAsync(stream, address, bytes, flags);
	stream = streams_work(stream);
	if (stream == STREAMS_REFUSED)
		return STREAMS_REFUSAL;
	CUresult result = driver_real.cuStreamAttachMemAsync(stream, address, bytes, flags);
	streams_work_done(stream);
	return result;
}

CUresult CUDAAPI beneath_cuStreamAttachMemAsync(
	CUstream stream, CUdeviceptr address, size_t bytes, unsigned int flags)
{
	return attach(stream, address, bytes, flags);
}

CUresult CUDAAPI beneath_cuStreamAttachMemAsync_ptsz(
	CUstream stream, CUdeviceptr address, size_t bytes, unsigned int flags)
{
	return attach(streams_of_thread(stream), address, bytes, flags);
}

/* How large clusters may be, and how many find room at a time, depends on the SMs of the stream. */
#define OF_STREAM(symbol)                                                   \
	CUresult CUDAAPI beneath_##symbol(                                  \
		int *ret_value, CUfunction f, const CUlaunchConfig *config) \
	{                                                                   \
		if (config == NULL)                                         \
			return driver_real.symbol(ret_value, f, config);    \
		CUlaunchConfig confined = *config;                          \
		confined.hStream = streams_handle(config->hStream);         \
		return driver_real.symbol(ret_value, f, &confined);         \
	}

OF_STREAM(cuOccupancyMaxActiveClusters)
OF_STREAM(cuOccupancyMaxPotentialClusterSize)

/* A grid for all SMs of the device becomes one for those that the program is told of. */
static CUresult fit_grid(CUresult result, int *grid)
{
	unsigned sm_count;
	CUdevice device;
	int whole = 0;

	if (result != CUDA_SUCCESS || partition_places() == 0 ||
		driver_real.cuCtxGetDevice(&device) != CUDA_SUCCESS)
		return result;
	sm_count = partition_sm_count((unsigned)device);
	if (sm_count != 0 &&
		driver_real.cuDeviceGetAttribute(
			&whole, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device) == CUDA_SUCCESS &&
		whole > 0)
		*grid = (int)((int64_t)*grid * sm_count / whole);
	return result;
}

CUresult CUDAAPI beneath_cuOccupancyMaxPotentialBlockSize(int *ret_grid, int *ret_block,
	CUfunction f, CUoccupancyB2DSize shared_of, size_t shared_bytes, int limit)
{
	return fit_grid(driver_real.cuOccupancyMaxPotentialBlockSize(
				ret_grid, ret_block, f, shared_of, shared_bytes, limit),
		ret_grid);
}

CUresult CUDAAPI beneath_cuOccupancyMaxPotentialBlockSizeWithFlags(int *ret_grid, int *ret_block,
	CUfunction f, CUoccupancyB2DSize shared_of, size_t shared_bytes, int limit,
	unsigned int flags)
{
	return fit_grid(driver_real.cuOccupancyMaxPotentialBlockSizeWithFlags(
				ret_grid, ret_block, f, shared_of, shared_bytes, limit, flags),
		ret_grid);
}

/* What is beneath is the hook too. */
#define STREAM_HOOK(symbol)
#define STREAM_HOOK_IN_C(symbol)
#define NODE_HOOK(symbol)
#define STREAM_HOOK_IN_CALLS(symbol)            \
	extern __typeof__(symbol) hook_##symbol \
		__attribute__((alias("beneath_" #symbol), visibility("hidden")));
#include "partition/streams_hooks.def"
#undef STREAM_HOOK
#undef STREAM_HOOK_IN_C
#undef STREAM_HOOK_IN_CALLS
#undef NODE_HOOK
