/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Functions: attributes and occupancy.
 */
#include <string.h>

#include "context.h"
#include "device.h"
#include "entry.h"
#include "module.h"

#define MAX_THREADS        1024
#define SM_THREADS         2048u
#define SM_BLOCKS          32u
#define SM_SHARED_BYTES    (228u << 10)
#define BLOCK_SHARED_BYTES (227 << 10)
#define RESERVED_SHARED    1024u /* of each block, by the driver */
#define DEFAULT_REGISTERS  32

uint32_t function_blocks_per_sm(CUfunction function, uint32_t threads, size_t shared_bytes)
{
	const size_t shared = shared_bytes + function->declared->shared_bytes + RESERVED_SHARED;
	const uint32_t warps_threads = (threads + 31) / 32 * 32;

	if (threads == 0 || threads > MAX_THREADS || shared > SM_SHARED_BYTES)
		return 0;
	uint32_t blocks = SM_THREADS / warps_threads;

	if (blocks > SM_BLOCKS)
		blocks = SM_BLOCKS;
	if (blocks > SM_SHARED_BYTES / shared)
		blocks = (uint32_t)(SM_SHARED_BYTES / shared);
	return blocks;
}

static int max_threads(CUfunction function)
{
	const uint32_t declared = function->declared->max_threads;

	return declared && declared < MAX_THREADS ? (int)declared : MAX_THREADS;
}

int function_attribute(CUfunction function, CUfunction_attribute attribute)
{
	const struct sim_kernel *declared = function->declared;
	const uint32_t sm = function->module->image ? function->module->image->sm : 0;

	switch (attribute) {
	case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
		return max_threads(function);
	case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
		return (int)declared->shared_bytes;
	case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
		return (int)declared->local_bytes;
	case CU_FUNC_ATTRIBUTE_NUM_REGS:
		return declared->registers ? (int)declared->registers : DEFAULT_REGISTERS;
	case CU_FUNC_ATTRIBUTE_PTX_VERSION:
	case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
		return sm ? (int)sm : 90;
	default:
		return function->attributes[attribute];
	}
}

static CUresult get_attribute(int *pi, CUfunction_attribute attrib, CUfunction handle)
{
	CUfunction function;

	if (!pi || (unsigned)attrib >= FUNCTION_ATTRIBUTES)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = function_resolve(handle, &function);

	if (result == CUDA_SUCCESS)
		*pi = function_attribute(function, attrib);
	return result;
}

CUresult cuFuncGetAttribute(int *pi, CUfunction_attribute attrib, CUfunction hfunc)
{
	ENTER(cuFuncGetAttribute);
	return get_attribute(pi, attrib, hfunc);
}

