/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "driver/elf_image.h"

#include <stddef.h>
#include <string.h>

/* glibc writes absolute addresses into the dynamic section, musl and the vdso leave offsets. */
static uintptr_t absolute(uintptr_t base, uintptr_t value)
{
	return value < base ? base + value : value;
}

bool elf_image_from_dynamic(uintptr_t base, const ElfW(Dyn) * dynamic, struct elf_image *ret_image)
{
	struct elf_image image = {.base = base};
	const ElfW(Dyn) *soname = NULL;

	for (; dynamic->d_tag != DT_NULL; dynamic++) {
		uintptr_t at = absolute(base, dynamic->d_un.d_ptr);
		if (dynamic->d_tag == DT_SYMTAB)
			image.symbols = (const ElfW(Sym) *)at;
		else if (dynamic->d_tag == DT_STRTAB)
			image.strings = (const char *)at;
		else if (dynamic->d_tag == DT_GNU_HASH)
			image.gnu_hash = (const uint32_t *)at;
		else if (dynamic->d_tag == DT_HASH)
			image.sysv_hash = (const uint32_t *)at;
		else if (dynamic->d_tag == DT_SONAME)
			soname = dynamic;
	}
	if (image.symbols == NULL || image.strings == NULL ||
		(image.gnu_hash == NULL && image.sysv_hash == NULL))
		return false;
	if (soname != NULL)
		image.soname = image.strings + soname->d_un.d_val;
	*ret_image = image;
	return true;
}

static bool read_headers(
	uintptr_t base, const ElfW(Phdr) * phdr, size_t count, struct elf_image *ret_image)
{
	for (size_t i = 0; i < count; i++) {
		if (phdr[i].p_type == PT_DYNAMIC)
			return elf_image_from_dynamic(
				base, (const ElfW(Dyn) *)(base + phdr[i].p_vaddr), ret_image);
	}
	return false;
}

bool elf_image_from_phdr(const struct dl_phdr_info *info, struct elf_image *ret_image)
{
	return read_headers(info->dlpi_addr, info->dlpi_phdr, info->dlpi_phnum, ret_image);
}

bool elf_image_from_base(const void *mapped, struct elf_image *ret_image)
{
	const ElfW(Ehdr) *header = mapped;
	const ElfW(Phdr) *phdr = (const ElfW(Phdr) *)((const char *)mapped + header->e_phoff);

	if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
		return false;
	/* A shared object is linked at zero, so the place of its first page is its base. */
	return read_headers((uintptr_t)mapped, phdr, header->e_phnum, ret_image);
}

/* Not strcmp(): a sanitizer's runtime, which comes here while it sets itself up, has taken that
 * over and cannot do it yet. */
static bool is_same(const char *a, const char *b)
{
	while (*a != '\0' && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

static void *symbol_address(const struct elf_image *image, uint32_t i, const char *name)
{
	const ElfW(Sym) *symbol = &image->symbols[i];
	unsigned type = symbol->st_info & 0xf;

	if (symbol->st_shndx == SHN_UNDEF || symbol->st_value == 0 ||
		(type != STT_FUNC && type != STT_OBJECT && type != STT_NOTYPE))
		return NULL;
	if (!is_same(image->strings + symbol->st_name, name))
		return NULL;
	return (void *)(image->base + symbol->st_value);
}

static void *find_by_gnu_hash(const struct elf_image *image, const char *name)
{
	/* nbuckets, symoffset, bloom_size, bloom_shift, bloom[], buckets[], chain[] */
	const uint32_t *table = image->gnu_hash;
	const uint32_t *buckets = table + 4 + table[2] * (sizeof(ElfW(Addr)) / sizeof(uint32_t));
	const uint32_t *chain = buckets + table[0];
	uint32_t hash = 5381;

	for (const char *c = name; *c != '\0'; c++)
		hash = hash * 33 + (unsigned char)*c;
	if (table[0] == 0)
		return NULL;
	uint32_t i = buckets[hash % table[0]];
	if (i < table[1])
		return NULL;
	for (;; i++) {
		uint32_t entry = chain[i - table[1]];
		void *address = (entry | 1) == (hash | 1) ? symbol_address(image, i, name) : NULL;
		if (address != NULL || (entry & 1) != 0)
			return address;
	}
}

void *elf_image_find(const struct elf_image *image, const char *name)
{
	if (image->gnu_hash != NULL)
		return find_by_gnu_hash(image, name);
	for (uint32_t i = 0; i < image->sysv_hash[1]; i++) {
		void *address = symbol_address(image, i, name);
		if (address != NULL)
			return address;
	}
	return NULL;
}
