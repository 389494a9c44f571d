/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Life of modules and their functions. The entry points are in module_api.c and library.c.
 */
#include "module.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "device.h"
#include "green.h"
#include "memory.h"

#define GLOBAL_ALIGN  256u
#define MAX_TWIN_LIBS 16

static void *twin_libs[MAX_TWIN_LIBS];
static int twin_lib_count;

void twins_init(void)
{
	const char *paths = getenv("SIMGPU_TWINS");
	char *copy = paths ? strdup(paths) : NULL;
	char *rest = NULL;

	for (char *path = copy ? strtok_r(copy, ":", &rest) : NULL;
		path && twin_lib_count < MAX_TWIN_LIBS; path = strtok_r(NULL, ":", &rest)) {
		void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);

		if (lib)
			twin_libs[twin_lib_count++] = lib;
		else
			fprintf(stderr, "simgpu: SIMGPU_TWINS: %s\n", dlerror());
	}
	free(copy);
}

simgpu_twin *twin_of(const char *name)
{
	for (int i = 0; i < twin_lib_count; i++) {
		void *symbol = dlsym(twin_libs[i], name);

		if (symbol)
			return (simgpu_twin *)symbol;
	}
	return NULL;
}

CUresult module_parse(
	const struct device *device, const void *image, struct sim_module_image **ret_image)
{
	struct sim_module_image *parsed;
	uint32_t sm = device ? device->info->cc_major * 10 + device->info->cc_minor : 0;

	switch (sim_module_parse_for(image, sm, &parsed)) {
	case SIM_MODULE_OK:
		break;
	case SIM_MODULE_INVALID_PTX:
		return CUDA_ERROR_INVALID_PTX;
	case SIM_MODULE_UNSUPPORTED:
		return CUDA_ERROR_NOT_SUPPORTED;
	default:
		return CUDA_ERROR_INVALID_IMAGE;
	}
	/* Binary code runs on its own major architecture only; PTX runs anywhere. */
	if (device && !parsed->is_ptx && parsed->sm / 10 != device->info->cc_major) {
		sim_module_free(parsed);
		return CUDA_ERROR_NO_BINARY_FOR_GPU;
	}
	*ret_image = parsed;
	return CUDA_SUCCESS;
}

static CUresult read_error(int error)
{
	return error == ENOENT ? CUDA_ERROR_FILE_NOT_FOUND : CUDA_ERROR_OPERATING_SYSTEM;
}

CUresult module_read_file(const char *path, char **ret_bytes)
{
	FILE *file = fopen(path, "rbe");
	char *bytes = NULL;
	long size = -1;

	if (!file)
		return read_error(errno);
	if (fseek(file, 0, SEEK_END) == 0)
		size = ftell(file);
	if (size >= 0 && fseek(file, 0, SEEK_SET) == 0)
		bytes = calloc(1, (size_t)size + 1);
	if (bytes && fread(bytes, 1, (size_t)size, file) != (size_t)size) {
		free(bytes);
		bytes = NULL;
	}
	fclose(file);
	if (!bytes)
		return CUDA_ERROR_OPERATING_SYSTEM;
	*ret_bytes = bytes;
	return CUDA_SUCCESS;
}

static CUfunction create_function(CUmodule module, const struct sim_kernel *declared)
{
	CUfunction function = handle_create(HANDLE_FUNCTION, sizeof(*function));

	if (!function)
		return NULL;
	function->module = module;
	function->declared = declared;
	function->twin = twin_of(declared->name);
	function->attributes[CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES] = 48 << 10;
	function->attributes[CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT] = -1;
	return function;
}

static bool create_functions(CUmodule module)
{
	const struct sim_module_image *image = module->image;

	module->functions = calloc(image->kernel_count + 1u, sizeof(*module->functions));
	if (!module->functions)
		return false;
	for (uint32_t i = 0; i < image->kernel_count; i++) {
		module->functions[i] = create_function(module, &image->kernels[i]);
		if (!module->functions[i])
			return false;
	}
	return true;
}

static uint64_t aligned_size(const struct sim_global *global)
{
	return (global->size + GLOBAL_ALIGN - 1) & ~(uint64_t)(GLOBAL_ALIGN - 1);
}

/* The device's memory for globals is one allocation a module. */
static CUresult create_globals(CUmodule module)
{
	const struct sim_module_image *image = module->image;
	uint64_t total = 0;

	for (uint32_t i = 0; i < image->global_count; i++)
		total += aligned_size(&image->globals[i]);
	if (total == 0)
		return CUDA_SUCCESS;
	const CUresult result =
		memory_reserve(module->ctx, MEMORY_DEVICE, total, 0, false, &module->globals);

	if (result != CUDA_SUCCESS)
		return result;
	char *next = (char *)(uintptr_t)module->globals;

	for (uint32_t i = 0; i < image->global_count; i++) {
		const struct sim_global *global = &image->globals[i];

		if (global->init)
			memcpy(next, global->init, global->size);
		next += aligned_size(global);
	}
	return CUDA_SUCCESS;
}

static CUresult charge_code(CUmodule module)
{
	const struct device *device = module->ctx->device;

	if (!memory_charge(device, device->info->module_bytes))
		return CUDA_ERROR_OUT_OF_MEMORY;
	module->code_bytes = device->info->module_bytes;
	return CUDA_SUCCESS;
}

static void free_contents(CUmodule module)
{
	for (uint32_t i = 0; module->functions && i < module->image->kernel_count; i++) {
		CUfunction function = module->functions[i];

		if (!function)
			continue;
		free(function->old);
		handle_recycle(&function->handle, HANDLE_FUNCTION);
	}
	free(module->functions);
	if (module->globals)
		(void)memory_release(module->globals);
	memory_discharge(module->ctx->device, module->code_bytes);
	if (!module->library)
		sim_module_free(module->image);
	handle_recycle(&module->handle, HANDLE_MODULE);
}

CUresult module_create(
	CUcontext ctx, struct sim_module_image *image, CUlibrary library, CUmodule *ret_module)
{
	CUmodule module = handle_create(HANDLE_MODULE, sizeof(*module));

	if (!module)
		return CUDA_ERROR_OUT_OF_MEMORY;
	module->ctx = ctx;
	module->image = image;
	module->library = library;
	CUresult result = CUDA_ERROR_OUT_OF_MEMORY;

	if (create_functions(module))
		result = charge_code(module);
	if (result == CUDA_SUCCESS)
		result = create_globals(module);
	if (result != CUDA_SUCCESS) {
		free_contents(module);
		return result;
	}
	driver_lock();
	module->next_in_context = ctx->modules;
	ctx->modules = module;
	driver_unlock();
	if (image->launches_kernels)
		green_note_parallelism();
	*ret_module = module;
	return CUDA_SUCCESS;
}

void module_destroy(CUmodule module)
{
	CUmodule *link = &module->ctx->modules;

	while (*link != module)
		link = &(*link)->next_in_context;
	*link = module->next_in_context;
	free_contents(module);
}

CUresult module_find_global(
	CUmodule module, const char *name, CUdeviceptr *ret_address, size_t *ret_size)
{
	CUdeviceptr address = module->globals;

	for (uint32_t i = 0; i < module->image->global_count; i++) {
		const struct sim_global *global = &module->image->globals[i];

		if (strcmp(global->name, name) == 0) {
			*ret_address = address;
			*ret_size = global->size;
			return CUDA_SUCCESS;
		}
		address += aligned_size(global);
	}
	return CUDA_ERROR_NOT_FOUND;
}
