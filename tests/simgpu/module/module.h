/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What a module image (PTX, cubin or fatbin) declares: its kernels with their parameters, and its
 * global variables. Nothing of its code is understood.
 *
 * All functions may be called from any thread; a parsed image is immutable.
 */
#ifndef SIMGPU_MODULE_H
#define SIMGPU_MODULE_H

#include <stdbool.h>
#include <stdint.h>

/* One kernel parameter. Bytes, in the parameter buffer of the launch. */
struct sim_param {
	uint32_t offset, size;
};

struct sim_kernel {
	char *name; /* as cuModuleGetFunction takes it: mangled */
	uint32_t param_count;
	struct sim_param *params; /* in the order of the declaration; NULL if there are none */
	uint32_t param_bytes;     /* the whole parameter buffer, inner padding included */
	uint32_t registers;       /* a thread; 0 if the image does not say (PTX) */
	uint32_t shared_bytes;    /* static shared memory, a block */
	uint32_t local_bytes;     /* a thread */
	uint32_t max_threads;     /* a block; 0 if the image does not limit it */
};

struct sim_global {
	char *name;
	uint64_t size;    /* bytes */
	const void *init; /* `size` bytes, or NULL: zeroes */
};

struct sim_module_image {
	uint32_t kernel_count;
	struct sim_kernel *kernels;
	uint32_t global_count;
	struct sim_global *globals;
	uint32_t sm; /* 90 for sm_90; 0 for PTX */
	bool is_ptx;
	bool launches_kernels; /* PTX that speaks of cudaLaunchDevice: dynamic parallelism */
};

enum sim_module_status {
	SIM_MODULE_OK,
	SIM_MODULE_INVALID_IMAGE,
	SIM_MODULE_INVALID_PTX,
	SIM_MODULE_UNSUPPORTED, /* well formed, but in a form that simgpu does not read */
};

/* Parse `image` as cuModuleLoadData gets it: a fatbin wrapper, a fatbin, a cubin, or PTX text that
 * ends in a NUL. The length is not given: it is what the image's own headers say, and nothing
 * outside of it is read. The image is not needed any more afterwards. `*ret_image` is set only on
 * SIM_MODULE_OK and belongs to the caller, who gives it back with sim_module_free. */
enum sim_module_status sim_module_parse(const void *image, struct sim_module_image **ret_image);

/* The same for a device of compute capability `sm` (90 for 9.0): of a fatbin, take what a driver
 * would take for it, a cubin of the same major version or else PTX. Where nothing in it fits, and
 * with sim_module_parse, the cubin for the newest architecture is taken; the caller sees by `sm` of
 * the image that it does not fit. */
enum sim_module_status sim_module_parse_for(
	const void *image, uint32_t sm, struct sim_module_image **ret_image);

/* Give back an image and all it points to. NULL is allowed. */
void sim_module_free(struct sim_module_image *image);

#endif
