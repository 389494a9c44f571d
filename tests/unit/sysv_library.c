/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A library for test_elf_image.c, linked once with each kind of hash table.
 */
int sysv_library_function(int value);
extern int sysv_library_object;
int sysv_library_undefined_elsewhere(void) __attribute__((weak));

int sysv_library_object = 42;

int sysv_library_function(int value)
{
	int more = sysv_library_undefined_elsewhere != 0 ? sysv_library_undefined_elsewhere() : 1;

	return value + more;
}
