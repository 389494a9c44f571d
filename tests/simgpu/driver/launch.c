/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Kernel launches.
 */
#include "launch.h"

#include "cluster.h"
#include "context.h"
#include "entry.h"
#include "event.h"
#include "module.h"
#include "stream.h"
#include "work.h"

#define MAX_THREADS 1024
#define MAX_GRID_X  2147483647u
#define MAX_GRID_YZ 65535u

static bool has_valid_shape(const struct launch *launch)
{
	const uint32_t *grid = launch->grid, *block = launch->block;

	if (!grid[0] || !grid[1] || !grid[2] || !block[0] || !block[1] || !block[2])
		return false;
	if (grid[0] > MAX_GRID_X || grid[1] > MAX_GRID_YZ || grid[2] > MAX_GRID_YZ)
		return false;
	return block[0] <= MAX_THREADS && block[1] <= MAX_THREADS && block[2] <= 64 &&
	       (uint64_t)block[0] * block[1] * block[2] <= MAX_THREADS;
}

static uint32_t blocks_per_sm(CUfunction function, const struct launch *launch)
{
	const uint32_t threads = launch->block[0] * launch->block[1] * launch->block[2];

	return function_blocks_per_sm(function, threads, launch->shared_bytes);
}

static uint32_t clusters_of(CUfunction function, const struct launch *launch)
{
	return launch->cluster_blocks > 1 ? launch->cluster_blocks : cluster_required(function);
}

static CUresult check_resources(CUfunction function, const struct launch *launch)
{
	const uint32_t threads = launch->block[0] * launch->block[1] * launch->block[2];
	const int max_threads =
		function_attribute(function, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
	const int max_shared =
		function_attribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);

	if (threads > (uint32_t)max_threads)
		return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
	if (launch->shared_bytes > (uint32_t)max_shared)
		return CUDA_ERROR_INVALID_VALUE;
	if (launch->is_cooperative && blocks_per_sm(function, launch) == 0)
		return CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
	return cluster_check(function, clusters_of(function, launch));
}

/* Reads the list of `extra`: a buffer and its size, in any order. */
static CUresult read_extra(void **extra, const void **ret_buffer, size_t *ret_bytes)
{
	const void *buffer = NULL;
	const size_t *bytes = NULL;

	for (; *extra != CU_LAUNCH_PARAM_END; extra += 2) {
		if (*extra == CU_LAUNCH_PARAM_BUFFER_POINTER)
			buffer = extra[1];
		else if (*extra == CU_LAUNCH_PARAM_BUFFER_SIZE)
			bytes = extra[1];
		else
			return CUDA_ERROR_INVALID_VALUE;
	}
	if (!buffer || !bytes)
		return CUDA_ERROR_INVALID_VALUE;
	*ret_buffer = buffer;
	*ret_bytes = *bytes;
	return CUDA_SUCCESS;
}

CUresult launch_work(const struct launch *launch, struct work **ret_work)
{
	const void *buffer = NULL;
	size_t buffer_bytes = 0;
	CUfunction function;

	if (!has_valid_shape(launch) || (launch->params && launch->extra))
		return CUDA_ERROR_INVALID_VALUE;
	CUresult result = function_resolve_in(launch->function, launch->ctx, &function);

	if (result == CUDA_SUCCESS)
		result = check_resources(function, launch);
	if (result == CUDA_SUCCESS && launch->extra)
		result = read_extra(launch->extra, &buffer, &buffer_bytes);
	if (result != CUDA_SUCCESS)
		return result;
	if (function->declared->param_count && !launch->params && !launch->extra)
		return CUDA_ERROR_INVALID_VALUE;
	const struct simgpu_twin_launch shape = {
		.grid = {launch->grid[0], launch->grid[1], launch->grid[2]},
		.block = {launch->block[0], launch->block[1], launch->block[2]},
		.shared_bytes = launch->shared_bytes,
	};

	*ret_work = work_create_kernel(function, &shape, launch->params, buffer, buffer_bytes);
	if (!*ret_work)
		return CUDA_ERROR_OUT_OF_MEMORY;
	(*ret_work)->kernel.blocks_per_sm = blocks_per_sm(function, launch);
	(*ret_work)->kernel.cluster_blocks = clusters_of(function, launch);
	(*ret_work)->kernel.is_cooperative = launch->is_cooperative;
	return CUDA_SUCCESS;
}

static CUresult launch_in(const struct launch *launch, CUstream stream, enum stream_default meaning)
{
	struct work *work;
	const CUresult result = launch_work(launch, &work);

	return result == CUDA_SUCCESS ? stream_put(stream, meaning, work) : result;
}

/* The many arguments of cuLaunchKernel as a struct. */
#define SHAPE                                                                       \
	.function = f, .grid = {gridDimX, gridDimY, gridDimZ},                      \
	.block = {blockDimX, blockDimY, blockDimZ}, .shared_bytes = sharedMemBytes, \
	.params = kernelParams

CUresult cuLaunchKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
	unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY,
	unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream, void **kernelParams,
	void **extra)
{
	ENTER_OR_NULL(cuLaunchKernel, CUDA_SUCCESS);
	const struct launch launch = {SHAPE, .extra = extra};

	return launch_in(&launch, hStream, STREAM_LEGACY);
}

