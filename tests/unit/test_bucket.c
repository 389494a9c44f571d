/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The bucket in virtual time: exact rates, debt, and the bound that the share stands on.
 */
#include "unit.h"
#include "base/clock.h"
#include "base/units.h"
#include "governor/bucket.h"

#define BURST_NS (20 * NS_PER_MS)

static void init_is_full(void **state)
{
	struct bucket bucket;

	(void)state;
	bucket_init(&bucket, 250000, BURST_NS, 5 * NS_PER_S);

	assert_int_equal(bucket.level_ns, BURST_NS);
	assert_int_equal(bucket_wait_ns(&bucket, 0), 0);
}

static void fill_gives_exactly_the_share(void **state)
{
	static const uint32_t shares[] = {1, 10, 333333, 250000, 900000, 999999, PPM_WHOLE};

	(void)state;
	for (unsigned i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
		struct bucket bucket;
		bucket_init(&bucket, shares[i], BURST_NS, 0);
		bucket_bill(&bucket, 2 * NS_PER_S);
		bucket_fill(&bucket, NS_PER_S, 0);
		assert_int_equal(
			bucket.level_ns, (int64_t)BURST_NS - (int64_t)(2 * NS_PER_S) +
						 (int64_t)(NS_PER_S / PPM_WHOLE * shares[i]));
	}
}

/* A million fills at odd moments over an hour give what one fill would. */
static void fill_in_small_steps_loses_nothing_in_an_hour(void **state)
{
	const uint32_t share_ppm = 333333;
	const uint64_t hour_ns = 3600 * NS_PER_S;
	struct bucket bucket;
	uint64_t random = 11, now_ns = 0;

	(void)state;
	bucket_init(&bucket, share_ppm, BURST_NS, 0);
	bucket_bill(&bucket, (int64_t)(2 * hour_ns)); /* so deep that it never is full */
	int64_t before_ns = bucket.level_ns;
	while (now_ns < hour_ns) {
		now_ns += random_between(&random, 1, 7199999);
		if (now_ns > hour_ns)
			now_ns = hour_ns;
		bucket_fill(&bucket, now_ns, 0);
	}

	unsigned __int128 exact = (unsigned __int128)hour_ns * share_ppm / PPM_WHOLE;
	assert_int_equal(bucket.level_ns - before_ns, (int64_t)exact);
}

static void fill_stops_at_the_burst(void **state)
{
	struct bucket bucket;

	(void)state;
	bucket_init(&bucket, 500000, BURST_NS, 0);
	bucket_bill(&bucket, BURST_NS);
	bucket_fill(&bucket, 3600 * NS_PER_S, 0);

	assert_int_equal(bucket.level_ns, BURST_NS);
	bucket_fill(&bucket, 7200 * NS_PER_S, 0);
	assert_int_equal(bucket.level_ns, BURST_NS);
}

static void fill_by_a_clock_that_runs_back_adds_nothing(void **state)
{
	struct bucket bucket;

	(void)state;
	bucket_init(&bucket, 500000, BURST_NS, NS_PER_S);
	bucket_bill(&bucket, BURST_NS);
	bucket_fill(&bucket, 0, 0);
	assert_int_equal(bucket.level_ns, 0);

	bucket_fill(&bucket, NS_PER_S + 2000, 0);
	assert_int_equal(bucket.level_ns, 1000);
}

static void debt_is_paid_back_before_anything_goes(void **state)
{
	struct bucket bucket;

	(void)state;
	bucket_init(&bucket, 250000, BURST_NS, 0);
	bucket_bill(&bucket, BURST_NS + 5 * NS_PER_MS);

	/* 5 ms of debt and one ns, at a quarter */
	uint64_t wait_ns = bucket_wait_ns(&bucket, 0);
	assert_int_equal(wait_ns, 20 * NS_PER_MS + 4);
	bucket_fill(&bucket, wait_ns - 1, 0);
	assert_true(bucket_wait_ns(&bucket, 0) > 0);
	bucket_fill(&bucket, wait_ns, 0);
	assert_int_equal(bucket_wait_ns(&bucket, 0), 0);
}

static void wait_is_never_too_short(void **state)
{
	uint64_t random = 5;

	(void)state;
	for (unsigned i = 0; i < 100000; i++) {
		struct bucket bucket;
		uint32_t share_ppm = (uint32_t)random_between(&random, 1, PPM_WHOLE);
		bucket_init(&bucket, share_ppm, BURST_NS, 0);
		bucket_bill(&bucket, (int64_t)random_between(&random, 0, 3 * BURST_NS));
		bucket_fill(&bucket, random_between(&random, 0, NS_PER_MS), 0);
		uint64_t promised_ns = random_between(&random, 0, 2 * BURST_NS);
		uint64_t wait_ns = bucket_wait_ns(&bucket, promised_ns);
		bucket_fill(&bucket, bucket.filled_at_ns + wait_ns, 0);
		assert_int_equal(bucket_wait_ns(&bucket, promised_ns), 0);
	}
}

