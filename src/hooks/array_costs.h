/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What arrays cost. A driver lays arrays out in blocks of its own, so they take more than their
 * elements, and it tells how much of those with deferred mapping only. What is known of a shape:
 *
 * - the driver told of a twin with deferred mapping: that is it, and nothing is measured;
 * - else the drop of the device's free memory, within what is plausible. Other processes allocate
 *   and free meanwhile, so a drop is believed for good only once it was seen twice in a row;
 *   until then the least drop that was seen counts;
 * - before that, the elements.
 *
 * Never calls the driver.
 */
#ifndef CUSLICE_HOOKS_ARRAY_COSTS_H
#define CUSLICE_HOOKS_ARRAY_COSTS_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

/* Extents in elements, 0 where the array has no such dimension. */
struct array_shape {
	uint64_t width, height, depth;
	uint32_t format; /* CUarray_format */
	uint32_t channels;
	uint32_t flags;  /* CUDA_ARRAY3D_* */
	uint32_t levels; /* of a mipmapped array; 0: an array */
	uint32_t device;
};

enum array_knowledge {
	ARRAY_UNKNOWN,  /* nobody was asked yet */
	ARRAY_MEASURED, /* the driver does not tell; drops are looked at */
	ARRAY_SETTLED,  /* known, looked at no more */
};

struct array_cost {
	uint64_t bytes; /* as well as it is known; UINT64_MAX where it overflows */
	enum array_knowledge knowledge;
};

/* Makes the table, empty. At the start, once. False without memory. */
bool array_costs_init(void) MUST_CHECK;

/* True for arrays that have no memory of their own: sparse, or with deferred mapping. */
bool array_is_unbacked(const struct array_shape *shape);

/* The bytes of the elements alone, and the most that a driver may plausibly take for them. Both
 * are UINT64_MAX where that overflows. An unknown format has elements of 0 bytes. */
uint64_t array_least_bytes(const struct array_shape *shape);
uint64_t array_most_bytes(const struct array_shape *shape);

/* What is known. Threads: any, as for all that follow. */
void array_costs_find(const struct array_shape *shape, struct array_cost *ret_cost);

/* The driver was asked of a twin and said `bytes`; 0 is that it did not tell. Returns the cost. */
uint64_t array_costs_told(const struct array_shape *shape, uint64_t bytes);

/* Free memory dropped by `bytes` when the driver made the array; negative where it rose. Returns
 * the cost. */
uint64_t array_costs_saw_drop(const struct array_shape *shape, int64_t bytes);

#endif
