/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What every unit test includes first: cmocka with the headers that it asks for, and random
 * numbers that are the same in every run, so that a failure can be seen again.
 */
#ifndef CUSLICE_TESTS_UNIT_UNIT_H
#define CUSLICE_TESTS_UNIT_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The next number of a sequence that *state, any number at first, stands for (splitmix64). */
static inline uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* A number from `low` to `high`, both included. */
static inline uint64_t random_between(uint64_t *state, uint64_t low, uint64_t high)
{
	return low + random_next(state) % (high - low + 1);
}

#endif