CUresult cuKernelGetAttribute(int *pi, CUfunction_attribute attrib, CUkernel kernel, CUdevice dev)
{
	ENTER(cuKernelGetAttribute);
	if (!device_of(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	return get_attribute(pi, attrib, (CUfunction)kernel);
}

static CUresult set_attribute(CUfunction handle, CUfunction_attribute attrib, int value)
{
	CUfunction function;
	const CUresult result = function_resolve(handle, &function);

	if (result != CUDA_SUCCESS)
		return result;
	if ((unsigned)attrib >= FUNCTION_ATTRIBUTES ||
		attrib < CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)
		return CUDA_ERROR_INVALID_VALUE;
	if (attrib == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES &&
		(value < 0 || value > BLOCK_SHARED_BYTES - (int)function->declared->shared_bytes))
		return CUDA_ERROR_INVALID_VALUE;
	function->attributes[attrib] = value;
	return CUDA_SUCCESS;
}

CUresult cuFuncSetAttribute(CUfunction hfunc, CUfunction_attribute attrib, int value)
{
	ENTER(cuFuncSetAttribute);
	return set_attribute(hfunc, attrib, value);
}

CUresult cuKernelSetAttribute(CUfunction_attribute attrib, int val, CUkernel kernel, CUdevice dev)
{
	ENTER(cuKernelSetAttribute);
	if (!device_of(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	return set_attribute((CUfunction)kernel, attrib, val);
}

static CUresult check_cache_config(CUfunction handle, CUfunc_cache config)
{
	CUfunction function;

	if ((unsigned)config > CU_FUNC_CACHE_PREFER_EQUAL)
		return CUDA_ERROR_INVALID_VALUE;
	return function_resolve(handle, &function);
}

CUresult cuFuncSetCacheConfig(CUfunction hfunc, CUfunc_cache config)
{
	ENTER(cuFuncSetCacheConfig);
	return check_cache_config(hfunc, config);
}

CUresult cuKernelSetCacheConfig(CUkernel kernel, CUfunc_cache config, CUdevice dev)
{
	ENTER(cuKernelSetCacheConfig);
	if (!device_of(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	return check_cache_config((CUfunction)kernel, config);
}

CUresult cuFuncSetSharedMemConfig(CUfunction hfunc, CUsharedconfig config)
{
	CUfunction function;

	ENTER(cuFuncSetSharedMemConfig);
	if ((unsigned)config > CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE)
		return CUDA_ERROR_INVALID_VALUE;
	return function_resolve(hfunc, &function);
}

CUresult cuFuncGetModule(CUmodule *hmod, CUfunction hfunc)
{
	CUfunction function;

	ENTER(cuFuncGetModule);
	if (!hmod)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = function_resolve(hfunc, &function);

	if (result == CUDA_SUCCESS)
		*hmod = function->module;
	return result;
}

static CUresult get_name(const char **name, CUfunction handle)
{
	CUfunction function;

	if (!name)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = function_resolve(handle, &function);

	if (result == CUDA_SUCCESS)
		*name = function->declared->name;
	return result;
}

CUresult cuFuncGetName(const char **name, CUfunction hfunc)
{
	ENTER(cuFuncGetName);
	return get_name(name, hfunc);
}

CUresult cuKernelGetName(const char **name, CUkernel hfunc)
{
	ENTER(cuKernelGetName);
	return get_name(name, (CUfunction)hfunc);
}

static CUresult get_param_info(CUfunction handle, size_t index, size_t *offset, size_t *size)
{
	CUfunction function;

	if (!offset)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = function_resolve(handle, &function);

	if (result != CUDA_SUCCESS)
		return result;
	if (index >= function->declared->param_count)
		return CUDA_ERROR_INVALID_VALUE;
	*offset = function->declared->params[index].offset;
	if (size)
		*size = function->declared->params[index].size;
	return CUDA_SUCCESS;
}

CUresult cuFuncGetParamInfo(
	CUfunction func, size_t paramIndex, size_t *paramOffset, size_t *paramSize)
{
	ENTER(cuFuncGetParamInfo);
	return get_param_info(func, paramIndex, paramOffset, paramSize);
}

CUresult cuKernelGetParamInfo(
	CUkernel kernel, size_t paramIndex, size_t *paramOffset, size_t *paramSize)
{
	ENTER(cuKernelGetParamInfo);
	return get_param_info((CUfunction)kernel, paramIndex, paramOffset, paramSize);
}

CUresult cuFuncIsLoaded(CUfunctionLoadingState *state, CUfunction function)
{
	CUfunction resolved;

	ENTER(cuFuncIsLoaded);
	if (!state)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = function_resolve(function, &resolved);

	if (result == CUDA_SUCCESS)
		*state = CU_FUNCTION_LOADING_STATE_LOADED;
	return result;
}

CUresult cuFuncLoad(CUfunction function)
{
	CUfunction resolved;

	ENTER(cuFuncLoad);
	return function_resolve(function, &resolved);
}

static CUresult max_active_blocks(
	int *ret_blocks, CUfunction handle, int block_size, size_t shared_bytes)
{
	CUfunction function;

	if (!ret_blocks || block_size <= 0)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = function_resolve(handle, &function);

	if (result == CUDA_SUCCESS)
		*ret_blocks = block_size > max_threads(function)
				      ? 0
				      : (int)function_blocks_per_sm(
						function, (uint32_t)block_size, shared_bytes);
	return result;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(
	int *numBlocks, CUfunction func, int blockSize, size_t dynamicSMemSize)
{
	ENTER(cuOccupancyMaxActiveBlocksPerMultiprocessor);
	return max_active_blocks(numBlocks, func, blockSize, dynamicSMemSize);
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
	int *numBlocks, CUfunction func, int blockSize, size_t dynamicSMemSize, unsigned int flags)
{
	ENTER(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags);
	if (flags & ~(unsigned)CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE)
		return CUDA_ERROR_INVALID_VALUE;
	return max_active_blocks(numBlocks, func, blockSize, dynamicSMemSize);
}

/* Those of the current context if it is `home` or a green context of it. */
static uint32_t current_sm_count(CUcontext home)
{
	CUcontext ctx;

	if (context_current(&ctx) == CUDA_SUCCESS && context_home(ctx) == home)
		return context_sm_count(ctx);
	return context_sm_count(home);
}

/* The largest block of whole warps that keeps most threads on an SM. */
static CUresult best_block(int *min_grid, int *ret_size, CUfunction handle,
	CUoccupancyB2DSize shared_of, size_t shared_bytes, int limit)
{
	CUfunction function;
	int best_threads = 0;

	if (!min_grid || !ret_size)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = function_resolve(handle, &function);

	if (result != CUDA_SUCCESS)
		return result;
	if (limit <= 0 || limit > max_threads(function))
		limit = max_threads(function);
	for (int size = limit; size > 0; size = (size - 1) / 32 * 32) {
		const size_t shared = shared_of ? shared_of(size) : shared_bytes;
		const int blocks = (int)function_blocks_per_sm(function, (uint32_t)size, shared);

		if (blocks * size > best_threads) {
			best_threads = blocks * size;
			*ret_size = size;
			*min_grid = blocks * (int)current_sm_count(function->module->ctx);
		}
	}
	return best_threads ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuOccupancyMaxPotentialBlockSize(int *minGridSize, int *blockSize, CUfunction func,
	CUoccupancyB2DSize blockSizeToDynamicSMemSize, size_t dynamicSMemSize, int blockSizeLimit)
{
	ENTER(cuOccupancyMaxPotentialBlockSize);
	return best_block(minGridSize, blockSize, func, blockSizeToDynamicSMemSize, dynamicSMemSize,
		blockSizeLimit);
}

CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int *minGridSize, int *blockSize,
	CUfunction func, CUoccupancyB2DSize blockSizeToDynamicSMemSize, size_t dynamicSMemSize,
	int blockSizeLimit, unsigned int flags)
{
	ENTER(cuOccupancyMaxPotentialBlockSizeWithFlags);
	if (flags & ~(unsigned)CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE)
		return CUDA_ERROR_INVALID_VALUE;
	return best_block(minGridSize, blockSize, func, blockSizeToDynamicSMemSize, dynamicSMemSize,
		blockSizeLimit);
}

CUresult cuOccupancyAvailableDynamicSMemPerBlock(
	size_t *dynamicSmemSize, CUfunction func, int numBlocks, int blockSize)
{
	CUfunction function;

	ENTER(cuOccupancyAvailableDynamicSMemPerBlock);
	if (!dynamicSmemSize || numBlocks <= 0 || blockSize <= 0)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = function_resolve(func, &function);

	if (result != CUDA_SUCCESS)
		return result;
	const size_t used = function->declared->shared_bytes + RESERVED_SHARED;
	const size_t room = SM_SHARED_BYTES / (unsigned)numBlocks;

	*dynamicSmemSize = room > used ? room - used : 0;
	return CUDA_SUCCESS;
}
