/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * How many SMs a share becomes, on the devices that docs/partition.md has a table of.
 */
#include "unit.h"
#include "base/units.h"
#include "partition/choose.h"

static const struct partition_rules h200 = {132, 8, 8};
static const struct partition_rules a100 = {108, 4, 2};

static uint32_t percent(unsigned n)
{
	return n * (PPM_WHOLE / 100);
}

static void rules_are_those_of_the_architecture(void **state)
{
	struct partition_rules rules;

	(void)state;
	rules = partition_rules_of(7, 80);
	assert_int_equal(rules.least, 2);
	assert_int_equal(rules.step, 2);
	rules = partition_rules_of(8, 108);
	assert_int_equal(rules.least, 4);
	assert_int_equal(rules.step, 2);
	rules = partition_rules_of(9, 132);
	assert_int_equal(rules.least, 8);
	assert_int_equal(rules.step, 8);
	rules = partition_rules_of(10, 148);
	assert_int_equal(rules.least, 8);
	assert_int_equal(rules.sm_count, 148);
}

static void what_the_driver_tells_wins(void **state)
{
	struct partition_rules rules = partition_rules_told(h200, 2, 2);

	(void)state;
	assert_int_equal(rules.least, 2);
	assert_int_equal(rules.step, 2);
	assert_int_equal(rules.sm_count, 132);
	rules = partition_rules_told(h200, 0, 0);
	assert_int_equal(rules.least, 8);
	rules = partition_rules_told(h200, 133, 1);
	assert_int_equal(rules.least, 8);
}

/* The size next to the share, and never more work than the share. */
static void nearest_size(void **state)
{
	static const struct {
		unsigned percent, sms;
		uint32_t duty_ppm;
	} rows[] = {
		{1, 8, 165000}, /* 1.32 SMs: the least, for a part of the time */
		{5, 8, 825000},
		{6, 8, 990000},
		{10, 16, 825000},
		{12, 16, 990000},
		{25, 32, PPM_WHOLE},
		{50, 64, PPM_WHOLE},
		{54, 72, 990000},
		{75, 96, PPM_WHOLE}, /* 99 SMs: 96 are nearer than 104 */
		{97, 128, PPM_WHOLE},
		{100, 132, PPM_WHOLE},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct partition_choice choice =
			partition_choose(&h200, percent(rows[i].percent), false);
		assert_int_equal(choice.sm_count, rows[i].sms);
		assert_int_equal(choice.duty_ppm, rows[i].duty_ppm);
	}
}

static void exact_has_enough_sms_and_a_duty(void **state)
{
	struct partition_choice choice = partition_choose(&h200, percent(50), true);

	(void)state;
	assert_int_equal(choice.sm_count, 72);
	assert_int_equal(choice.duty_ppm, 916666);
	choice = partition_choose(&h200, percent(99), true);
	assert_int_equal(choice.sm_count, 132);
	assert_int_equal(choice.duty_ppm, 990000);
	choice = partition_choose(&a100, percent(50), true);
	assert_int_equal(choice.sm_count, 54);
	assert_int_equal(choice.duty_ppm, PPM_WHOLE);
}

/* A share that was written as a number of SMs comes here in millionths. */
static void sms_that_were_asked_for_are_given(void **state)
{
	(void)state;
	for (unsigned sms = 8; sms <= 128; sms += 8) {
		for (int off = -1; off <= 1; off++) {
			uint32_t share = (uint32_t)((int)(sms * (uint64_t)PPM_WHOLE / 132) + off);
			for (unsigned is_exact = 0; is_exact < 2; is_exact++) {
				struct partition_choice choice =
					partition_choose(&h200, share, is_exact);
				assert_int_equal(choice.sm_count, sms);
				assert_int_equal(choice.duty_ppm, PPM_WHOLE);
			}
		}
	}
}

/* Whatever the share: a size that exists, never more work than the share, and in the exact way not
 * less. */
static void work_is_never_more_than_the_share(void **state)
{
	const struct partition_rules devices[] = {
		h200, a100, {142, 4, 2}, {148, 8, 8}, {30, 8, 8}, {7, 2, 2}, {4, 8, 8}};

	(void)state;
	for (unsigned i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
		for (uint32_t share = 1; share <= PPM_WHOLE; share += 997) {
			struct partition_choice choice = partition_choose(&devices[i], share, true);
			double work =
				(double)choice.sm_count * choice.duty_ppm / devices[i].sm_count;
			assert_true(choice.sm_count == devices[i].sm_count ||
				    (choice.sm_count >= devices[i].least &&
					    choice.sm_count % devices[i].step == 0));
			assert_in_range(choice.duty_ppm, 1, PPM_WHOLE);
			assert_true(work > share - 300.0 && work < share + 300.0);
			choice = partition_choose(&devices[i], share, false);
			work = (double)choice.sm_count * choice.duty_ppm / devices[i].sm_count;
			assert_true(work < share + 300.0);
		}
	}
}

static void waves_are_those_of_a_kernel_that_fills_the_device(void **state)
{
	(void)state;
	assert_int_equal(partition_choose(&h200, PPM_WHOLE, false).waves, 1);
	assert_int_equal(partition_choose(&h200, percent(50), false).waves, 3); /* 64 of 132 */
	assert_int_equal(partition_choose(&h200, percent(50), true).waves, 2);  /* 72 of 132 */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules_are_those_of_the_architecture),
		cmocka_unit_test(what_the_driver_tells_wins),
		cmocka_unit_test(nearest_size),
		cmocka_unit_test(exact_has_enough_sms_and_a_duty),
		cmocka_unit_test(sms_that_were_asked_for_are_given),
		cmocka_unit_test(work_is_never_more_than_the_share),
		cmocka_unit_test(waves_are_those_of_a_kernel_that_fills_the_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
