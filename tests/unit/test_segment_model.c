/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The protocol of the segment in every order that a few processes can bring about (model.h), and
 * faults in it, which have to be found. TESTS_FULL=1 asks for larger models.
 */
#include "unit.h"
#include "model.h"

#include <stdio.h>
#include <stdlib.h>

#define GROW(n)               \
	{                     \
		MODEL_GROW, n \
	}
#define LESSEN(n)               \
	{                       \
		MODEL_LESSEN, n \
	}
#define LIMIT(n)               \
	{                      \
		MODEL_LIMIT, n \
	}

static struct model_result explore(const char *name, const struct model *model, bool is_told)
{
	struct model_result result = model_explore(model, is_told);

	printf("%s: %lu moments, %lu of them at rest%s%s\n", name, result.moments, result.rests,
		result.offence != NULL ? ": " : "", result.offence != NULL ? result.offence : "");
	return result;
}

static void must_hold(const char *name, const struct model *model)
{
	struct model_result result = explore(name, model, true);

	assert_null(result.offence);
	assert_true(result.rests > 1);
}

/* Both want all of it; one may die at any access, and so may its reaper. */
static const struct model two = {
	.slot_count = 2,
	.scripts = {{{GROW(2), LESSEN(2), GROW(1)}}, {{GROW(1), LESSEN(1), GROW(2)}}},
	.later = {{GROW(1), LESSEN(1)}},
	.quota = 2,
	.deaths = 1,
	.reaper_deaths = 1,
	.rebirths = 1,
};

static const struct model three = {
	.slot_count = 3,
	.scripts = {{{GROW(2)}}, {{GROW(2), LESSEN(2)}}, {{GROW(1)}}},
	.quota = 3,
	.deaths = 1,
};

static const struct model limits = {
	.slot_count = 3,
	.scripts = {{{LIMIT(3), LIMIT(2)}}, {{LIMIT(4), LIMIT(3)}}, {{LIMIT(2)}}},
	.deaths = 1,
	.reaper_deaths = 1,
	.is_of_limits = true,
};

static void two_processes_and_their_reapers_lose_nothing(void **state)
{
	(void)state;
	must_hold("two", &two);
}

static void operation_numbers_wrap_without_harm(void **state)
{
	struct model wrapping = two;

	(void)state;
	wrapping.done = (UINT64_C(1) << 20) - 2;
	must_hold("wrapping", &wrapping);
}

static void three_processes_lose_nothing(void **state)
{
	(void)state;
	must_hold("three", &three);
}

static void quota_is_the_smallest_limit_of_those_that_live(void **state)
{
	(void)state;
	must_hold("limits", &limits);
}

static void larger_models_hold_too(void **state)
{
	struct model larger = three;

	(void)state;
	if (getenv("TESTS_FULL") == NULL)
		skip();
	larger.deaths = 2;
	larger.reaper_deaths = 1;
	must_hold("three, two deaths", &larger);
	larger = two;
	larger.deaths = 3;
	larger.reaper_deaths = 2;
	larger.rebirths = 2;
	must_hold("two, three deaths", &larger);
	larger = limits;
	larger.deaths = 2;
	larger.later = (struct model_script){{LIMIT(3)}};
	larger.rebirths = 1;
	must_hold("limits, a rebirth", &larger);
}

static void every_fault_is_found(void **state)
{
	static const enum model_fault faults[] = {
		MODEL_NO_ACKNOWLEDGEMENT, MODEL_BLIND_SWAP, MODEL_NO_INTENT};

	(void)state;
	for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		struct model faulty = two;
		faulty.fault = faults[i];
		assert_non_null(explore("with a fault", &faulty, false).offence);
	}
	struct model faulty = limits;
	faulty.fault = MODEL_NO_VERSION;
	assert_non_null(explore("with a fault", &faulty, false).offence);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_processes_and_their_reapers_lose_nothing),
		cmocka_unit_test(operation_numbers_wrap_without_harm),
		cmocka_unit_test(three_processes_lose_nothing),
		cmocka_unit_test(quota_is_the_smallest_limit_of_those_that_live),
		cmocka_unit_test(larger_models_hold_too),
		cmocka_unit_test(every_fault_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
