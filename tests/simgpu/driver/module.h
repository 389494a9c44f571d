/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Modules, libraries, functions and kernels.
 */
#ifndef SIMGPU_DRIVER_MODULE_H
#define SIMGPU_DRIVER_MODULE_H

#include <stddef.h>
#include <stdint.h>

#include <cuda.h>

#include "../module/module.h"
#include "../twin.h"
#include "handle.h"

#define FUNCTION_ATTRIBUTES CU_FUNC_ATTRIBUTE_MAX

struct device;

/* State of the functions that came before cuLaunchKernel: cuParamSeti and the like. */
struct old_launch {
	unsigned block[3];
	unsigned shared_bytes;
	unsigned param_bytes;
	unsigned char params[4096];
};

struct CUfunc_st {
	struct handle handle;
	CUmodule module;
	const struct sim_kernel *declared;
	simgpu_twin *twin; /* or NULL */
	int attributes[FUNCTION_ATTRIBUTES];
	struct old_launch *old; /* NULL until it is used */
};

struct CUmod_st {
	struct handle handle;
	CUcontext ctx;
	CUmodule next_in_context;
	struct sim_module_image *image; /* owned, unless it is the library's */
	CUlibrary library;              /* or NULL */
	CUfunction *functions;          /* one for each kernel of the image */
	CUdeviceptr globals;            /* all of them, one after the other; or 0 */
	uint64_t code_bytes;            /* taken of the device for the code */
};

/* Ends a module of a context that is idle; the driver lock is held. */
void module_destroy(CUmodule module);

/* Finds the function behind a handle, which may also be a CUkernel.
 * Returns  CUDA_ERROR_INVALID_HANDLE, or why a kernel cannot be loaded
 */
CUresult function_resolve(CUfunction handle, CUfunction *ret_function);

/* The same for a kernel in `ctx`; NULL: in the current context. */
CUresult function_resolve_in(CUfunction handle, CUcontext ctx, CUfunction *ret_function);

/* Finds the address and size of a global variable of `module`. */
CUresult module_find_global(
	CUmodule module, const char *name, CUdeviceptr *ret_address, size_t *ret_size);

/* Makes a module of `image` in `ctx`.
 * library  whose image it is; or NULL: the module owns it, and it is freed if none is made
 */
CUresult module_create(
	CUcontext ctx, struct sim_module_image *image, CUlibrary library, CUmodule *ret_module);

/* Parses `image` and checks that it fits `device` (NULL: any). */
CUresult module_parse(
	const struct device *device, const void *image, struct sim_module_image **ret_image);

/* Reads a file into a NUL-terminated buffer of the caller's. */
CUresult module_read_file(const char *path, char **ret_bytes);

/* Returns how many blocks of `threads` threads and `shared_bytes` dynamic shared memory one SM
 * holds at a time; 0 if not one fits. */
uint32_t function_blocks_per_sm(CUfunction function, uint32_t threads, size_t shared_bytes);

/* Returns the value of an attribute that is `attribute` < CU_FUNC_ATTRIBUTE_MAX. */
int function_attribute(CUfunction function, CUfunction_attribute attribute);

/* A module and a function of null mode, which need no image. */
CUmodule module_null(void);
CUfunction function_null(void);

/* Loads the libraries that SIMGPU_TWINS names. */
void twins_init(void);

/* Returns the twin of a kernel, or NULL. */
simgpu_twin *twin_of(const char *name);

#endif
