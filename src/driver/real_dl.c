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
	const char *name;
	uintptr_t last; /* the base of the object at which to end; 0 is none */
	bool is_on;     /* false while in front of the objects that are asked */
	void *found;
	struct elf_image image;
};

static void *find_in_list(const char *name, bool is_on)
{
	struct elf_image image;
	void *found = NULL;

	for (struct link_map *object = _r_debug.r_map; object != NULL && found == NULL;
		object = object->l_next) {
		if (object->l_addr == (uintptr_t)__ehdr_start)
			is_on = true;
		else if (is_on && elf_image_from_dynamic(object->l_addr, object->l_ld, &image))
			found = elf_image_find(&image, name);
	}
	return found;
}

static int find_definition(struct dl_phdr_info *info, size_t size, void *data)
{
	struct search *search = data;

	(void)size;
	if (info->dlpi_addr == (uintptr_t)__ehdr_start)
		search->is_on = true;
	else if (search->is_on && elf_image_from_phdr(info, &search->image))
		search->found = elf_image_find(&search->image, search->name);
	return search->found != NULL || (search->last != 0 && info->dlpi_addr == search->last);
}

/* Of libc's own; `is_on` asks the objects in front of us too. */
static void *find_libc_function(const char *name, bool is_on)
{
	struct search search = {.name = name, .is_on = is_on};

	if (&_r_debug != NULL && _r_debug.r_map != NULL)
		return find_in_list(name, is_on);
	dl_iterate_phdr(find_definition, &search);
	return search.found;
}

/* Where we were opened by dlopen(), libc is not behind us but at the head of the list. */
static void *libc_function(const char *name)
{
	void *found = find_libc_function(name, false);

	return found != NULL ? found : find_libc_function(name, true);
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
	void *found_dlsym = libc_function("dlsym");
	void *found_dlvsym = libc_function("dlvsym");

	__atomic_store_n((void **)&real_dlsym, found_dlsym != NULL ? found_dlsym : (void *)no_dlsym,
		__ATOMIC_RELAXED);
	__atomic_store_n((void **)&real_dlvsym,
		found_dlvsym != NULL ? found_dlvsym : (void *)no_dlvsym, __ATOMIC_RELAXED);
}

int real_dladdr(const void *address, Dl_info *ret_info)
{
	int (*function)(const void *, Dl_info *);

	*(void **)&function = libc_function("dladdr");
	return function != NULL ? function(address, ret_info) : 0;
}

static void forget_dlerror(void)
{
	char *(*function)(void);

	*(void **)&function = libc_function("dlerror");
	if (function != NULL)
		(void)function();
}

void *real_dlopen(const char *path, int flags)
{
	void *(*function)(const char *, int);

	*(void **)&function = libc_function("dlopen");
	void *handle = function != NULL ? function(path, flags) : NULL;
	if (handle == NULL)
		forget_dlerror();
	return handle;
}

void real_dl_pin(const void *address)
{
	Dl_info info;

	if (real_dladdr(address, &info) != 0 && info.dli_fname != NULL)
		(void)real_dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

bool real_dl_is_ours(const void *address)
{
	return (const char *)address >= __ehdr_start && (const char *)address < _end;
}

static int find_version_before_us(struct dl_phdr_info *info, size_t size, void *data)
{
	struct search *search = data;

	(void)size;
	if (info->dlpi_addr == (uintptr_t)__ehdr_start)
		return 1;
	if (elf_image_from_phdr(info, &search->image))
		search->found = elf_image_find(&search->image, "cuslice_version");
	return search->found != NULL;
}

bool real_dl_is_second(void)
{
	struct search search = {0};

	dl_iterate_phdr(find_version_before_us, &search);
	return search.found != NULL;
}

void *real_dl_next_definition(const char *name, const struct elf_image *last)
{
	struct search search = {.name = name, .last = last != NULL ? last->base : 0};

	dl_iterate_phdr(find_definition, &search);
	return search.found;
}

/* True for LIBRARY and LIBRARY.VERSION in any folder. Without libc's functions, which a sanitizer
 * has taken over: it does not know that the loader's names do not change. */
static bool names(const char *path, const char *library)
{
	const char *name = path;

	for (; *path != '\0'; path++) {
		if (*path == '/')
			name = path + 1;
	}
	while (*library != '\0' && *library == *name) {
		library++;
		name++;
	}
	return *library == '\0' && (*name == '\0' || *name == '.');
}

/* Known by its name and by a function that it must have. */
static bool is_library(
	const char *path, const struct elf_image *image, const char *library, const char *function)
{
	return ((path != NULL && names(path, library)) ||
		       (image->soname != NULL && names(image->soname, library))) &&
	       elf_image_find(image, function) != NULL;
}

static bool is_libcuda(const char *path, const struct elf_image *image)
{
	return is_library(path, image, "libcuda.so", "cuInit");
}

static int find_libcuda(struct dl_phdr_info *info, size_t size, void *data)
{
	struct search *search = data;

	(void)size;
	if (elf_image_from_phdr(info, &search->image) &&
		is_libcuda(info->dlpi_name, &search->image))
		search->found = (void *)search->image.base;
	return search->found != NULL;
}

static bool find_first_libcuda(struct elf_image *ret_image)
{
	struct search search = {0};

	if (dl_iterate_phdr(find_libcuda, &search) == 0)
		return false;
	*ret_image = search.image;
	return true;
}

bool real_dl_find_libcuda_of(const void *address, struct elf_image *ret_image)
{
	Dl_info info;

	return real_dladdr(address, &info) != 0 && elf_image_from_base(info.dli_fbase, ret_image) &&
	       is_libcuda(info.dli_fname, ret_image);
}

bool real_dl_find_nvml_of(const void *address, struct elf_image *ret_image)
{
	Dl_info info;

	return real_dladdr(address, &info) != 0 && elf_image_from_base(info.dli_fbase, ret_image) &&
	       is_library(info.dli_fname, ret_image, "libnvidia-ml.so", "nvmlInit_v2");
}

bool real_dl_find_bound_libcuda(struct elf_image *ret_image)
{
	void *bound = real_dlsym(RTLD_NEXT, "cuInit");

	if (bound == NULL) {
		forget_dlerror();
		return false;
	}
	if (real_dl_find_libcuda_of(bound, ret_image))
		return true;
	/* An interposer behind us has it; the libcuda that it hands on to is the first. */
	return find_first_libcuda(ret_image);
}

bool real_dl_find_libcuda(struct elf_image *ret_image)
{
	return real_dl_find_bound_libcuda(ret_image) || find_first_libcuda(ret_image);
}
