/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Predictions: what is unknown, what was learned, and keys that share a place.
 */
#include "unit.h"
#include "governor/costs.h"

#include <stdlib.h>
#include <string.h>

static struct costs costs;

static int setup(void **state)
{
	(void)state;
	memset(&costs, 0, sizeof(costs));
	return 0;
}

static void measure(uint64_t key, uint64_t ns)
{
	costs_learn(&costs, key, ns);
}

static void unknown_key_assumes_the_default(void **state)
{
	(void)state;
	assert_int_equal(costs_expect(&costs, 0x1000, COSTS_UNKNOWN_NS), COSTS_UNKNOWN_NS);
	assert_int_equal(costs_known(&costs, 0x1000), COSTS_NOT_KNOWN);
}

static void first_measure_is_the_prediction(void **state)
{
	(void)state;
	measure(0x1000, 7 * NS_PER_MS);
	assert_int_equal(costs_expect(&costs, 0x1000, COSTS_UNKNOWN_NS), 7 * NS_PER_MS);
}

static void key_is_known_after_three_measures(void **state)
{
	(void)state;
	measure(0x1000, 1000);
	measure(0x1000, 1000);
	assert_int_equal(costs_known(&costs, 0x1000), COSTS_NOT_KNOWN);
	measure(0x1000, 1000);
	assert_int_equal(costs_known(&costs, 0x1000), 1000);
}

static void learn_follows_a_change_within_a_few_launches(void **state)
{
	(void)state;
	measure(0x1000, NS_PER_MS);
	for (unsigned i = 0; i < 8; i++)
		measure(0x1000, 10 * NS_PER_MS);
	assert_in_range(
		costs_expect(&costs, 0x1000, COSTS_UNKNOWN_NS), 9 * NS_PER_MS, 10 * NS_PER_MS);
	assert_int_equal(
		costs_known(&costs, 0x1000), costs_expect(&costs, 0x1000, COSTS_UNKNOWN_NS));
}

static void learn_steady_cost_stays_exact(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		measure(0x1000, 12345);
	assert_int_equal(costs_expect(&costs, 0x1000, COSTS_UNKNOWN_NS), 12345);
}

static void nothing_costs_nothing(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++)
		measure(0x1000, 0);
	assert_int_equal(costs_known(&costs, 0x1000), COSTS_LEAST_NS);
}

static void length_beyond_32_bits_is_known_as_the_longest(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++)
		measure(0x1000, 3600 * NS_PER_S);
	assert_int_equal(costs_known(&costs, 0x1000), COSTS_NOT_KNOWN);
	assert_int_equal(costs_expect(&costs, 0x1000, COSTS_UNKNOWN_NS), 3600 * NS_PER_S);
}

/* Grids of another size are other commands; beyond 2^32 blocks, and of none, too. */
static void kernel_keys_tell_sizes_apart(void **state)
{
	const void *kernel = (const void *)0x7fff12345678;
	uint64_t one = costs_kernel_key(kernel, 1, 1, 1);

	(void)state;
	assert_int_not_equal(one, costs_kernel_key(kernel, 2, 1, 1));
	assert_int_equal(costs_kernel_key(kernel, 4, 1, 1), costs_kernel_key(kernel, 1, 5, 1));
	assert_int_not_equal(costs_kernel_key(kernel, 65536, 65535, 1),
		costs_kernel_key(kernel, 65536, 65535, 4));
	assert_int_not_equal(costs_kernel_key(kernel, 2147483647, 65535, 65535), one);
	assert_int_equal(costs_kernel_key(kernel, 0, 1, 1), one);
}

/* What moves bytes has keys that no kernel has, by kinds and powers of two. */
static void bytes_keys_tell_kinds_and_sizes_apart(void **state)
{
	(void)state;
	for (unsigned kind = COSTS_FILL; kind <= COSTS_COPY_BATCH; kind++) {
		uint64_t one = costs_bytes_key(kind, 1);
		assert_int_not_equal(one, 0);
		assert_int_not_equal(one, costs_bytes_key(kind, 2));
		assert_int_equal(costs_bytes_key(kind, 4096), costs_bytes_key(kind, 8191));
		assert_int_not_equal(one, costs_bytes_key(kind + 1, 1));
		assert_int_not_equal(
			costs_bytes_key(kind, 1ull << 63), costs_bytes_key(kind, 1ull << 62));
	}
}

static void doubted_key_is_known_again_by_one_measure_like_the_last(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++)
		measure(0x1000, 1000);
	costs_doubt(&costs, 0x1000);
	assert_int_equal(costs_known(&costs, 0x1000), COSTS_NOT_KNOWN);
	assert_int_equal(costs_expect(&costs, 0x1000, COSTS_UNKNOWN_NS), 1000);
	measure(0x1000, 1240);
	assert_int_equal(costs_known(&costs, 0x1000), 1060);
}

static void doubted_key_starts_anew_where_it_changed(void **state)
{
	static const uint64_t changed_ns[] = {700, 1300, 10000, 200};

	(void)state;
	for (unsigned i = 0; i < sizeof(changed_ns) / sizeof(changed_ns[0]); i++) {
		for (unsigned k = 0; k < 30; k++)
			measure(0x1000, 1000);
		costs_doubt(&costs, 0x1000);
		measure(0x1000, changed_ns[i]);
		assert_int_equal(costs_known(&costs, 0x1000), COSTS_NOT_KNOWN);
		assert_int_equal(costs_expect(&costs, 0x1000, COSTS_UNKNOWN_NS), changed_ns[i]);
		measure(0x1000, changed_ns[i]);
		measure(0x1000, changed_ns[i]);
		assert_int_equal(costs_known(&costs, 0x1000), changed_ns[i]);
	}
}

