/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The burst of a device, over a driver in virtual time: what a program that has paused for long
 * may use at once.
 */
#include "unit.h"
#include "base/clock.h"
#include "base/units.h"
#include "fake_driver.h"
#include "governor/governor.h"

#define ONE_PERCENT (PPM_WHOLE / 100)

static int setup(void **state)
{
	(void)state;
	fake_reset();
	return governor_init() ? 0 : -1;
}

static void launch(uint64_t length_ns)
{
	struct ticket ticket;

	governor_admit(0x100, NULL, NULL, &ticket);
	fake_launch(NULL, length_ns);
	governor_submitted(&ticket, CUDA_SUCCESS);
	fake_synchronize(NULL);
}

/* GPU time used without being made to sleep by the governor, after an hour's pause. */
static uint64_t used_at_once_ns(void)
{
	governor_tighten_share(0, ONE_PERCENT);
	launch(NS_PER_MS);
	fake_pass(3600 * NS_PER_S);
	uint64_t begin_ns = fake.now_ns, run_ns = fake.run_ns;
	/* Ten milliseconds of sleep at one percent are a tenth of a millisecond: nothing. */
	while (fake.now_ns - begin_ns < (fake.run_ns - run_ns) + 10 * NS_PER_MS)
		launch(NS_PER_MS);
	return fake.run_ns - run_ns;
}

static void burst_never_set_is_20_ms(void **state)
{
	(void)state;
	assert_in_range(used_at_once_ns(), 20 * NS_PER_MS, 23 * NS_PER_MS);
}

static void burst_that_was_set_is_what_may_be_used_at_once(void **state)
{
	static const uint64_t bursts_ms[] = {1, 5, 100, 2000};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(bursts_ms); i++) {
		setup(NULL);
		governor_set_burst(0, bursts_ms[i] * NS_PER_MS);
		uint64_t least_ns = bursts_ms[i] * NS_PER_MS;
		/* It fills at one percent meanwhile, and the last kernel may go beyond. */
		assert_in_range(
			used_at_once_ns(), least_ns, least_ns + least_ns / 50 + 3 * NS_PER_MS);
	}
}

static void burst_of_another_device_changes_nothing(void **state)
{
	(void)state;
	governor_set_burst(1, 500 * NS_PER_MS);
	assert_in_range(used_at_once_ns(), 20 * NS_PER_MS, 23 * NS_PER_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(burst_never_set_is_20_ms, setup),
		cmocka_unit_test_setup(burst_that_was_set_is_what_may_be_used_at_once, setup),
		cmocka_unit_test_setup(burst_of_another_device_changes_nothing, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
