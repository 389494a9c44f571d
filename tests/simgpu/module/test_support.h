/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What the tests of the parsers share: files, and memory that ends where an image ends.
 */
#ifndef SIMGPU_MODULE_TEST_SUPPORT_H
#define SIMGPU_MODULE_TEST_SUPPORT_H

#include <stddef.h>
#include <stdint.h>

#include "module.h"

/* An image whose last byte stands before a page that faults. */
struct guarded {
	unsigned char *data;
	size_t size;
	void *mapping;
	size_t mapping_size;
};

/* Copy `size` bytes; aborts the test when it cannot. */
struct guarded guarded_copy(const void *data, size_t size);
void guarded_free(struct guarded *guarded);

/* Read DIRECTORY/NAME, with a NUL behind it that `ret_size` does not count. NULL if it is absent.
 * The caller frees. */
void *load_file(const char *directory, const char *name, size_t *ret_size);

/* The kernel or variable of that name; fails the test if there is none. */
const struct sim_kernel *kernel_named(const struct sim_module_image *image, const char *name);
const struct sim_global *global_named(const struct sim_module_image *image, const char *name);

#endif