static void doubt_is_of_one_key_or_of_all(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		measure(0x1000, 1000);
		measure(0x2000, 2000);
	}
	costs_doubt(&costs, 0x3000);
	costs_doubt(&costs, 0x1000);
	assert_int_equal(costs_known(&costs, 0x1000), COSTS_NOT_KNOWN);
	assert_int_equal(costs_known(&costs, 0x2000), 2000);
	costs_doubt(&costs, COSTS_ALL);
	assert_int_equal(costs_known(&costs, 0x2000), COSTS_NOT_KNOWN);
}

/* A key that comes in for a doubted one is not taken for it. */
static void newcomer_has_no_past(void **state)
{
	uint64_t other = 0x1010;

	(void)state;
	while (costs_place_of(other) / 2 != costs_place_of(0x1000) / 2)
		other += 16;
	uint64_t third = other + 16;
	while (costs_place_of(third) / 2 != costs_place_of(0x1000) / 2)
		third += 16;
	for (unsigned i = 0; i < 3; i++) {
		measure(0x1000, 1000);
		measure(other, 1000);
	}
	costs_doubt(&costs, COSTS_ALL);
	measure(third, 1000);
	assert_int_equal(costs_known(&costs, third), COSTS_NOT_KNOWN);
}

static void key_of_nothing_learns_nothing(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++)
		measure(0, 1000);
	assert_int_equal(costs_expect(&costs, 0, COSTS_UNKNOWN_NS), COSTS_UNKNOWN_NS);
	assert_int_equal(costs_expect(&costs, 0x1000, COSTS_UNKNOWN_NS), COSTS_UNKNOWN_NS);
}

/* Three keys for one pair of places: two stay known whatever the third does now and then, and a
 * key that came in for another starts anew. */
static void keys_of_one_place_do_not_mix(void **state)
{
	uint64_t keys[3];
	unsigned found = 0;

	(void)state;
	for (uint64_t key = 0x1000; found < 3; key += 16) {
		if (costs_place_of(key) / 2 == costs_place_of(0x1000) / 2)
			keys[found++] = key;
	}
	for (unsigned i = 0; i < 16; i++) {
		measure(keys[0], 1000);
		measure(keys[1], 2000);
	}
	measure(keys[2], 3000);
	assert_int_equal(costs_expect(&costs, keys[2], COSTS_UNKNOWN_NS), 3000);
	assert_int_equal(costs_known(&costs, keys[2]), COSTS_NOT_KNOWN);
	assert_int_equal(
		(costs_known(&costs, keys[0]) == 1000) + (costs_known(&costs, keys[1]) == 2000), 1);
	for (unsigned i = 0; i < 8; i++) {
		measure(keys[0], 1000);
		measure(keys[1], 2000);
	}
	assert_int_equal(costs_known(&costs, keys[0]), 1000);
	assert_int_equal(costs_known(&costs, keys[1]), 2000);
	assert_int_equal(costs_expect(&costs, keys[2], COSTS_UNKNOWN_NS), COSTS_UNKNOWN_NS);
}

/* Handles of kernels are addresses of heap blocks: a few hundred must mostly have a place each. */
static void keys_like_heap_blocks_spread(void **state)
{
	enum { KEYS = 256 };
	void *keys[KEYS];
	unsigned known = 0;

	(void)state;
	for (unsigned i = 0; i < KEYS; i++) {
		keys[i] = malloc(208);
		assert_non_null(keys[i]);
		measure((uintptr_t)keys[i], 1000 + i);
	}
	for (unsigned i = 0; i < KEYS; i++)
		known += costs_expect(&costs, (uintptr_t)keys[i], COSTS_UNKNOWN_NS) == 1000 + i;
	for (unsigned i = 0; i < KEYS; i++)
		free(keys[i]);
	assert_true(known >= KEYS * 9 / 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(unknown_key_assumes_the_default, setup),
		cmocka_unit_test_setup(first_measure_is_the_prediction, setup),
		cmocka_unit_test_setup(key_is_known_after_three_measures, setup),
		cmocka_unit_test_setup(learn_follows_a_change_within_a_few_launches, setup),
		cmocka_unit_test_setup(learn_steady_cost_stays_exact, setup),
		cmocka_unit_test_setup(nothing_costs_nothing, setup),
		cmocka_unit_test_setup(length_beyond_32_bits_is_known_as_the_longest, setup),
		cmocka_unit_test_setup(kernel_keys_tell_sizes_apart, setup),
		cmocka_unit_test_setup(bytes_keys_tell_kinds_and_sizes_apart, setup),
		cmocka_unit_test_setup(
			doubted_key_is_known_again_by_one_measure_like_the_last, setup),
		cmocka_unit_test_setup(doubted_key_starts_anew_where_it_changed, setup),
		cmocka_unit_test_setup(doubt_is_of_one_key_or_of_all, setup),
		cmocka_unit_test_setup(newcomer_has_no_past, setup),
		cmocka_unit_test_setup(key_of_nothing_learns_nothing, setup),
		cmocka_unit_test_setup(keys_of_one_place_do_not_mix, setup),
		cmocka_unit_test_setup(keys_like_heap_blocks_spread, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
