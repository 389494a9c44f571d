/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Libraries and their kernels: module images that belong to no context and are loaded into one
 * when they are first used there.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "entry.h"
#include "module.h"

struct CUkern_st {
	struct handle handle;
	CUlibrary library;
	uint32_t index; /* of the image's kernels */
};

struct CUlib_st {
	struct handle handle;
	struct sim_module_image *image;
	CUkernel *kernels;
};

/* Held while a library is loaded into a context, so that this happens once. */
static pthread_mutex_t load_lock = PTHREAD_MUTEX_INITIALIZER;

static bool create_kernels(CUlibrary library)
{
	library->kernels = calloc(library->image->kernel_count + 1u, sizeof(*library->kernels));
	if (!library->kernels)
		return false;
	for (uint32_t i = 0; i < library->image->kernel_count; i++) {
		CUkernel kernel = handle_create(HANDLE_KERNEL, sizeof(*kernel));

		if (!kernel)
			return false;
		kernel->library = library;
		kernel->index = i;
		library->kernels[i] = kernel;
	}
	return true;
}

static void free_library(CUlibrary library)
{
	for (uint32_t i = 0; library->kernels && i < library->image->kernel_count; i++) {
		if (library->kernels[i])
			handle_recycle(&library->kernels[i]->handle, HANDLE_KERNEL);
	}
	free(library->kernels);
	sim_module_free(library->image);
	handle_recycle(&library->handle, HANDLE_LIBRARY);
}

