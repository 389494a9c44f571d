/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Memory in common in every order that a few processes can bring about (exports_model.h), and
 * faults in it, which have to be found. TESTS_FULL=1 asks for larger plays.
 */
#include "unit.h"
#include "exports_model.h"

#include <stdio.h>
#include <stdlib.h>

static const char *explore(const char *name, const struct play *play)
{
	unsigned count;
	const char *offence = play_explore(play, &count);

	printf("%s: %u moments%s%s\n", name, count, offence != NULL ? ": " : "",
		offence != NULL ? offence : "");
	assert_true(count > 100);
	return offence;
}

static int allocate(void **state)
{
	(void)state;
	return plays_init(getenv("TESTS_FULL") != NULL ? 1u << 25 : 1u << 21) ? 0 : -1;
}

static int release(void **state)
{
	(void)state;
	plays_finish();
	return 0;
}

/* The guest may come before the export, and be left behind by it in any way. */
static const struct play two = {
	.scripts = {{EXPORT_1, CLOSE, TEND}, {OPEN_1, TEND, CLOSE, TEND}},
	.slot_count = 2,
	.deaths = 2,
	.reaper_deaths = 1,
	.rebirths = 1,
};

static const struct play three = {
	.scripts = {{EXPORT_1, CLOSE}, {OPEN_1, TEND, CLOSE}, {OPEN_1, CLOSE}},
	.slot_count = 3,
	.deaths = 1,
};

static void payer_and_guest_lose_nothing(void **state)
{
	(void)state;
	assert_null(explore("two", &two));
}

static void two_guests_and_a_payer_lose_nothing(void **state)
{
	(void)state;
	assert_null(explore("three", &three));
}

static void larger_plays_hold_too(void **state)
{
	struct play larger = three;

	(void)state;
	if (getenv("TESTS_FULL") == NULL)
		skip();
	larger.scripts[2][1] = TEND;
	larger.scripts[2][2] = CLOSE;
	assert_null(explore("three, both look", &larger));
	larger = two;
	larger.deaths = 3;
	larger.reaper_deaths = 2;
	larger.rebirths = 2;
	assert_null(explore("two, three deaths", &larger));
}

static void every_fault_is_found(void **state)
{
	static const enum fault faults[] = {NO_ENDING, NO_SECOND_LOOK, ADOPTS_FIRST, KEEPS_NOTHING};

	(void)state;
	for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		struct play faulty = two;
		faulty.fault = faults[i];
		assert_non_null(explore("with a fault", &faulty));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(payer_and_guest_lose_nothing),
		cmocka_unit_test(two_guests_and_a_payer_lose_nothing),
		cmocka_unit_test(larger_plays_hold_too),
		cmocka_unit_test(every_fault_is_found),
	};

	return cmocka_run_group_tests(tests, allocate, release);
}