static void wait_for_more_than_it_holds_ends_when_it_is_full(void **state)
{
	struct bucket bucket;

	(void)state;
	bucket_init(&bucket, 500000, BURST_NS, 0);
	assert_int_equal(bucket_wait_ns(&bucket, 10 * BURST_NS), 0);
	bucket_bill(&bucket, 1000);
	assert_int_equal(bucket_wait_ns(&bucket, 10 * BURST_NS), 2000);
}

static void set_share_counts_the_past_at_the_old_rate(void **state)
{
	struct bucket bucket;

	(void)state;
	bucket_init(&bucket, 100000, BURST_NS, 0);
	bucket_bill(&bucket, BURST_NS + NS_PER_S);
	bucket_fill(&bucket, NS_PER_S, 0);
	bucket_set_share(&bucket, 500000);
	bucket_fill(&bucket, 2 * NS_PER_S, 0);

	assert_int_equal(bucket.level_ns,
		-(int64_t)NS_PER_S + (int64_t)(NS_PER_S / 10) + (int64_t)(NS_PER_S / 2));
}

#define ADMISSIONS 600

struct admission {
	uint64_t at_ns, length_ns;
};

/* Greedy, idle and everything between, with commands of any length. */
static uint64_t admit_at_random(
	uint32_t share_ppm, uint64_t seed, struct admission admissions[ADMISSIONS])
{
	struct bucket bucket;
	uint64_t now_ns = 0, longest_ns = 0;

	bucket_init(&bucket, share_ppm, BURST_NS, 0);
	for (unsigned i = 0; i < ADMISSIONS; i++) {
		if (random_next(&seed) % 4 == 0)
			now_ns += random_between(&seed, 0, 100 * NS_PER_MS);
		bucket_fill(&bucket, now_ns, 0);
		now_ns += bucket_wait_ns(&bucket, 0);
		bucket_fill(&bucket, now_ns, 0);
		uint64_t length_ns = random_between(&seed, 1, NS_PER_MS)
				     << random_between(&seed, 0, 6);
		bucket_bill(&bucket, (int64_t)length_ns);
		admissions[i] = (struct admission){now_ns, length_ns};
		if (length_ns > longest_ns)
			longest_ns = length_ns;
	}
	return longest_ns;
}

static void any_window_gets_at_most_share_and_burst_and_longest(void **state)
{
	static struct admission admissions[ADMISSIONS];
	static const uint32_t shares[] = {1000, 50000, 250000, 333333, 900000};

	(void)state;
	for (unsigned round = 0; round < 20; round++) {
		uint32_t share_ppm = shares[round % 5];
		uint64_t longest_ns = admit_at_random(share_ppm, round, admissions);
		for (unsigned first = 0; first < ADMISSIONS; first++) {
			uint64_t used_ns = 0;
			for (unsigned last = first; last < ADMISSIONS; last++) {
				used_ns += admissions[last].length_ns;
				uint64_t window_ns =
					admissions[last].at_ns - admissions[first].at_ns;
				uint64_t bound_ns = (uint64_t)((unsigned __int128)window_ns *
							       share_ppm / PPM_WHOLE) +
						    1 + BURST_NS + longest_ns;
				assert_true(used_ns <= bound_ns);
			}
		}
	}
}

static void greedy_user_gets_the_whole_share(void **state)
{
	struct bucket bucket;
	uint64_t now_ns = 0, used_ns = 0;

	(void)state;
	bucket_init(&bucket, 250000, BURST_NS, 0);
	while (now_ns < 100 * NS_PER_S) {
		bucket_fill(&bucket, now_ns, 0);
		uint64_t wait_ns = bucket_wait_ns(&bucket, 0);
		if (wait_ns == 0) {
			bucket_bill(&bucket, NS_PER_MS);
			used_ns += NS_PER_MS;
			wait_ns = NS_PER_MS; /* runs */
		}
		now_ns += wait_ns;
	}

	assert_in_range(used_ns, 25 * NS_PER_S, 25 * NS_PER_S + BURST_NS + 2 * NS_PER_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(init_is_full),
		cmocka_unit_test(fill_gives_exactly_the_share),
		cmocka_unit_test(fill_in_small_steps_loses_nothing_in_an_hour),
		cmocka_unit_test(fill_stops_at_the_burst),
		cmocka_unit_test(fill_by_a_clock_that_runs_back_adds_nothing),
		cmocka_unit_test(debt_is_paid_back_before_anything_goes),
		cmocka_unit_test(wait_is_never_too_short),
		cmocka_unit_test(wait_for_more_than_it_holds_ends_when_it_is_full),
		cmocka_unit_test(set_share_counts_the_past_at_the_old_rate),
		cmocka_unit_test(any_window_gets_at_most_share_and_burst_and_longest),
		cmocka_unit_test(greedy_user_gets_the_whole_share),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
