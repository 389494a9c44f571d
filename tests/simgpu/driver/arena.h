/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Address space for allocations. That of a device is one mapping without reserve of a file that the
 * server keeps, so that other processes can map parts of it. The caller has the lock of memory.c.
 */
#ifndef SIMGPU_DRIVER_ARENA_H
#define SIMGPU_DRIVER_ARENA_H

#include <stdint.h>

#include "device.h"

/* Below 4 GiB, for the entry points with 32-bit pointers; of this process only. */
extern struct arena arena_low;

/* Returns the address of `bytes` of zeros, or 0. Opens the arena of `device`, or the low one, at
 * its first use. */
uintptr_t arena_take(struct arena *arena, struct device *device, uint64_t bytes);

/* Gives them back; without memory for that the addresses are lost. */
void arena_give(struct arena *arena, uintptr_t base, uint64_t bytes);

#endif
