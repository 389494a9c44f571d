/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Threads spend credit while it is given and taken back: what was taken back is what is billed, so
 * not a nanosecond may be missing or too much, not even for a moment.
 */
#include "unit.h"
#include "base/clock.h"
#include "governor/governor.h"

#include <pthread.h>
#include <stdlib.h>

#define SPENDERS   3
#define GRANTED_NS 1000
#define ROUNDS     100000

#define CHEAP   0x100ull
#define UNKNOWN 0x200ull
#define LANE    ((const void *)0x10)

static struct governor_front *front;
static _Atomic bool is_over;

static void setup_front(void)
{
	front = calloc(1, sizeof(*front));
	assert_non_null(front);
	for (unsigned i = 0; i < COSTS_KNOWN_AFTER; i++)
		costs_learn(&front->costs, CHEAP, 300);
	costs_learn(&front->costs, UNKNOWN, 300); /* seen, and not often enough */
	atomic_store(&front->lane, LANE);
	governor_sole_front = front;
}

/* Returns what it has spent. Each third command is not known, and never goes by credit. */
static void *spend(void *argument)
{
	struct ticket ticket = {0};
	uint64_t spent_ns = 0;

	(void)argument;
	for (unsigned i = 0; !atomic_load(&is_over); i++) {
		uint64_t key = i % 3 == 0 ? UNKNOWN : CHEAP;
		if (!governor_spend(key, LANE, &ticket))
			continue;
		if (key == UNKNOWN)
			return (void *)UINTPTR_MAX;
		spent_ns += ticket.cost_ns;
	}
	return (void *)(uintptr_t)spent_ns;
}

static void what_is_taken_back_is_what_was_not_spent(void **state)
{
	pthread_t threads[SPENDERS];
	uint64_t billed_ns = 0, spent_ns = 0;
	unsigned wrong = 0;

	(void)state;
	setup_front();
	for (unsigned i = 0; i < SPENDERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, spend, NULL), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		atomic_store(governor_credit(front), GRANTED_NS);
		for (unsigned k = 0; k < 100 && atomic_load(governor_credit(front)) > 0; k++)
			;
		int64_t left_ns = atomic_exchange(governor_credit(front), 0);
		wrong += left_ns < 0 || left_ns > GRANTED_NS;
		billed_ns += (uint64_t)(GRANTED_NS - left_ns);
	}
	atomic_store(&is_over, true);
	for (unsigned i = 0; i < SPENDERS; i++) {
		void *result;
		assert_int_equal(pthread_join(threads[i], &result), 0);
		assert_ptr_not_equal(result, (void *)UINTPTR_MAX);
		spent_ns += (uintptr_t)result;
	}
	governor_sole_front = NULL;
	free(front);

	assert_int_equal(wrong, 0);
	assert_true(spent_ns > 0);
	assert_int_equal(billed_ns, spent_ns);
}

static void nothing_is_spent_on_another_stream(void **state)
{
	struct ticket ticket;

	(void)state;
	setup_front();
	atomic_store(governor_credit(front), GRANTED_NS);
	assert_false(governor_spend(CHEAP, (const void *)0x20, &ticket));
	assert_int_equal(atomic_load(governor_credit(front)), GRANTED_NS);
	atomic_store(&front->is_free, true);
	assert_true(governor_spend(CHEAP, (const void *)0x20, &ticket));
	assert_null(ticket.front);
	assert_int_equal(atomic_load(governor_credit(front)), GRANTED_NS);
	governor_sole_front = NULL;
	free(front);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_taken_back_is_what_was_not_spent),
		cmocka_unit_test(nothing_is_spent_on_another_stream),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
