/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What commands cost so far, by kernel or graph: a moving average of those that were measured, to
 * bill those that were not. Learning is serialised by the caller; costs_known() may run beside it.
 */
#ifndef CUSLICE_GOVERNOR_COSTS_H
#define CUSLICE_GOVERNOR_COSTS_H

#include "base/clock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define COSTS_PLACES 1024u /* a power of two */

/* Assumed for what never ran: small enough that a few may be in flight, large enough that not
 * many are. */
#define COSTS_UNKNOWN_NS (500 * NS_PER_US)

/* Nothing costs less, so that even the shortest kernel is measured again once in a while. */
#define COSTS_LEAST_NS 200u

/* Measured so often, a command counts as known. */
#define COSTS_KNOWN_AFTER 3

/* What costs_known() says until then: more than any credit. */
#define COSTS_NOT_KNOWN UINT32_MAX

struct costs {
	struct costs_place {
		_Atomic uint64_t key;      /* 0: unused */
		_Atomic uint32_t known_ns; /* or COSTS_NOT_KNOWN */
		uint32_t samples;
		uint64_t average_ns;
	} places[COSTS_PLACES];
};

/* A kernel of the same name on a larger grid takes longer, so they are told apart by powers of two.
 * Handles have nothing in their upper seven bits. */
static inline uint64_t costs_kernel_key(
	const void *kernel, uint64_t grid_x, uint64_t grid_y, uint64_t grid_z)
{
	uint64_t blocks = grid_x * grid_y * grid_z;

	return (uint64_t)(uintptr_t)kernel ^ (uint64_t)(63 - __builtin_clzll(blocks | 1)) << 57;
}

/* What moves bytes has no handle, and handles are larger than these. */
enum costs_kind {
	COSTS_FILL = 1,
	COSTS_FILL_ROWS,
	COSTS_COPY,
	COSTS_COPY_ROWS,
	COSTS_COPY_BATCH,
};

/* Told apart by powers of two as well. */
static inline uint64_t costs_bytes_key(enum costs_kind kind, uint64_t bytes)
{
	return (uint64_t)kind | (uint64_t)(63 - __builtin_clzll(bytes | 1)) << 57;
}

static inline uint32_t costs_place_of(uint64_t key)
{
	/* Fibonacci hashing: handles are multiples of powers of two. */
	return (uint32_t)((key * 0x9e3779b97f4a7c15ull) >> 54) % COSTS_PLACES;
}

/* Each key has two places. What it costs, COSTS_NOT_KNOWN where that was not measured often enough.
 * Zeroed costs know nothing; 0 is no key. Threads: any. */
static inline uint32_t costs_known(const struct costs *costs, uint64_t key)
{
	const struct costs_place *place = &costs->places[costs_place_of(key)];

	if (__builtin_expect(atomic_load_explicit(&place->key, memory_order_relaxed) != key, 0)) {
		place = &costs->places[costs_place_of(key) ^ 1];
		if (atomic_load_explicit(&place->key, memory_order_relaxed) != key)
			return COSTS_NOT_KNOWN;
	}
	return atomic_load_explicit(&place->known_ns, memory_order_relaxed);
}

/* The best guess, whatever it rests on; `otherwise_ns` where nothing was measured. */
uint64_t costs_expect(const struct costs *costs, uint64_t key, uint64_t otherwise_ns);

/* Of key 0 nothing is learnt. */
void costs_learn(struct costs *costs, uint64_t key, uint64_t measured_ns);

/* What the key stands for may have changed: it counts as known again once it was measured and took
 * about what it did, else as any that is new. Until then its last average is the best guess.
 * COSTS_ALL: every key. */
#define COSTS_ALL 0
void costs_doubt(struct costs *costs, uint64_t key);

#endif