CUresult cuLaunchKernel_ptsz(CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
	unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY,
	unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream, void **kernelParams,
	void **extra)
{
	ENTER_OR_NULL(cuLaunchKernel_ptsz, CUDA_SUCCESS);
	const struct launch launch = {SHAPE, .extra = extra};

	return launch_in(&launch, hStream, STREAM_PER_THREAD);
}

CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
	unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY,
	unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream, void **kernelParams)
{
	ENTER_OR_NULL(cuLaunchCooperativeKernel, CUDA_SUCCESS);
	const struct launch launch = {SHAPE, .is_cooperative = true};

	return launch_in(&launch, hStream, STREAM_LEGACY);
}

CUresult cuLaunchCooperativeKernel_ptsz(CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
	unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY,
	unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream, void **kernelParams)
{
	ENTER_OR_NULL(cuLaunchCooperativeKernel_ptsz, CUDA_SUCCESS);
	const struct launch launch = {SHAPE, .is_cooperative = true};

	return launch_in(&launch, hStream, STREAM_PER_THREAD);
}

#undef SHAPE

static const CUlaunchAttributeValue *find_attribute(
	const CUlaunchConfig *config, CUlaunchAttributeID id)
{
	for (unsigned i = 0; config->attrs && i < config->numAttrs; i++) {
		if (config->attrs[i].id == id)
			return &config->attrs[i].value;
	}
	return NULL;
}

/* Records the event that a launch attribute asks for when the kernel has ended: simgpu has no
 * earlier moment. */
static CUresult record_event(CUevent event, CUstream handle, enum stream_default meaning)
{
	CUstream stream;

	if (!handle_is(event, HANDLE_EVENT))
		return CUDA_ERROR_INVALID_HANDLE;
	driver_lock();
	CUresult result = stream_resolve(handle, meaning, &stream);

	if (result == CUDA_SUCCESS)
		result = event_record_in(event, stream, false);
	driver_unlock();
	return result;
}

static CUresult launch_ex(const CUlaunchConfig *config, CUfunction f, void **params, void **extra,
	enum stream_default meaning)
{
	if (!config)
		return CUDA_ERROR_INVALID_VALUE;
	const CUlaunchAttributeValue *cooperative =
		find_attribute(config, CU_LAUNCH_ATTRIBUTE_COOPERATIVE);
	const CUlaunchAttributeValue *programmatic =
		find_attribute(config, CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT);
	const CUlaunchAttributeValue *completion =
		find_attribute(config, CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT);
	uint32_t cluster_blocks;
	CUresult result = cluster_read(config, &cluster_blocks);

	if (result != CUDA_SUCCESS)
		return result;
	const struct launch launch = {
		.function = f,
		.grid = {config->gridDimX, config->gridDimY, config->gridDimZ},
		.block = {config->blockDimX, config->blockDimY, config->blockDimZ},
		.shared_bytes = config->sharedMemBytes,
		.cluster_blocks = cluster_blocks,
		.is_cooperative = cooperative && cooperative->cooperative,
		.params = params,
		.extra = extra,
	};

	result = launch_in(&launch, config->hStream, meaning);
	if (result == CUDA_SUCCESS && programmatic)
		result = record_event(
			programmatic->programmaticEvent.event, config->hStream, meaning);
	if (result == CUDA_SUCCESS && completion)
		result = record_event(
			completion->launchCompletionEvent.event, config->hStream, meaning);
	return result;
}

CUresult cuLaunchKernelEx(
	const CUlaunchConfig *config, CUfunction f, void **kernelParams, void **extra)
{
	ENTER_OR_NULL(cuLaunchKernelEx, CUDA_SUCCESS);
	return launch_ex(config, f, kernelParams, extra, STREAM_LEGACY);
}

CUresult cuLaunchKernelEx_ptsz(
	const CUlaunchConfig *config, CUfunction f, void **kernelParams, void **extra)
{
	ENTER_OR_NULL(cuLaunchKernelEx_ptsz, CUDA_SUCCESS);
	return launch_ex(config, f, kernelParams, extra, STREAM_PER_THREAD);
}

CUresult cuLaunchCooperativeKernelMultiDevice(
	CUDA_LAUNCH_PARAMS *launchParamsList, unsigned int numDevices, unsigned int flags)
{
	const unsigned known = CUDA_COOPERATIVE_LAUNCH_MULTI_DEVICE_NO_PRE_LAUNCH_SYNC |
			       CUDA_COOPERATIVE_LAUNCH_MULTI_DEVICE_NO_POST_LAUNCH_SYNC;

	ENTER_OR_NULL(cuLaunchCooperativeKernelMultiDevice, CUDA_SUCCESS);
	if (!launchParamsList || !numDevices || (flags & ~known))
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned i = 0; i < numDevices; i++) {
		const CUDA_LAUNCH_PARAMS *one = &launchParamsList[i];
		const struct launch launch = {
			.function = one->function,
			.grid = {one->gridDimX, one->gridDimY, one->gridDimZ},
			.block = {one->blockDimX, one->blockDimY, one->blockDimZ},
			.shared_bytes = one->sharedMemBytes,
			.is_cooperative = true,
			.params = one->kernelParams,
		};
		const CUresult result = launch_in(&launch, one->hStream, STREAM_LEGACY);

		if (result != CUDA_SUCCESS)
			return result;
	}
	return CUDA_SUCCESS;
}
