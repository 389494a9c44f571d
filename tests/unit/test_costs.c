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

static void predict_unknown_key_assumes_the_default(void **state)
{
	(void)state;
	assert_int_equal(costs_predict(&costs, &costs), COSTS_UNKNOWN_NS);
}

static void learn_first_measure_is_the_prediction(void **state)
{
	(void)state;
	costs_learn(&costs, &costs, 7 * NS_PER_MS);
	assert_int_equal(costs_predict(&costs, &costs), 7 * NS_PER_MS);
}

static void learn_follows_a_change_within_a_few_launches(void **state)
{
	(void)state;
	costs_learn(&costs, &costs, NS_PER_MS);
	for (unsigned i = 0; i < 8; i++)
		costs_learn(&costs, &costs, 10 * NS_PER_MS);
	assert_in_range(costs_predict(&costs, &costs), 9 * NS_PER_MS, 10 * NS_PER_MS);
}

static void learn_steady_cost_stays_exact(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		costs_learn(&costs, &costs, 12345);
	assert_int_equal(costs_predict(&costs, &costs), 12345);
}

/* A key whose measures were of another key would be predicted wrongly; it is unknown instead. */
static void keys_of_one_place_do_not_mix(void **state)
{
	const void *first = (const void *)0x1000;
	const void *second = NULL;

	(void)state;
	costs_learn(&costs, first, NS_PER_MS);
	for (uintptr_t key = 0x2000; second == NULL; key += 16) {
		costs_learn(&costs, (const void *)key, 2 * NS_PER_MS);
		if (costs_predict(&costs, first) == COSTS_UNKNOWN_NS)
			second = (const void *)key;
	}

	assert_int_equal(costs_predict(&costs, second), 2 * NS_PER_MS);
	costs_learn(&costs, first, 3 * NS_PER_MS);
	assert_int_equal(costs_predict(&costs, first), 3 * NS_PER_MS);
	assert_int_equal(costs_predict(&costs, second), COSTS_UNKNOWN_NS);
}

/* Handles of kernels are addresses of heap blocks: a few hundred must mostly have a place each. */
static void keys_like_heap_blocks_spread(void **state)
{
	enum { KEYS = 128 };
	void *keys[KEYS];
	unsigned known = 0;

	(void)state;
	for (unsigned i = 0; i < KEYS; i++) {
		keys[i] = malloc(208);
		assert_non_null(keys[i]);
		costs_learn(&costs, keys[i], 1000 + i);
	}
	for (unsigned i = 0; i < KEYS; i++)
		known += costs_predict(&costs, keys[i]) == 1000 + i;
	for (unsigned i = 0; i < KEYS; i++)
		free(keys[i]);
	assert_true(known >= KEYS * 2 / 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(predict_unknown_key_assumes_the_default, setup),
		cmocka_unit_test_setup(learn_first_measure_is_the_prediction, setup),
		cmocka_unit_test_setup(learn_follows_a_change_within_a_few_launches, setup),
		cmocka_unit_test_setup(learn_steady_cost_stays_exact, setup),
		cmocka_unit_test_setup(keys_of_one_place_do_not_mix, setup),
		cmocka_unit_test_setup(keys_like_heap_blocks_spread, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
