/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Memory that the server shares with its clients.
 */
#ifndef SIMGPU_SHARED_H
#define SIMGPU_SHARED_H

#include <stddef.h>

/* Maps `size` bytes of zeros that others can map through the returned fd, but neither shrink nor
 * grow: a client must not be able to take the memory from under the server. Returns -1 with errno
 * set if that fails. The caller closes and unmaps. */
int shared_create(const char *name, size_t size, void **ret_memory);

#endif
