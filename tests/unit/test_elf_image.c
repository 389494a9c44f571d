/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Symbols read from loaded objects, compared with what the dynamic linker says of them.
 */
#include "unit.h"
#include "driver/elf_image.h"

#include <dlfcn.h>
#include <string.h>

/* The image of the object whose path ends in `name`. */
struct wanted {
	const char *name;
	struct elf_image image;
};

static int find_object(struct dl_phdr_info *info, size_t size, void *data)
{
	struct wanted *wanted = data;

	(void)size;
	return info->dlpi_name != NULL && strstr(info->dlpi_name, wanted->name) != NULL &&
	       elf_image_from_phdr(info, &wanted->image);
}

static struct elf_image image_of(const char *name)
{
	struct wanted wanted = {.name = name};

	assert_int_equal(dl_iterate_phdr(find_object, &wanted), 1);
	return wanted.image;
}

static void find_in_libc_agrees_with_the_linker(void **state)
{
	static const char *const names[] = {"printf", "malloc", "read", "qsort", "strtod",
		"dl_iterate_phdr", "fork", "environ"};
	struct elf_image libc = image_of("libc.so");

	(void)state;
	void *handle = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
	assert_non_null(handle);
	assert_non_null(libc.gnu_hash);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		void *found = elf_image_find(&libc, names[i]);
		assert_non_null(found);
		assert_ptr_equal(found, dlsym(handle, names[i]));
	}
	dlclose(handle);
}

static void find_unknown_name_is_null(void **state)
{
	struct elf_image libc = image_of("libc.so");

	(void)state;
	assert_null(elf_image_find(&libc, "cuInit"));
	assert_null(elf_image_find(&libc, ""));
	assert_null(elf_image_find(&libc, "printf_"));
	assert_null(elf_image_find(&libc, "print"));
}

static void check_library(const char *path, bool has_gnu_hash)
{
	void *handle = dlopen(path, RTLD_NOW);
	assert_non_null(handle);
	struct elf_image image = image_of(strrchr(path, '/'));

	assert_int_equal(image.gnu_hash != NULL, has_gnu_hash);
	assert_int_equal(image.sysv_hash != NULL, !has_gnu_hash);
	void *function = elf_image_find(&image, "sysv_library_function");
	assert_non_null(function);
	assert_ptr_equal(function, dlsym(handle, "sysv_library_function"));
	assert_int_equal(((int (*)(int))function)(41), 42);
	int *object = elf_image_find(&image, "sysv_library_object");
	assert_non_null(object);
	assert_int_equal(*object, 42);
	assert_null(elf_image_find(&image, "sysv_library_undefined_elsewhere"));
	assert_null(elf_image_find(&image, "sysv_library_functio"));
	dlclose(handle);
}

static void find_by_sysv_hash_alone_works(void **state)
{
	(void)state;
	check_library(SYSV_LIBRARY, false);
}

static void find_by_gnu_hash_alone_works(void **state)
{
	(void)state;
	check_library(GNU_LIBRARY, true);
}

static void from_base_agrees_with_from_phdr(void **state)
{
	struct elf_image by_phdr = image_of("libc.so"), by_base;
	Dl_info info;

	(void)state;
	assert_int_not_equal(dladdr(elf_image_find(&by_phdr, "qsort"), &info), 0);
	assert_true(elf_image_from_base(info.dli_fbase, &by_base));
	assert_ptr_equal(by_base.base, by_phdr.base);
	assert_ptr_equal(elf_image_find(&by_base, "read"), elf_image_find(&by_phdr, "read"));
}

static void from_base_of_something_else_is_refused(void **state)
{
	static const char no_elf[4096] __attribute__((aligned(16))) = "\177ELG";
	struct elf_image image;

	(void)state;
	assert_false(elf_image_from_base(no_elf, &image));
}

/* The vdso keeps offsets where glibc keeps addresses; reading it must not crash either way. */
static int read_any_object(struct dl_phdr_info *info, size_t size, void *data)
{
	unsigned *count = data;
	struct elf_image image;

	(void)size;
	if (elf_image_from_phdr(info, &image)) {
		assert_null(elf_image_find(&image, "no_object_defines_this"));
		(*count)++;
	}
	return 0;
}

static void from_phdr_reads_every_loaded_object(void **state)
{
	unsigned count = 0;

	(void)state;
	dl_iterate_phdr(read_any_object, &count);
	assert_true(count >= 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(find_in_libc_agrees_with_the_linker),
		cmocka_unit_test(find_unknown_name_is_null),
		cmocka_unit_test(find_by_sysv_hash_alone_works),
		cmocka_unit_test(find_by_gnu_hash_alone_works),
		cmocka_unit_test(from_base_agrees_with_from_phdr),
		cmocka_unit_test(from_base_of_something_else_is_refused),
		cmocka_unit_test(from_phdr_reads_every_loaded_object),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
