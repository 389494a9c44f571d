/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Entry points of modules.
 */
#include <stdlib.h>
#include <string.h>

#include "capture.h"
#include "context.h"
#include "entry.h"
#include "module.h"

static CUresult load(CUmodule *ret_module, const void *image)
{
	struct sim_module_image *parsed;
	CUcontext ctx;

	if (!ret_module || !image)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult result = context_current_home(&ctx);

	if (result == CUDA_SUCCESS)
		result = capture_check_unsafe();
	if (result == CUDA_SUCCESS)
		result = module_parse(ctx->device, image, &parsed);
	return result == CUDA_SUCCESS ? module_create(ctx, parsed, NULL, ret_module) : result;
}

static CUresult null_load(CUmodule *ret_module)
{
	*ret_module = module_null();
	return CUDA_SUCCESS;
}

CUresult cuModuleLoad(CUmodule *module, const char *fname)
{
	char *bytes;

	ENTER_OR_NULL(cuModuleLoad, null_load(module));
	if (!fname)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult result = module_read_file(fname, &bytes);

	if (result != CUDA_SUCCESS)
		return result;
	result = load(module, bytes);
	free(bytes);
	return result;
}

CUresult cuModuleLoadData(CUmodule *module, const void *image)
{
	ENTER_OR_NULL(cuModuleLoadData, null_load(module));
	return load(module, image);
}

/* Options tell the compiler what to do; there is none. Logs come back empty. */
static void clear_logs(unsigned count, const CUjit_option *options, void **values)
{
	for (unsigned i = 0; options && values && i < count; i++) {
		if (options[i] == CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES ||
			options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
			values[i] = NULL;
	}
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int numOptions,
	CUjit_option *options, void **optionValues)
{
	ENTER_OR_NULL(cuModuleLoadDataEx, null_load(module));
	clear_logs(numOptions, options, optionValues);
	return load(module, image);
}

CUresult cuModuleLoadFatBinary(CUmodule *module, const void *fatCubin)
{
	ENTER_OR_NULL(cuModuleLoadFatBinary, null_load(module));
	return load(module, fatCubin);
}

CUresult cuModuleUnload(CUmodule hmod)
{
	ENTER_OR_NULL(cuModuleUnload, CUDA_SUCCESS);
	if (!handle_is(hmod, HANDLE_MODULE) || hmod->library)
		return CUDA_ERROR_INVALID_HANDLE;
	CUresult result = capture_check_unsafe();

	if (result == CUDA_SUCCESS)
		result = context_wait(hmod->ctx);
	if (result != CUDA_SUCCESS)
		return result;
	driver_lock();
	module_destroy(hmod);
	driver_unlock();
	return CUDA_SUCCESS;
}

CUresult cuModuleGetLoadingMode(CUmoduleLoadingMode *mode)
{
	ENTER(cuModuleGetLoadingMode);
	if (!mode)
		return CUDA_ERROR_INVALID_VALUE;
	*mode = CU_MODULE_EAGER_LOADING;
	return CUDA_SUCCESS;
}

static CUresult null_get_function(CUfunction *hfunc)
{
	*hfunc = function_null();
	return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction *hfunc, CUmodule hmod, const char *name)
{
	ENTER_OR_NULL(cuModuleGetFunction, null_get_function(hfunc));
	if (!hfunc || !name)
		return CUDA_ERROR_INVALID_VALUE;
	if (!handle_is(hmod, HANDLE_MODULE))
		return CUDA_ERROR_INVALID_HANDLE;
	for (uint32_t i = 0; i < hmod->image->kernel_count; i++) {
		if (strcmp(hmod->image->kernels[i].name, name) == 0) {
			*hfunc = hmod->functions[i];
			return CUDA_SUCCESS;
		}
	}
	return CUDA_ERROR_NOT_FOUND;
}

CUresult cuModuleGetFunctionCount(unsigned int *count, CUmodule mod)
{
	ENTER(cuModuleGetFunctionCount);
	if (!count)
		return CUDA_ERROR_INVALID_VALUE;
	if (!handle_is(mod, HANDLE_MODULE))
		return CUDA_ERROR_INVALID_HANDLE;
	*count = mod->image->kernel_count;
	return CUDA_SUCCESS;
}

CUresult cuModuleEnumerateFunctions(CUfunction *functions, unsigned int numFunctions, CUmodule mod)
{
	ENTER(cuModuleEnumerateFunctions);
	if (!functions)
		return CUDA_ERROR_INVALID_VALUE;
	if (!handle_is(mod, HANDLE_MODULE))
		return CUDA_ERROR_INVALID_HANDLE;
	for (unsigned i = 0; i < numFunctions && i < mod->image->kernel_count; i++)
		functions[i] = mod->functions[i];
	return CUDA_SUCCESS;
}

static CUresult find_global(
	CUdeviceptr *ret_address, size_t *ret_size, CUmodule module, const char *name)
{
	if (!name)
		return CUDA_ERROR_INVALID_VALUE;
	if (!handle_is(module, HANDLE_MODULE))
		return CUDA_ERROR_INVALID_HANDLE;
	return module_find_global(module, name, ret_address, ret_size);
}

CUresult cuModuleGetGlobal_v2(CUdeviceptr *dptr, size_t *bytes, CUmodule hmod, const char *name)
{
	CUdeviceptr address;
	size_t size;

	ENTER(cuModuleGetGlobal_v2);
	const CUresult result = find_global(&address, &size, hmod, name);

	if (result != CUDA_SUCCESS)
		return result;
	if (dptr)
		*dptr = address;
	if (bytes)
		*bytes = size;
	return CUDA_SUCCESS;
}

/* Globals lie above 4 GiB: only their size can be told in 32 bits. */
CUresult cuModuleGetGlobal(
	CUdeviceptr_v1 *dptr, unsigned int *bytes, CUmodule hmod, const char *name)
{
	CUdeviceptr address;
	size_t size;

	ENTER(cuModuleGetGlobal);
	const CUresult result = find_global(&address, &size, hmod, name);

	if (result != CUDA_SUCCESS)
		return result;
	if (dptr)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (bytes)
		*bytes = (unsigned)size;
	return CUDA_SUCCESS;
}
