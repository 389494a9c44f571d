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
#include "green.h"
#include "launch.h"
#include "module.h"
#include "work.h"

/* A function belongs to a context, and a node to that of its function. A kernel belongs to none:
 * its node runs in the context that the parameters name, or that is current when it is made. */
static CUresult kernel_work(struct launch *launch, CUcontext ctx, struct work **ret_work)
{
	const bool is_free = !handle_is(launch->function, HANDLE_FUNCTION);
	CUresult result = is_free ? context_resolve(&ctx) : CUDA_SUCCESS;

	if (result != CUDA_SUCCESS)
		return result;
	launch->ctx = is_free ? ctx : NULL;
	result = launch_work(launch, ret_work);
	if (result == CUDA_SUCCESS && is_free)
		work_place(*ret_work, green_leaks_by_name() ? context_home(ctx) : ctx);
	return result;
}

CUresult work_of_kernel_params(const CUDA_KERNEL_NODE_PARAMS *params, struct work **ret_work)
{
	if (!params)
		return CUDA_ERROR_INVALID_VALUE;
	struct launch launch = {
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
	struct launch launch = {
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

CUresult place_in(CUcontext ctx, CUresult made, struct work *work)
{
	if (made != CUDA_SUCCESS || !ctx)
		return made;
	if (handle_is(ctx, HANDLE_CONTEXT)) {
		work_place(work, ctx);
		return CUDA_SUCCESS;
	}
	work_unref(work);
	return CUDA_ERROR_INVALID_CONTEXT;
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

/* The newer structs begin as the older ones do; what they add is a context. */
CUresult work_of_any_params(const CUgraphNodeParams *params, struct work **ret_work)
{
	CUresult made;

	switch (params->type) {
	case CU_GRAPH_NODE_TYPE_KERNEL:
		return work_of_kernel_params(
			(const CUDA_KERNEL_NODE_PARAMS *)&params->kernel, ret_work);
	case CU_GRAPH_NODE_TYPE_MEMCPY:
		made = copy_work_3d(&params->memcpy.copyParams, ret_work);
		return place_in(params->memcpy.copyCtx, made, *ret_work);
	case CU_GRAPH_NODE_TYPE_MEMSET:
		made = work_of_memset_params(
			(const CUDA_MEMSET_NODE_PARAMS *)&params->memset, ret_work);
		return place_in(params->memset.ctx, made, *ret_work);
	case CU_GRAPH_NODE_TYPE_HOST:
		return work_of_host_params((const CUDA_HOST_NODE_PARAMS *)&params->host, ret_work);
	case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
		return work_of_event(params->eventRecord.event, ret_work);
	default:
		return CUDA_ERROR_NOT_SUPPORTED;
	}
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
		.ctx = work->place,
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
