/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "cluster.h"

#include "context.h"
#include "entry.h"
#include "module.h"
#include "stream.h"

#define PORTABLE_BLOCKS 8u
#define MOST_BLOCKS     16u

CUresult cluster_read(const CUlaunchConfig *config, uint32_t *ret_blocks)
{
	*ret_blocks = 1;
	for (unsigned i = 0; config->attrs && i < config->numAttrs; i++) {
		const CUlaunchAttributeValue *value = &config->attrs[i].value;

		if (config->attrs[i].id != CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION)
			continue;
		const uint64_t blocks =
			(uint64_t)value->clusterDim.x * value->clusterDim.y * value->clusterDim.z;

		if (blocks == 0 || config->gridDimX % value->clusterDim.x ||
			config->gridDimY % value->clusterDim.y ||
			config->gridDimZ % value->clusterDim.z)
			return CUDA_ERROR_INVALID_VALUE;
		*ret_blocks = blocks < UINT32_MAX ? (uint32_t)blocks : UINT32_MAX;
	}
	return CUDA_SUCCESS;
}

uint32_t cluster_required(CUfunction function)
{
	const int *attributes = function->attributes;
	const uint64_t blocks = (uint64_t)attributes[CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH] *
				(uint64_t)attributes[CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT] *
				(uint64_t)attributes[CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH];

	return blocks == 0 ? 1 : blocks < UINT32_MAX ? (uint32_t)blocks : UINT32_MAX;
}

CUresult cluster_check(CUfunction function, uint32_t blocks)
{
	const bool is_allowed =
		function->attributes[CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED] != 0;
	const bool has_clusters = function->module->ctx->device->info->cc_major >= 9;

	if (blocks == 1)
		return CUDA_SUCCESS;
	return has_clusters && blocks <= (is_allowed ? MOST_BLOCKS : PORTABLE_BLOCKS)
		       ? CUDA_SUCCESS
		       : CUDA_ERROR_INVALID_CLUSTER_SIZE;
}

/* All blocks of a cluster are on SMs that are scheduled together. */
uint32_t cluster_room(CUcontext ctx, uint32_t blocks_per_sm, uint32_t blocks)
{
	const uint32_t together = ctx->share.alignment;

	if (blocks == 1)
		return context_sm_count(ctx) * blocks_per_sm;
	return context_sm_count(ctx) / together * (together * blocks_per_sm / blocks);
}

static CUresult context_of(CUstream handle, CUcontext *ret_ctx)
{
	CUstream stream;

	driver_lock();
	const CUresult result = stream_resolve(handle, STREAM_LEGACY, &stream);

	if (result == CUDA_SUCCESS)
		*ret_ctx = stream->ctx;
	driver_unlock();
	return result;
}

CUresult cuOccupancyMaxActiveClusters(
	int *numClusters, CUfunction func, const CUlaunchConfig *config)
{
	CUfunction function;
	CUcontext ctx;
	uint32_t blocks;

	ENTER(cuOccupancyMaxActiveClusters);
	if (!numClusters || !config)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult result = function_resolve(func, &function);

	if (result == CUDA_SUCCESS)
		result = context_of(config->hStream, &ctx);
	if (result == CUDA_SUCCESS)
		result = cluster_read(config, &blocks);
	if (result == CUDA_SUCCESS)
		result = cluster_check(function, blocks);
	if (result != CUDA_SUCCESS)
		return result;
	const uint32_t threads = config->blockDimX * config->blockDimY * config->blockDimZ;

	*numClusters = (int)cluster_room(
		ctx, function_blocks_per_sm(function, threads, config->sharedMemBytes), blocks);
	return CUDA_SUCCESS;
}
