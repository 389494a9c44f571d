/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Arrays of a module image that grow by doubling, and their end.
 */
#include "builder.h"

#include <stdlib.h>
#include <string.h>

/* Room for one more behind `count` entries: capacity is the next power of two. */
static void *grow(void *array, uint32_t count, size_t entry_size)
{
	if (array && (count & (count - 1)) != 0)
		return array;
	return reallocarray(array, count ? (size_t)count * 2 : 1, entry_size);
}

static bool name_is(const char *name, const char *other, size_t other_len)
{
	return strncmp(name, other, other_len) == 0 && name[other_len] == '\0';
}

struct sim_kernel *builder_find_kernel(
	const struct sim_module_image *image, const char *name, size_t len)
{
	for (uint32_t i = 0; i < image->kernel_count; i++)
		if (name_is(image->kernels[i].name, name, len))
			return &image->kernels[i];
	return NULL;
}

struct sim_kernel *builder_add_kernel(struct sim_module_image *image, const char *name, size_t len)
{
	if (builder_find_kernel(image, name, len))
		return NULL;
	struct sim_kernel *kernels = grow(image->kernels, image->kernel_count, sizeof(*kernels));
	if (!kernels)
		return NULL;
	image->kernels = kernels;
	struct sim_kernel *kernel = &kernels[image->kernel_count];
	*kernel = (struct sim_kernel){.name = strndup(name, len)};
	if (!kernel->name)
		return NULL;
	image->kernel_count++;
	return kernel;
}

bool builder_set_param(struct sim_kernel *kernel, uint32_t ordinal, uint32_t offset, uint32_t size)
{
	while (kernel->param_count <= ordinal) {
		struct sim_param *params =
			grow(kernel->params, kernel->param_count, sizeof(*params));
		if (!params)
			return false;
		kernel->params = params;
		params[kernel->param_count++] = (struct sim_param){0};
	}
	kernel->params[ordinal] = (struct sim_param){.offset = offset, .size = size};
	return true;
}

static bool global_name_is_taken(const struct sim_module_image *image, const char *name, size_t len)
{
	for (uint32_t i = 0; i < image->global_count; i++)
		if (name_is(image->globals[i].name, name, len))
			return true;
	return false;
}

struct sim_global *builder_add_global(
	struct sim_module_image *image, const char *name, size_t len, uint64_t size, void *init)
{
	struct sim_global *globals = NULL;
	if (!global_name_is_taken(image, name, len))
		globals = grow(image->globals, image->global_count, sizeof(*globals));
	if (!globals) {
		free(init);
		return NULL;
	}
	image->globals = globals;
	struct sim_global *global = &globals[image->global_count];
	*global = (struct sim_global){.name = strndup(name, len), .size = size, .init = init};
	if (!global->name) {
		free(init);
		return NULL;
	}
	image->global_count++;
	return global;
}

void sim_module_free(struct sim_module_image *image)
{
	if (!image)
		return;
	for (uint32_t i = 0; i < image->kernel_count; i++) {
		free(image->kernels[i].name);
		free(image->kernels[i].params);
	}
	for (uint32_t i = 0; i < image->global_count; i++) {
		free(image->globals[i].name);
		free((void *)image->globals[i].init);
	}
	free(image->kernels);
	free(image->globals);
	free(image);
}
