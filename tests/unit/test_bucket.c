/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The bucket in virtual time: exact rates, debt, and the bound that the share stands on.
 */
#include "unit.h"
#include "base/clock.h"
#include "base/units.h"
#include "governor/bucket.h"

#include <pthread.h>

#define BURST_NS (20 * NS_PER_MS)

/* One that nobody else uses. */
static void init(struct bucket *bucket, uint32_t share_ppm, uint64_t burst_ns, uint64_t now_ns)
{
	static bucket_word words[BUCKET_WORDS];

	words[BUCKET_ZERO_AT] = words[BUCKET_SHARE] = 0;
	bucket_init(bucket, words, share_ppm, burst_ns, now_ns);
}

static void init_is_full(void **state)
{
	struct bucket bucket;

	(void)state;
	init(&bucket, 250000, BURST_NS, 5 * NS_PER_S);

	assert_int_equal(bucket.level_ns, BURST_NS);
	assert_int_equal(bucket_wait_ns(&bucket, 0), 0);
}

static void fill_gives_exactly_the_share(void **state)
{
	static const uint32_t shares[] = {1, 10, 333333, 250000, 900000, 999999, PPM_WHOLE};

	(void)state;
	for (unsigned i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
		struct bucket bucket;
		init(&bucket, shares[i], BURST_NS, 0);
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
	init(&bucket, share_ppm, BURST_NS, 0);
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
	init(&bucket, 500000, BURST_NS, 0);
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
	init(&bucket, 500000, BURST_NS, NS_PER_S);
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
	init(&bucket, 250000, BURST_NS, 0);
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
		init(&bucket, share_ppm, BURST_NS, 0);
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
	init(&bucket, 500000, BURST_NS, 0);
	assert_int_equal(bucket_wait_ns(&bucket, 10 * BURST_NS), 0);
	bucket_bill(&bucket, 1000);
	assert_int_equal(bucket_wait_ns(&bucket, 10 * BURST_NS), 2000);
}

static void set_share_counts_the_past_at_the_old_rate(void **state)
{
	struct bucket bucket;

	(void)state;
	init(&bucket, 100000, BURST_NS, 0);
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

	init(&bucket, share_ppm, BURST_NS, 0);
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
	init(&bucket, 250000, BURST_NS, 0);
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

/* Users that come at random moments, each with a bucket of its own on the same words, and each with
 * bills of its own. Returns what they used together until `until_ns`. */
static uint64_t use_together(unsigned count, uint32_t share_ppm, uint64_t until_ns, uint64_t seed)
{
	bucket_word words[BUCKET_WORDS] = {0};
	struct bucket buckets[8];
	uint64_t now_ns = 0, used_ns = 0;

	for (unsigned i = 0; i < count; i++)
		bucket_init(&buckets[i], words, share_ppm, BURST_NS, 0);
	while (now_ns < until_ns) {
		struct bucket *bucket = &buckets[random_next(&seed) % count];
		bucket_fill(bucket, now_ns, 0);
		uint64_t wait_ns = bucket_wait_ns(bucket, 0);
		if (wait_ns > 0) {
			now_ns += wait_ns / 2 + 1;
			continue;
		}
		uint64_t length_ns = random_between(&seed, 1, 200 * NS_PER_US);
		bucket_bill(bucket, (int64_t)length_ns);
		used_ns += length_ns;
		/* One that is billed too much gets it back. */
		if (random_next(&seed) % 4 == 0) {
			bucket_bill(bucket, -(int64_t)(length_ns / 2));
			used_ns -= length_ns / 2;
		}
	}
	return used_ns;
}

/* To the longest command, and less than a ns of GPU time a user. */
static void users_of_one_bucket_get_exactly_the_share_together(void **state)
{
	static const unsigned counts[] = {1, 2, 8};
	static const uint32_t shares[] = {10000, 250000, 333333, 900000};

	(void)state;
	for (unsigned c = 0; c < ARRAY_LEN(counts); c++) {
		for (unsigned s = 0; s < ARRAY_LEN(shares); s++) {
			uint64_t used_ns =
				use_together(counts[c], shares[s], 5 * NS_PER_S, 7 * c + s);
			uint64_t earned_ns = 5 * NS_PER_S / PPM_WHOLE * shares[s] + BURST_NS;
			assert_in_range(used_ns, earned_ns - 8, earned_ns + 200 * NS_PER_US);
		}
	}
}

/* A thousand bills of 1 ns, each less than the word's own step. */
static void smallest_bills_are_not_lost(void **state)
{
	bucket_word words[BUCKET_WORDS] = {0};
	struct bucket one, other;

	(void)state;
	bucket_init(&one, words, 900000, BURST_NS, NS_PER_S);
	bucket_init(&other, words, 900000, BURST_NS, NS_PER_S);
	for (unsigned i = 0; i < 1000; i++) {
		bucket_bill(&one, 1);
		bucket_bill(&other, 1);
	}
	bucket_fill(&one, NS_PER_S, 0);
	assert_in_range(one.level_ns, BURST_NS - 2000, BURST_NS - 2000 + 2);
}

static void users_see_what_others_were_billed(void **state)
{
	bucket_word words[BUCKET_WORDS] = {0};
	struct bucket one, other;

	(void)state;
	bucket_init(&one, words, 250000, BURST_NS, NS_PER_S);
	bucket_bill(&one, BURST_NS + 5 * NS_PER_MS);
	bucket_init(&other, words, 250000, BURST_NS, NS_PER_S);

	assert_int_equal(other.level_ns, -5 * (int64_t)NS_PER_MS);
	bucket_bill(&other, -6 * (int64_t)NS_PER_MS);
	bucket_fill(&one, NS_PER_S, 0);
	assert_int_equal(one.level_ns, NS_PER_MS);
}

/* Whoever comes first, in whatever order. */
static void set_share_by_several_users_keeps_the_level_once(void **state)
{
	static const uint32_t shares[] = {500000, 100000, 900000, 1000, 333333};
	bucket_word words[BUCKET_WORDS] = {0};
	struct bucket buckets[3];

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		bucket_init(&buckets[i], words, 100000, BURST_NS, NS_PER_S);
	bucket_bill(&buckets[0], BURST_NS + NS_PER_S);
	for (unsigned s = 0; s < ARRAY_LEN(shares); s++) {
		for (unsigned i = 0; i < 3; i++)
			bucket_set_share(&buckets[(s + i) % 3], shares[s]);
		for (unsigned i = 0; i < 3; i++) {
			bucket_fill(&buckets[i], NS_PER_S, 0);
			assert_in_range(buckets[i].level_ns + (int64_t)(2 * NS_PER_S), NS_PER_S - 5,
				NS_PER_S + 5);
		}
	}
	assert_int_equal(words[BUCKET_SHARE], 333333);
}

/* One of the users knows nothing of the new share yet: bills of both count by what they know. */
static void bills_beside_a_change_are_kept(void **state)
{
	bucket_word words[BUCKET_WORDS] = {0};
	struct bucket one, other;

	(void)state;
	bucket_init(&one, words, 100000, BURST_NS, NS_PER_S);
	bucket_init(&other, words, 100000, BURST_NS, NS_PER_S);
	bucket_bill(&one, BURST_NS + 10 * NS_PER_MS);
	bucket_set_share(&one, 200000);
	bucket_bill(&other, 10 * NS_PER_MS);
	bucket_set_share(&other, 200000);

	/* the bill by the old share moved the word by 100 ms, which are 20 ms now */
	assert_int_equal(other.level_ns, -30 * (int64_t)NS_PER_MS);
}

/* What stands there need not be ours. */
static void words_of_any_contents_do_no_harm(void **state)
{
	static const int64_t zeroes[] = {INT64_MIN, INT64_MAX, 0, -1};
	static const uint64_t shares[] = {0, 1, PPM_WHOLE + 1, UINT64_MAX};

	(void)state;
	for (unsigned z = 0; z < ARRAY_LEN(zeroes); z++) {
		for (unsigned s = 0; s < ARRAY_LEN(shares); s++) {
			bucket_word words[BUCKET_WORDS] = {(uint64_t)zeroes[z], shares[s]};
			struct bucket bucket;
			bucket_init(&bucket, words, 250000, BURST_NS, NS_PER_S);
			bucket_bill(&bucket, INT64_MAX);
			bucket_bill(&bucket, INT64_MIN);
			bucket_set_share(&bucket, 1);
			bucket_fill(&bucket, UINT64_MAX / 4, 0);
			assert_true(bucket.level_ns <= (int64_t)BURST_NS);
		}
	}
}

#define THREADS 4
#define BILLS   200000u

static void *bill_often(void *data)
{
	struct bucket bucket;

	bucket_init(&bucket, data, 300000, BURST_NS, NS_PER_S);
	for (unsigned i = 0; i < BILLS; i++)
		bucket_bill(&bucket, 1001);
	return NULL;
}

static void bills_of_threads_all_count(void **state)
{
	bucket_word words[BUCKET_WORDS] = {0};
	pthread_t threads[THREADS];
	struct bucket bucket;

	(void)state;
	bucket_init(&bucket, words, 300000, BURST_NS, NS_PER_S);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, bill_often, words), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);

	bucket_fill(&bucket, NS_PER_S, 0);
	int64_t wanted_ns = (int64_t)BURST_NS - (int64_t)THREADS * BILLS * 1001;
	assert_true(bucket.level_ns >= wanted_ns && bucket.level_ns <= wanted_ns + THREADS);
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
		cmocka_unit_test(users_of_one_bucket_get_exactly_the_share_together),
		cmocka_unit_test(smallest_bills_are_not_lost),
		cmocka_unit_test(users_see_what_others_were_billed),
		cmocka_unit_test(set_share_by_several_users_keeps_the_level_once),
		cmocka_unit_test(bills_beside_a_change_are_kept),
		cmocka_unit_test(words_of_any_contents_do_no_harm),
		cmocka_unit_test(bills_of_threads_all_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
