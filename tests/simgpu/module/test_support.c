/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Files and guarded memory for the tests of the parsers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "test_support.h"

struct guarded guarded_copy(const void *data, size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t body = (size + page - 1) / page * page;
	struct guarded guarded = {.size = size, .mapping_size = body + page};

	guarded.mapping = mmap(NULL, guarded.mapping_size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(guarded.mapping != MAP_FAILED);
	assert_int_equal(0, mprotect((char *)guarded.mapping + body, page, PROT_NONE));
	guarded.data = (unsigned char *)guarded.mapping + body - size;
	memcpy(guarded.data, data, size);
	return guarded;
}

void guarded_free(struct guarded *guarded)
{
	munmap(guarded->mapping, guarded->mapping_size);
}

void *load_file(const char *directory, const char *name, size_t *ret_size)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	FILE *file = fopen(path, "rb");
	if (!file)
		return NULL;
	assert_int_equal(0, fseek(file, 0, SEEK_END));
	size_t size = (size_t)ftell(file);
	rewind(file);
	char *data = malloc(size + 1);
	assert_non_null(data);
	assert_int_equal(size, fread(data, 1, size, file));
	data[size] = '\0';
	fclose(file);
	*ret_size = size;
	return data;
}

const struct sim_kernel *kernel_named(const struct sim_module_image *image, const char *name)
{
	for (uint32_t i = 0; i < image->kernel_count; i++)
		if (strcmp(image->kernels[i].name, name) == 0)
			return &image->kernels[i];
	fail_msg("no kernel %s", name);
	return NULL;
}

const struct sim_global *global_named(const struct sim_module_image *image, const char *name)
{
	for (uint32_t i = 0; i < image->global_count; i++)
		if (strcmp(image->globals[i].name, name) == 0)
			return &image->globals[i];
	fail_msg("no variable %s", name);
	return NULL;
}
