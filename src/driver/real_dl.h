/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * libc's own dlsym and its kin, found without asking dlsym: the first object behind us in load
 * order that defines the name. Another interposer that was loaded behind us thus keeps its turn.
 * And what else is loaded: which libcuda, and who besides us stands in front of it.
 *
 * Whatever says `loader` may wait for the loader's lock, which a thread may hold that waits for us.
 */
#ifndef CUSLICE_DRIVER_REAL_DL_H
#define CUSLICE_DRIVER_REAL_DL_H

#include "driver/elf_image.h"

#include <dlfcn.h>

/* Called through by entry_dlsym.S before anything of ours ran: each starts as a stub that calls
 * real_dl_resolve() and goes on. Hidden, and never NULL. */
extern __typeof__(dlsym) *real_dlsym __attribute__((visibility("hidden")));
extern void *(*real_dlvsym)(
	void *, const char *, const char *)__attribute__((visibility("hidden")));

/* Finds both; where libc has none (musl has no dlvsym) the answer is always NULL. Idempotent.
 * Threads: any. */
void real_dl_resolve(void);

/* As dladdr and dlopen; 0 and NULL where the process has no such function. A failure of dlopen
 * leaves no text for the program's dlerror(). Threads: any; loader. */
int real_dladdr(const void *address, Dl_info *ret_info);
void *real_dlopen(const char *path, int flags);

/* Keeps the object of `address` from being unloaded. Threads: any; loader. */
void real_dl_pin(const void *address);

/* True where `address` lies in our own library. */
bool real_dl_is_ours(const void *address);

/* True where another copy of this library was loaded before us. */
bool real_dl_is_second(void);

/* What a linked call of `name` would come to without us: the first definition behind us in load
 * order, not beyond the object `last` unless that is NULL. NULL where there is none. */
void *real_dl_next_definition(const char *name, const struct elf_image *last);

/* A libcuda is known by its file's name or by its SONAME; false where there is none. Threads: any;
 * loader. */

/* The one that the program was started with, to which linked calls are bound. */
bool real_dl_find_bound_libcuda(struct elf_image *ret_image) MUST_CHECK;

/* That one, else the first that is loaded in our namespace. */
bool real_dl_find_libcuda(struct elf_image *ret_image) MUST_CHECK;

/* The one in which `address` lies. */
bool real_dl_find_libcuda_of(const void *address, struct elf_image *ret_image) MUST_CHECK;

/* The libnvidia-ml in which `address` lies, known in the same way. */
bool real_dl_find_nvml_of(const void *address, struct elf_image *ret_image) MUST_CHECK;

#endif
