/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The devices that this process sees, and the lock over everything that is not a byte of memory.
 */
#ifndef SIMGPU_DRIVER_DEVICE_H
#define SIMGPU_DRIVER_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include <cuda.h>

#include "../wire.h"
#include "treap.h"

/* Address space for allocations; memory.c owns the contents. */
struct arena {
	bool is_open;
	bool is_shared; /* a file of the server's, that other processes may map too */
	uintptr_t base;
	struct treap *free;
};

struct device {
	int index; /* in the machine; the ordinal is its place among the visible ones */
	const struct wire_device *info;
	uint32_t sm_count; /* that this process may use at a time: fewer than all under MPS */
	struct arena arena;
	CUcontext primary; /* NULL while it is not active */
	unsigned primary_refs;
	unsigned primary_flags;
};

/* Makes the devices of `machine` known that CUDA_VISIBLE_DEVICES, read now, leaves visible.
 * Returns  their number
 */
int devices_init(const struct wire_machine *machine);

/* Returns the number of visible devices. */
int devices_count(void);

/* Returns the visible device of that ordinal, or NULL. */
struct device *device_of(CUdevice ordinal);

/* Returns the ordinal of `device`. */
CUdevice device_ordinal(const struct device *device);

/* The driver lock: contexts, streams, events, modules and graphs change only under it. It is
 * never held while waiting for operations. */
void driver_lock(void);
void driver_unlock(void);

#endif
