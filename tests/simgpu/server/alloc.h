/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Memory of the heap that is always there: simgpu ends with a message when the system has none
 * left, because a simulated machine that forgets an operation would make every test that runs on it
 * lie.
 */
#ifndef SIMGPU_ALLOC_H
#define SIMGPU_ALLOC_H

#include <stddef.h>

/* `size` bytes of zeros, never NULL; the caller frees them. */
void *alloc_zeroed(size_t size);

/* `old` (or NULL) with room for `count` items of `size` bytes; what is new is not cleared. */
void *alloc_resized(void *old, size_t count, size_t size);

#endif
