/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Node parameters and work.
 */
#include "graph_params.h"

#include <string.h>

#include "context.h"
#include "copy.h"
#include "event.h"
#include "launch.h"
#include "module.h"
#include "work.h"

/* A node runs in the green context that is current when it is made, or that its parameters name
 * where they name a kernel without a function. */
static CUresult kernel_work(const struct launch *launch, CUcontext ctx, struct work **ret_work)
{
	const CUresult result = launch_work(launch, ret_work);

	if (result != CUDA_SUCCESS)
		return result;
	if (!handle_is(ctx, HANDLE_CONTEXT) && context_current(&ctx) != CUDA_SUCCESS)
		return CUDA_SUCCESS;
	if (context_home(ctx) == (*ret_work)->kernel.function->module->ctx)
		work_place(*ret_work, ctx);
	return CUDA_SUCCESS;
}

CUresult work_of_kernel_params(const CUDA_KERNEL_NODE_PARAMS *params, struct work **ret_work)
{
	if (!params)
		return CUDA_ERROR_INVALID_VALUE;
	const struct launch launch = {
		.function = params->func ? params->func : (CUfunction)params->kern,
		.grid = {params->gridDimX, params->gridDimY, params->gridDimZ},
		.block = {params->blockDimX, params->blockDimY, params->blockDimZ},
		.shared_bytes = params->sharedMemBytes,
		.params = params->kernelParams,
		.extra = params->extra,
	};

	return kernel_work(&launch, params->func ? NULL : params->ctx, ret_work);
}

CUresult work_of_kernel_params_v1(const CUDA_KERNEL_NODE_PARAMS_v1 *params, struct work **ret_work)
{
	if (!params)
		return CUDA_ERROR_INVALID_VALUE;
	const struct launch launch = {
		.function = params->func,
		.grid = {params->gridDimX, params->gridDimY, params->gridDimZ},
		.block = {params->blockDimX, params->blockDimY, params->blockDimZ},
		.shared_bytes = params->sharedMemBytes,
		.params = params->kernelParams,
		.extra = params->extra,
	};

	return kernel_work(&launch, NULL, ret_work);
}

CUresult work_of_memset_params(const CUDA_MEMSET_NODE_PARAMS *params, struct work **ret_work)
{
	if (!params)
		return CUDA_ERROR_INVALID_VALUE;
	return fill_work(params->dst, params->pitch, params->value, params->elementSize,
		params->width, params->height, ret_work);
}

CUresult work_of_host_params(const CUDA_HOST_NODE_PARAMS *params, struct work **ret_work)
{
	if (!params || !params->fn)
		return CUDA_ERROR_INVALID_VALUE;
	struct work *work = work_create(WORK_HOST);

	if (!work)
		return CUDA_ERROR_OUT_OF_MEMORY;
	work->host.function = params->fn;
	work->host.user_data = params->userData;
	*ret_work = work;
	return CUDA_SUCCESS;
}

CUresult work_of_event(CUevent event, struct work **ret_work)
{
	if (!handle_is(event, HANDLE_EVENT))
		return CUDA_ERROR_INVALID_VALUE;
	struct work *work = work_create(WORK_EVENT);

	if (!work)
		return CUDA_ERROR_OUT_OF_MEMORY;
	event_ref(event);
	work->event = event;
	*ret_work = work;
	return CUDA_SUCCESS;
}

void kernel_params_of_work(const struct work *work, CUDA_KERNEL_NODE_PARAMS *ret_params)
{
	const struct simgpu_twin_launch *launch = &work->kernel.launch;

	*ret_params = (CUDA_KERNEL_NODE_PARAMS){
		.func = work->kernel.function,
		.gridDimX = launch->grid[0],
		.gridDimY = launch->grid[1],
		.gridDimZ = launch->grid[2],
		.blockDimX = launch->block[0],
		.blockDimY = launch->block[1],
		.blockDimZ = launch->block[2],
		.sharedMemBytes = launch->shared_bytes,
		.kernelParams = work->kernel.params,
		.ctx = work->green,
	};
}

void memcpy_params_of_work(const struct work *work, CUDA_MEMCPY3D *ret_params)
{
	const struct work_copy *copy = &work->copy;

	/* Nothing was stored of how the copy was described first: this describes the same. */
	*ret_params = (CUDA_MEMCPY3D){
		.srcMemoryType = CU_MEMORYTYPE_UNIFIED,
		.srcDevice = (uintptr_t)copy->src,
		.srcPitch = copy->src_pitch,
		.srcHeight = copy->src_pitch ? copy->src_slice / copy->src_pitch : 0,
		.dstMemoryType = CU_MEMORYTYPE_UNIFIED,
		.dstDevice = (uintptr_t)copy->dst,
		.dstPitch = copy->dst_pitch,
		.dstHeight = copy->dst_pitch ? copy->dst_slice / copy->dst_pitch : 0,
		.WidthInBytes = copy->width,
		.Height = copy->height,
		.Depth = copy->depth,
	};
}

void memset_params_of_work(const struct work *work, CUDA_MEMSET_NODE_PARAMS *ret_params)
{
	const struct work_fill *fill = &work->fill;

	*ret_params = (CUDA_MEMSET_NODE_PARAMS){
		.dst = (uintptr_t)fill->dst,
		.pitch = fill->pitch,
		.value = fill->value,
		.elementSize = fill->element_bytes,
		.width = fill->width,
		.height = fill->height,
	};
}
