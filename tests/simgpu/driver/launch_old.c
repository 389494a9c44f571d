/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Launches as before CUDA 4.0: the function remembers its block shape and parameters.
 */
#include <stdlib.h>
#include <string.h>

#include "entry.h"
#include "launch.h"
#include "module.h"
#include "stream.h"
#include "work.h"

/* Finds what `function` remembers. The caller alone uses it: these functions were never safe to
 * call for one function from two threads. */
static CUresult remembered(CUfunction handle, struct old_launch **ret_old)
{
	CUfunction function;
	const CUresult result = function_resolve(handle, &function);

	if (result != CUDA_SUCCESS)
		return result;
	if (!function->old)
		function->old = calloc(1, sizeof(*function->old));
	*ret_old = function->old;
	return function->old ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuFuncSetBlockShape(CUfunction hfunc, int x, int y, int z)
{
	struct old_launch *old;

	ENTER_OR_NULL(cuFuncSetBlockShape, CUDA_SUCCESS);
	if (x <= 0 || y <= 0 || z <= 0)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = remembered(hfunc, &old);

	if (result != CUDA_SUCCESS)
		return result;
	old->block[0] = (unsigned)x;
	old->block[1] = (unsigned)y;
	old->block[2] = (unsigned)z;
	return CUDA_SUCCESS;
}

CUresult cuFuncSetSharedSize(CUfunction hfunc, unsigned int bytes)
{
	struct old_launch *old;

	ENTER_OR_NULL(cuFuncSetSharedSize, CUDA_SUCCESS);
	const CUresult result = remembered(hfunc, &old);

	if (result == CUDA_SUCCESS)
		old->shared_bytes = bytes;
	return result;
}

CUresult cuParamSetSize(CUfunction hfunc, unsigned int numbytes)
{
	struct old_launch *old;

	ENTER_OR_NULL(cuParamSetSize, CUDA_SUCCESS);
	if (numbytes > sizeof(old->params))
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = remembered(hfunc, &old);

	if (result == CUDA_SUCCESS)
		old->param_bytes = numbytes;
	return result;
}

static CUresult set_param(CUfunction handle, int offset, const void *value, unsigned bytes)
{
	struct old_launch *old;

	if (offset < 0 || (size_t)offset + bytes > sizeof(old->params) || !value)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = remembered(handle, &old);

	if (result == CUDA_SUCCESS)
		memcpy(old->params + offset, value, bytes);
	return result;
}

CUresult cuParamSeti(CUfunction hfunc, int offset, unsigned int value)
{
	ENTER_OR_NULL(cuParamSeti, CUDA_SUCCESS);
	return set_param(hfunc, offset, &value, sizeof(value));
}

CUresult cuParamSetf(CUfunction hfunc, int offset, float value)
{
	ENTER_OR_NULL(cuParamSetf, CUDA_SUCCESS);
	return set_param(hfunc, offset, &value, sizeof(value));
}

CUresult cuParamSetv(CUfunction hfunc, int offset, void *ptr, unsigned int numbytes)
{
	ENTER_OR_NULL(cuParamSetv, CUDA_SUCCESS);
	return set_param(hfunc, offset, ptr, numbytes);
}

static CUresult launch_remembered(CUfunction f, int width, int height, CUstream stream)
{
	struct old_launch *old;
	struct work *work;

	if (width <= 0 || height <= 0)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult result = remembered(f, &old);

	if (result != CUDA_SUCCESS)
		return result;
	size_t bytes = old->param_bytes;
	void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, old->params, CU_LAUNCH_PARAM_BUFFER_SIZE,
		&bytes, CU_LAUNCH_PARAM_END};
	const struct launch launch = {
		.function = f,
		.grid = {(unsigned)width, (unsigned)height, 1},
		.block = {old->block[0], old->block[1], old->block[2]},
		.shared_bytes = old->shared_bytes,
		.extra = extra,
	};

	result = launch_work(&launch, &work);
	return result == CUDA_SUCCESS ? stream_put(stream, STREAM_LEGACY, work) : result;
}

CUresult cuLaunch(CUfunction f)
{
	ENTER_OR_NULL(cuLaunch, CUDA_SUCCESS);
	return launch_remembered(f, 1, 1, NULL);
}

CUresult cuLaunchGrid(CUfunction f, int grid_width, int grid_height)
{
	ENTER_OR_NULL(cuLaunchGrid, CUDA_SUCCESS);
	return launch_remembered(f, grid_width, grid_height, NULL);
}

CUresult cuLaunchGridAsync(CUfunction f, int grid_width, int grid_height, CUstream hStream)
{
	ENTER_OR_NULL(cuLaunchGridAsync, CUDA_SUCCESS);
	return launch_remembered(f, grid_width, grid_height, hStream);
}
