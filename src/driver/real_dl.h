/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * libc's own dlsym and its kin, found without asking dlsym: the first object behind us in load
 * order that defines the name. Another interposer that was loaded behind us thus keeps its turn.
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

/* As dladdr and dlopen; 0 and NULL where the process has no such function. Threads: any. */
int real_dladdr(const void *address, Dl_info *ret_info);
void *real_dlopen(const char *path, int flags);

/* True where `address` lies in our own library. */
bool real_dl_is_ours(const void *address);

/* The libcuda that is loaded in our namespace, by whatever path. False where there is none. */
bool real_dl_find_libcuda(struct elf_image *ret_image) MUST_CHECK;

/* True where a file of this path is a libcuda, by its name. */
bool real_dl_names_libcuda(const char *path);

#endif
