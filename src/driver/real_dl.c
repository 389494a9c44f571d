/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "driver/real_dl.h"

#include <stddef.h>
#include <string.h>

/* The linker's own names for where this library begins and ends. It is linked at zero, so where it
 * begins is its load address. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char _end[] __attribute__((visibility("hidden")));

/* glibc's list of loaded objects, in load order; weak, because musl has none. Unlike
 * dl_iterate_phdr() it is data, which no interposer can stand in front of: ThreadSanitizer takes
 * that function over and asks dlsym for the real one before it can serve it. No lock is needed:
 * what was loaded at the start of the process, libc included, stays at the head of the list. */
extern struct r_debug _r_debug __attribute__((weak));

/* A search through the loaded objects, in load order. */
struct search {
	const char *name; /* a symbol; NULL looks for libcuda itself */
	bool is_behind_us;
	void *found;
	struct elf_image image;
};

static void *find_in_list(const char *name)
{
	struct link_map *object = _r_debug.r_map;
	struct elf_image image;
	void *found = NULL;

	while (object != NULL && object->l_addr != (uintptr_t)__ehdr_start)
		object = object->l_next;
	if (object == NULL)
		return NULL;
	for (object = object->l_next; object != NULL && found == NULL; object = object->l_next) {
		if (elf_image_from_dynamic(object->l_addr, object->l_ld, &image))
			found = elf_image_find(&image, name);
	}
	return found;
}

static int find_behind_us(struct dl_phdr_info *info, size_t size, void *data)
{
	struct search *search = data;

	(void)size;
	if (!search->is_behind_us) {
		search->is_behind_us = info->dlpi_addr == (uintptr_t)__ehdr_start;
		return 0;
	}
	if (elf_image_from_phdr(info, &search->image))
		search->found = elf_image_find(&search->image, search->name);
	return search->found != NULL;
}

static void *next_definition(const char *name)
{
	struct search search = {.name = name};

	if (&_r_debug != NULL && _r_debug.r_map != NULL)
		return find_in_list(name);
	dl_iterate_phdr(find_behind_us, &search);
	return search.found;
}

static void *no_dlsym(void *handle, const char *name)
{
	(void)handle;
	(void)name;
	return NULL;
}

static void *no_dlvsym(void *handle, const char *name, const char *version)
{
	(void)handle;
	(void)name;
	(void)version;
	return NULL;
}

void real_dl_resolve(void)
{
	void *found_dlsym = next_definition("dlsym");
	void *found_dlvsym = next_definition("dlvsym");

	__atomic_store_n((void **)&real_dlsym, found_dlsym != NULL ? found_dlsym : (void *)no_dlsym,
		__ATOMIC_RELAXED);
	__atomic_store_n((void **)&real_dlvsym,
		found_dlvsym != NULL ? found_dlvsym : (void *)no_dlvsym, __ATOMIC_RELAXED);
}

int real_dladdr(const void *address, Dl_info *ret_info)
{
	int (*function)(const void *, Dl_info *);

	*(void **)&function = next_definition("dladdr");
	return function != NULL ? function(address, ret_info) : 0;
}

void *real_dlopen(const char *path, int flags)
{
	void *(*function)(const char *, int);

	*(void **)&function = next_definition("dlopen");
	return function != NULL ? function(path, flags) : NULL;
}

bool real_dl_is_ours(const void *address)
{
	return (const char *)address >= __ehdr_start && (const char *)address < _end;
}

bool real_dl_names_libcuda(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash != NULL ? slash + 1 : path;

	return strncmp(name, "libcuda.so", 10) == 0 && (name[10] == '\0' || name[10] == '.');
}

static int find_libcuda(struct dl_phdr_info *info, size_t size, void *data)
{
	struct search *search = data;

	(void)size;
	if (info->dlpi_name == NULL || !real_dl_names_libcuda(info->dlpi_name) ||
		!elf_image_from_phdr(info, &search->image))
		return 0;
	search->found = elf_image_find(&search->image, "cuInit");
	return search->found != NULL;
}

bool real_dl_find_libcuda(struct elf_image *ret_image)
{
	struct search search = {0};

	if (dl_iterate_phdr(find_libcuda, &search) == 0)
		return false;
	*ret_image = search.image;
	return true;
}