static CUresult load(CUlibrary *ret_library, const void *code)
{
	struct sim_module_image *image;

	if (!ret_library || !code)
		return CUDA_ERROR_INVALID_VALUE;
	/* Of code for several architectures simgpu keeps one, for all devices that it is used on.
	 */
	CUcontext ctx;
	const struct device *device =
		context_current(&ctx) == CUDA_SUCCESS ? ctx->device : device_of(0);
	CUresult result = module_parse(device, code, &image);

	if (result == CUDA_ERROR_NO_BINARY_FOR_GPU)
		result = module_parse(NULL, code, &image);
	if (result != CUDA_SUCCESS)
		return result;
	CUlibrary library = handle_create(HANDLE_LIBRARY, sizeof(*library));

	if (!library) {
		sim_module_free(image);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	library->image = image;
	if (!create_kernels(library)) {
		free_library(library);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	*ret_library = library;
	return CUDA_SUCCESS;
}

CUresult cuLibraryLoadData(CUlibrary *library, const void *code, CUjit_option *jitOptions,
	void **jitOptionsValues, unsigned int numJitOptions, CUlibraryOption *libraryOptions,
	void **libraryOptionValues, unsigned int numLibraryOptions)
{
	(void)jitOptions, (void)jitOptionsValues, (void)numJitOptions;
	(void)libraryOptions, (void)libraryOptionValues, (void)numLibraryOptions;
	ENTER(cuLibraryLoadData);
	return load(library, code);
}

CUresult cuLibraryLoadFromFile(CUlibrary *library, const char *fileName, CUjit_option *jitOptions,
	void **jitOptionsValues, unsigned int numJitOptions, CUlibraryOption *libraryOptions,
	void **libraryOptionValues, unsigned int numLibraryOptions)
{
	char *bytes;

	(void)jitOptions, (void)jitOptionsValues, (void)numJitOptions;
	(void)libraryOptions, (void)libraryOptionValues, (void)numLibraryOptions;
	ENTER(cuLibraryLoadFromFile);
	if (!fileName)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult result = module_read_file(fileName, &bytes);

	if (result != CUDA_SUCCESS)
		return result;
	result = load(library, bytes);
	free(bytes);
	return result;
}

/* Unloads `library` from every context that it was loaded into. */
static CUresult unload_everywhere(CUlibrary library)
{
	CUmodule module;
	CUresult result;

	while ((module = context_find_module(library)) != NULL) {
		result = context_wait(module->ctx);
		if (result != CUDA_SUCCESS)
			return result;
		driver_lock();
		module_destroy(module);
		driver_unlock();
	}
	return CUDA_SUCCESS;
}

CUresult cuLibraryUnload(CUlibrary library)
{
	ENTER(cuLibraryUnload);
	if (!handle_is(library, HANDLE_LIBRARY))
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&load_lock);
	const CUresult result = unload_everywhere(library);

	if (result == CUDA_SUCCESS)
		free_library(library);
	pthread_mutex_unlock(&load_lock);
	return result;
}

static CUmodule loaded_module(CUcontext ctx, CUlibrary library)
{
	driver_lock();
	CUmodule module = ctx->modules;

	while (module && module->library != library)
		module = module->next_in_context;
	driver_unlock();
	return module;
}

/* NULL stands for the current context. */
static CUresult load_into(CUcontext ctx, CUlibrary library, CUmodule *ret_module)
{
	const struct sim_module_image *image = library->image;
	CUresult result = ctx ? CUDA_SUCCESS : context_current(&ctx);

	if (result != CUDA_SUCCESS)
		return result;
	ctx = context_home(ctx);
	if (!image->is_ptx && image->sm / 10 != ctx->device->info->cc_major)
		return CUDA_ERROR_NO_BINARY_FOR_GPU;
	pthread_mutex_lock(&load_lock);
	*ret_module = loaded_module(ctx, library);
	if (!*ret_module)
		result = module_create(ctx, library->image, library, ret_module);
	pthread_mutex_unlock(&load_lock);
	return result;
}

CUresult function_resolve(CUfunction handle, CUfunction *ret_function)
{
	return function_resolve_in(handle, NULL, ret_function);
}

CUresult function_resolve_in(CUfunction handle, CUcontext ctx, CUfunction *ret_function)
{
	if (handle_is(handle, HANDLE_FUNCTION)) {
		*ret_function = handle;
		return CUDA_SUCCESS;
	}
	if (!handle_is(handle, HANDLE_KERNEL))
		return CUDA_ERROR_INVALID_HANDLE;
	CUkernel kernel = (CUkernel)handle;
	CUmodule module;
	const CUresult result = load_into(ctx, kernel->library, &module);

	if (result == CUDA_SUCCESS)
		*ret_function = module->functions[kernel->index];
	return result;
}

CUresult cuLibraryGetKernel(CUkernel *pKernel, CUlibrary library, const char *name)
{
	ENTER(cuLibraryGetKernel);
	if (!pKernel || !name)
		return CUDA_ERROR_INVALID_VALUE;
	if (!handle_is(library, HANDLE_LIBRARY))
		return CUDA_ERROR_INVALID_HANDLE;
	for (uint32_t i = 0; i < library->image->kernel_count; i++) {
		if (strcmp(library->image->kernels[i].name, name) == 0) {
			*pKernel = library->kernels[i];
			return CUDA_SUCCESS;
		}
	}
	return CUDA_ERROR_NOT_FOUND;
}

CUresult cuLibraryGetKernelCount(unsigned int *count, CUlibrary lib)
{
	ENTER(cuLibraryGetKernelCount);
	if (!count)
		return CUDA_ERROR_INVALID_VALUE;
	if (!handle_is(lib, HANDLE_LIBRARY))
		return CUDA_ERROR_INVALID_HANDLE;
	*count = lib->image->kernel_count;
	return CUDA_SUCCESS;
}

CUresult cuLibraryEnumerateKernels(CUkernel *kernels, unsigned int numKernels, CUlibrary lib)
{
	ENTER(cuLibraryEnumerateKernels);
	if (!kernels)
		return CUDA_ERROR_INVALID_VALUE;
	if (!handle_is(lib, HANDLE_LIBRARY))
		return CUDA_ERROR_INVALID_HANDLE;
	for (unsigned i = 0; i < numKernels && i < lib->image->kernel_count; i++)
		kernels[i] = lib->kernels[i];
	return CUDA_SUCCESS;
}

CUresult cuLibraryGetModule(CUmodule *pMod, CUlibrary library)
{
	ENTER(cuLibraryGetModule);
	if (!pMod)
		return CUDA_ERROR_INVALID_VALUE;
	if (!handle_is(library, HANDLE_LIBRARY))
		return CUDA_ERROR_INVALID_HANDLE;
	return load_into(NULL, library, pMod);
}

CUresult cuLibraryGetGlobal(CUdeviceptr *dptr, size_t *bytes, CUlibrary library, const char *name)
{
	CUdeviceptr address;
	CUmodule module;
	size_t size;

	ENTER(cuLibraryGetGlobal);
	if ((!dptr && !bytes) || !name)
		return CUDA_ERROR_INVALID_VALUE;
	if (!handle_is(library, HANDLE_LIBRARY))
		return CUDA_ERROR_INVALID_HANDLE;
	CUresult result = load_into(NULL, library, &module);

	if (result == CUDA_SUCCESS)
		result = module_find_global(module, name, &address, &size);
	if (result != CUDA_SUCCESS)
		return result;
	if (dptr)
		*dptr = address;
	if (bytes)
		*bytes = size;
	return CUDA_SUCCESS;
}

CUresult cuKernelGetFunction(CUfunction *pFunc, CUkernel kernel)
{
	ENTER(cuKernelGetFunction);
	if (!pFunc)
		return CUDA_ERROR_INVALID_VALUE;
	if (!handle_is(kernel, HANDLE_KERNEL))
		return CUDA_ERROR_INVALID_HANDLE;
	return function_resolve((CUfunction)kernel, pFunc);
}

CUresult cuKernelGetLibrary(CUlibrary *pLib, CUkernel kernel)
{
	ENTER(cuKernelGetLibrary);
	if (!pLib)
		return CUDA_ERROR_INVALID_VALUE;
	if (!handle_is(kernel, HANDLE_KERNEL))
		return CUDA_ERROR_INVALID_HANDLE;
	*pLib = kernel->library;
	return CUDA_SUCCESS;
}
