/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The share of a group, and what becomes of the GPU time of members that die: real processes, on a
 * segment in a directory of the test's own.
 */
#include "unit.h"
#include "base/clock.h"
#include "base/units.h"
#include "group/segment.h"
#include "group/segment_share.h"
#include "puppet.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PATIENCE_NS (20 * NS_PER_S)
#define HALF        (PPM_WHOLE / 2)

static char folder[64], path[96];

static int setup(void **state)
{
	(void)state;
	puppet_set_stage();
	snprintf(folder, sizeof(folder), "/dev/shm/cuslice-test-XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/a.group", folder);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

static uint64_t tell(const struct puppet *puppet, enum puppet_order order, uint64_t value)
{
	return puppet_do(puppet, order, 0, value);
}

static void wait_for(const struct puppet *puppet, enum puppet_order order, uint64_t wanted)
{
	uint64_t start_ns = clock_now_ns();

	while (tell(puppet, order, 0) != wanted) {
		if (clock_now_ns() - start_ns > PATIENCE_NS)
			fail_msg("still %llu", (unsigned long long)tell(puppet, order, 0));
		clock_sleep_ns(NS_PER_MS);
	}
}

static void smallest_share_of_the_living_holds(void **state)
{
	(void)state;
	struct puppet a = puppet_member(path), b = puppet_member(path), c = puppet_member(path);

	assert_int_equal(tell(&c, PUPPET_SHARE, 0), PPM_WHOLE);
	tell(&a, PUPPET_ALLOW_SHARE, 300000);
	tell(&b, PUPPET_ALLOW_SHARE, 500000);
	assert_int_equal(tell(&c, PUPPET_SHARE, 0), 300000);
	puppet_kill(&a);
	wait_for(&c, PUPPET_SHARE, 500000);
	tell(&b, PUPPET_ALLOW_SHARE, PPM_WHOLE);
	assert_int_equal(tell(&c, PUPPET_SHARE, 0), PPM_WHOLE);
	puppet_kill(&b);
	puppet_kill(&c);
}

static void member_may_loosen_what_it_has_brought_itself(void **state)
{
	(void)state;
	struct puppet a = puppet_member(path), b = puppet_member(path);

	tell(&a, PUPPET_ALLOW_SHARE, 100000);
	tell(&b, PUPPET_ALLOW_SHARE, 200000);
	tell(&a, PUPPET_ALLOW_SHARE, 900000);
	assert_int_equal(tell(&b, PUPPET_SHARE, 0), 200000);
	tell(&b, PUPPET_ALLOW_SHARE, 1);
	assert_int_equal(tell(&a, PUPPET_SHARE, 0), 1);
	tell(&a, PUPPET_ALLOW, 50);
	tell(&b, PUPPET_ALLOW, 80);
	tell(&a, PUPPET_ALLOW, 90);
	assert_int_equal(tell(&a, PUPPET_LIMIT, 0), 80);
	tell(&b, PUPPET_ALLOW, SEGMENT_NO_LIMIT);
	assert_int_equal(tell(&a, PUPPET_LIMIT, 0), 90);
	puppet_kill(&a);
	puppet_kill(&b);
}

static void bucket_is_one_for_all_and_stays(void **state)
{
	(void)state;
	struct puppet a = puppet_member(path), b = puppet_member(path);

	assert_int_equal(tell(&b, PUPPET_BUCKET, 0), 0);
	tell(&a, PUPPET_SET_BUCKET, 12345);
	assert_int_equal(tell(&b, PUPPET_BUCKET, 0), 12345);
	puppet_kill(&a);
	assert_int_equal(tell(&b, PUPPET_BUCKET, 0), 12345);
	puppet_kill(&b);
}

static void unbilled_time_of_others_is_told_and_is_billed_when_they_die(void **state)
{
	const uint64_t zero_ns = clock_now_ns();

	(void)state;
	struct puppet a = puppet_member(path), b = puppet_member(path), c = puppet_member(path);
	tell(&a, PUPPET_SET_BUCKET, zero_ns);
	puppet_do(&a, PUPPET_SET_BUCKET, 1, HALF);
	tell(&a, PUPPET_UNBILLED, 300 * NS_PER_MS);
	tell(&b, PUPPET_UNBILLED, 20 * NS_PER_MS);
	assert_int_equal(tell(&a, PUPPET_SUM_UNBILLED, 0), 20 * NS_PER_MS);
	assert_int_equal(tell(&c, PUPPET_SUM_UNBILLED, 0), 320 * NS_PER_MS);

	/* 300 ms of GPU time at a half are 600 ms of time */
	puppet_kill(&a);
	wait_for(&c, PUPPET_BUCKET, zero_ns + 600 * NS_PER_MS);
	assert_int_equal(tell(&c, PUPPET_SUM_UNBILLED, 0), 20 * NS_PER_MS);
	puppet_kill(&b);
	puppet_kill(&c);
}

/* It was billed 10 s, and had them when it died, but for some that pass until it is reaped. */
static void billed_time_that_cannot_have_run_comes_back(void **state)
{
	const uint64_t zero_ns = clock_now_ns(), length_ns = 10 * NS_PER_S;

	(void)state;
	struct puppet a = puppet_member(path), b = puppet_member(path);
	tell(&a, PUPPET_SET_BUCKET, zero_ns + 2 * length_ns);
	puppet_do(&a, PUPPET_SET_BUCKET, 1, HALF);
	tell(&a, PUPPET_DRAINED_AT, zero_ns + length_ns);
	puppet_kill(&a);
	for (uint64_t start_ns = clock_now_ns();
		tell(&b, PUPPET_BUCKET, 0) > zero_ns + length_ns;) {
		if (clock_now_ns() - start_ns > PATIENCE_NS)
			fail_msg("nothing came back");
		clock_sleep_ns(NS_PER_MS);
	}
	uint64_t kept_ns = (tell(&b, PUPPET_BUCKET, 0) - zero_ns) / 2;
	assert_true(kept_ns <= clock_now_ns() - zero_ns);
	puppet_kill(&b);
}

static void settle_of_any_contents_does_no_harm(void **state)
{
	static const uint64_t values[] = {0, 1, UINT64_MAX, UINT64_MAX / 2, 1000000};
	struct segment_device *device = calloc(1, sizeof(*device));

	(void)state;
	assert_non_null(device);
	for (unsigned i = 0; i < 125; i++) {
		uint64_t share = values[i / 25];
		atomic_store(&device->bucket[0], 1000);
		atomic_store(&device->bucket[1], share);
		segment_note_flights(device, 3, values[i % 5], values[i / 5 % 5]);
		(void)segment_sum_unbilled(device, 0, UINT64_MAX);
		segment_settle_flights(device, 3, 500);
		if (share == 0 || share > PPM_WHOLE)
			assert_int_equal(atomic_load(&device->bucket[0]), 1000);
		assert_int_equal(segment_sum_unbilled(device, 0, SEGMENT_SLOTS), 0);
		/* again: nothing is left to settle */
		uint64_t settled = atomic_load(&device->bucket[0]);
		segment_settle_flights(device, 3, 500);
		assert_int_equal(atomic_load(&device->bucket[0]), settled);
	}
	free(device);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(smallest_share_of_the_living_holds),
		TEST(member_may_loosen_what_it_has_brought_itself),
		TEST(bucket_is_one_for_all_and_stays),
		TEST(unbilled_time_of_others_is_told_and_is_billed_when_they_die),
		TEST(billed_time_that_cannot_have_run_comes_back),
		TEST(settle_of_any_contents_does_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
