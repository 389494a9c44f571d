/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Grows a struct sim_module_image, for the parsers of this folder. Nothing here is thread-safe.
 */
#ifndef SIMGPU_MODULE_BUILDER_H
#define SIMGPU_MODULE_BUILDER_H

#include <stddef.h>

#include "module.h"

/* Larger initialised variables are not read: no program has one, a damaged image may. */
#define SIM_INIT_MAX ((uint64_t)1 << 30)

/* The same for the parameters of one kernel. CUDA allows 32764 bytes. */
#define SIM_PARAM_BYTES_MAX 32764u

/* Append a kernel that bears the `len` bytes at `name`, everything else zero. The result is valid
 * until the next kernel is added; NULL when memory has run out or the name is taken already. */
struct sim_kernel *builder_add_kernel(struct sim_module_image *image, const char *name, size_t len);

/* Append a parameter, or set the one at `ordinal`: those in between become zero. False when memory
 * has run out. */
bool builder_set_param(struct sim_kernel *kernel, uint32_t ordinal, uint32_t offset, uint32_t size);

/* Append a variable. `init` is handed over (heap, or NULL), also when NULL is returned: that is
 * when memory has run out or the name is taken already. */
struct sim_global *builder_add_global(
	struct sim_module_image *image, const char *name, size_t len, uint64_t size, void *init);

/* The kernel of that name, or NULL. */
struct sim_kernel *builder_find_kernel(
	const struct sim_module_image *image, const char *name, size_t len);

#endif
