/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Memory that a forked child sees as zeroes. What a process holds on a GPU does not pass to its
 * children, and a lock that another thread held at the fork would never be dropped in the child;
 * keeping such state here settles both, also for children made by a bare clone(), without a
 * handler that fork would have to call.
 */
#ifndef CUSLICE_BASE_WIPE_H
#define CUSLICE_BASE_WIPE_H

#include "base/compiler.h"

#include <stddef.h>

/* Returns `size` zeroed bytes, page aligned, or NULL without memory. Never given back.
 * Kernels before 4.14 cannot wipe; there the child is wiped by an atfork handler where libc has
 * one. Threads: any. Keeps errno.
 */
void *wipe_alloc(size_t size) MUST_CHECK;

/* Plain zeroed pages, not wiped: tables that only wiped memory points to. NULL without memory. */
void *pages_alloc(size_t size) MUST_CHECK;
void pages_free(void *pages, size_t size);

#endif
