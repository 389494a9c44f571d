/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Reads the dynamic symbols of a loaded object directly from memory. We export dlsym, so asking
 * libc's would mean asking through ourselves; reading also leaves dlerror(), reference counts and
 * lookup scopes alone, works before libc's loader interface is found, and where libc has no dlvsym.
 */
#ifndef CUSLICE_DRIVER_ELF_IMAGE_H
#define CUSLICE_DRIVER_ELF_IMAGE_H

#include "base/compiler.h"

#include <link.h>
#include <stdbool.h>
#include <stdint.h>

/* A loaded object. Plain pointers into its mapping: valid as long as it stays loaded. */
struct elf_image {
	uintptr_t base;
	const ElfW(Sym) * symbols;
	const char *strings;
	const char *soname;       /* NULL where it has none */
	const uint32_t *gnu_hash; /* one of the two is set */
	const uint32_t *sysv_hash;
};

/* From the load address and the dynamic section, as a link_map has them. */
bool elf_image_from_dynamic(
	uintptr_t base, const ElfW(Dyn) * dynamic, struct elf_image *ret_image) MUST_CHECK;

/* From what dl_iterate_phdr() says of an object. False where it has no dynamic symbols. */
bool elf_image_from_phdr(const struct dl_phdr_info *info, struct elf_image *ret_image) MUST_CHECK;

/* From the address at which the object is mapped, as dladdr() names it (dli_fbase). */
bool elf_image_from_base(const void *mapped, struct elf_image *ret_image) MUST_CHECK;

/* The address of a function or object that the image defines, else NULL. Of several versions of
 * one name the first is taken. Threads: any. */
void *elf_image_find(const struct elf_image *image, const char *name);

#endif
