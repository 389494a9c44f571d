/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The union of intervals, against a reference that looks at every single ns.
 */
#include "unit.h"
#include "governor/busy.h"

#include <stdbool.h>
#include <string.h>

static void add_first_interval_is_all_fresh(void **state)
{
	struct busy busy = {0};

	(void)state;
	assert_int_equal(busy_add(&busy, 100, 300), 200);
}

static void add_same_interval_again_is_not_fresh(void **state)
{
	struct busy busy = {0};

	(void)state;
	assert_int_equal(busy_add(&busy, 100, 300), 200);
	assert_int_equal(busy_add(&busy, 100, 300), 0);
	assert_int_equal(busy_add(&busy, 150, 200), 0);
}

static void add_overlap_is_fresh_where_nobody_was(void **state)
{
	struct busy busy = {0};

	(void)state;
	assert_int_equal(busy_add(&busy, 100, 300), 200);
	assert_int_equal(busy_add(&busy, 200, 400), 100);
	assert_int_equal(busy_add(&busy, 50, 150), 50);
	assert_int_equal(busy_add(&busy, 0, 500), 150);
	assert_int_equal(busy.count, 1);
}

static void add_bridge_joins_two(void **state)
{
	struct busy busy = {0};

	(void)state;
	assert_int_equal(busy_add(&busy, 0, 100), 100);
	assert_int_equal(busy_add(&busy, 200, 300), 100);
	assert_int_equal(busy_add(&busy, 50, 250), 100);
	assert_int_equal(busy.count, 1);
}

static void add_touching_intervals_join(void **state)
{
	struct busy busy = {0};

	(void)state;
	assert_int_equal(busy_add(&busy, 0, 100), 100);
	assert_int_equal(busy_add(&busy, 100, 200), 100);
	assert_int_equal(busy.count, 1);
}

static void add_backward_or_empty_interval_is_nothing(void **state)
{
	struct busy busy = {0};

	(void)state;
	assert_int_equal(busy_add(&busy, 100, 100), 0);
	assert_int_equal(busy_add(&busy, 100, 50), 0);
	assert_int_equal(busy.count, 0);
}

static void add_before_the_origin_counts_too(void **state)
{
	struct busy busy = {0};

	(void)state;
	assert_int_equal(busy_add(&busy, 0, 100), 100);
	assert_int_equal(busy_add(&busy, -50, 20), 50);
}

static void add_late_into_settled_time_is_not_billed_twice(void **state)
{
	struct busy busy = {0};

	(void)state;
	for (int64_t i = 0; i < BUSY_MAX_SPANS + 4; i++)
		assert_int_equal(busy_add(&busy, i * 100, i * 100 + 10), 10);
	assert_int_equal(busy.count, BUSY_MAX_SPANS);

	assert_int_equal(busy_add(&busy, 0, 10), 0);
	assert_int_equal(busy_add(&busy, 100, 110), 0);
}

static void add_a_million_in_order_stays_exact(void **state)
{
	struct busy busy = {0};
	uint64_t sum_ns = 0;

	(void)state;
	for (int64_t i = 0; i < 1000000; i++)
		sum_ns += busy_add(&busy, i * 1000, i * 1000 + 999);
	assert_int_equal(sum_ns, 999000000);
}

#define TIME 2000

static uint64_t reference_add(bool is_busy[TIME], int64_t start, int64_t end)
{
	uint64_t fresh = 0;

	for (int64_t t = start; t < end; t++) {
		fresh += !is_busy[t];
		is_busy[t] = true;
	}
	return fresh;
}

/* Long enough that never more than 16 gaps remain: then the answer is exact. */
static void random_long_intervals_agree_with_the_reference(void **state)
{
	uint64_t random = 17;

	(void)state;
	for (unsigned round = 0; round < 2000; round++) {
		bool is_busy[TIME] = {false};
		struct busy busy = {0};
		for (unsigned i = 0; i < 100; i++) {
			int64_t start = (int64_t)random_between(&random, 0, TIME - 201);
			int64_t end = start + (int64_t)random_between(&random, 100, 200);
			assert_int_equal(
				busy_add(&busy, start, end), reference_add(is_busy, start, end));
		}
	}
}

/* Of short ones more are apart than are remembered: none is billed twice, and what is settled
 * early can only be billed too little. */
static void random_short_intervals_are_never_billed_twice(void **state)
{
	uint64_t random = 19;

	(void)state;
	for (unsigned round = 0; round < 2000; round++) {
		bool is_busy[TIME] = {false};
		struct busy busy = {0};
		uint64_t fresh = 0, exact = 0;
		for (unsigned i = 0; i < 300; i++) {
			/* as commands end: mostly forward, a little out of order */
			int64_t start = 6 * i + (int64_t)random_between(&random, 0, 60);
			int64_t end = start + (int64_t)random_between(&random, 1, 9);
			fresh += busy_add(&busy, start, end);
			exact += reference_add(is_busy, start, end);
		}
		assert_true(fresh <= exact);
		assert_true(fresh >= exact * 9 / 10);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(add_first_interval_is_all_fresh),
		cmocka_unit_test(add_same_interval_again_is_not_fresh),
		cmocka_unit_test(add_overlap_is_fresh_where_nobody_was),
		cmocka_unit_test(add_bridge_joins_two),
		cmocka_unit_test(add_touching_intervals_join),
		cmocka_unit_test(add_backward_or_empty_interval_is_nothing),
		cmocka_unit_test(add_before_the_origin_counts_too),
		cmocka_unit_test(add_late_into_settled_time_is_not_billed_twice),
		cmocka_unit_test(add_a_million_in_order_stays_exact),
		cmocka_unit_test(random_long_intervals_agree_with_the_reference),
		cmocka_unit_test(random_short_intervals_are_never_billed_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
