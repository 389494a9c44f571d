/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The line of a group: who comes first goes first, and nobody waits for one that does not come.
 */
#include "unit.h"
#include "base/clock.h"
#include "governor/line.h"

#include <pthread.h>
#include <sched.h>

#define LOOK_NS  (LINE_PATIENCE_NS / 10)
#define THREADS  4
#define TURNS    20000
#define MEMBERS  3
#define FAR_WORD (UINT64_C(0xfffffffe) << 32 | 0xfffffffe) /* tickets are about to wrap around */

static void empty_line_lets_all_go(void **state)
{
	line_word line = 0;
	struct line_place place = {0};

	(void)state;
	for (uint64_t i = 1; i < 100; i++)
		assert_true(line_is_next(&line, &place, i));
	assert_int_equal(line, 0);
}

/* Each goes as soon as it may and comes again, the first member twice as often as others. */
static void members_go_in_the_order_in_which_they_came(void **state)
{
	static const uint64_t begun[] = {0, FAR_WORD};

	(void)state;
	for (unsigned b = 0; b < 2; b++) {
		line_word line = begun[b];
		struct line_place places[MEMBERS] = {{0}};
		unsigned gone[MEMBERS] = {0};

		for (unsigned i = 0; i < MEMBERS; i++)
			line_join(&line, &places[i]);
		for (unsigned look = 0; look < 400; look++) {
			unsigned i = look % 4 % MEMBERS;
			gone[i] += line_is_next(&line, &places[i], 1);
			line_join(&line, &places[i]);
		}
		for (unsigned i = 1; i < MEMBERS; i++)
			assert_in_range(gone[i], gone[0] - 1, gone[0]);
		assert_true(gone[0] >= 100);
	}
}

static void newcomer_goes_behind_those_who_wait(void **state)
{
	line_word line = 0;
	struct line_place first = {0}, newcomer = {0};

	(void)state;
	line_join(&line, &first);
	assert_false(line_is_next(&line, &newcomer, 1));
	assert_true(newcomer.is_in);
	assert_true(line_is_next(&line, &first, 1));
	assert_true(line_is_next(&line, &newcomer, 1));
}

static void who_does_not_come_is_passed_over(void **state)
{
	line_word line = 0;
	struct line_place gone = {0}, late = {0}, other = {0};
	uint64_t now_ns = 1;

	(void)state;
	line_join(&line, &gone);
	line_join(&line, &late);
	line_join(&line, &other);
	while (!line_is_next(&line, &other, now_ns))
		now_ns += LOOK_NS;
	assert_in_range(now_ns, 2 * LINE_PATIENCE_NS, 2 * LINE_PATIENCE_NS + 4 * LOOK_NS);
	/* It comes back to an empty line, and to one in which somebody waits by now. */
	assert_true(line_is_next(&line, &late, now_ns));
	line_join(&line, &other);
	assert_false(line_is_next(&line, &gone, now_ns));
	assert_true(line_is_next(&line, &other, now_ns));
	assert_true(line_is_next(&line, &gone, now_ns));
}

static void nobody_is_late_while_there_is_no_time(void **state)
{
	line_word line = 0;
	struct line_place first = {0}, other = {0};

	(void)state;
	line_join(&line, &first);
	for (uint64_t i = 1; i < 100; i++) {
		assert_false(line_is_next(&line, &other, i * LINE_PATIENCE_NS));
		line_rest(&other);
	}
	assert_true(line_is_next(&line, &first, 100 * LINE_PATIENCE_NS));
}

/* What can be no line is none. */
static void damage_stops_nobody(void **state)
{
	static const uint64_t words[] = {UINT64_MAX, UINT64_C(1) << 63, UINT64_C(0x7fffffff) << 32,
		UINT64_C(0x80000000) << 32, 1, (uint64_t)(LINE_MOST + 1) << 32};

	(void)state;
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		line_word line = words[i];
		struct line_place place = {0};

		for (uint64_t now_ns = 1; now_ns < 10; now_ns++) {
			line_join(&line, &place);
			assert_true(line_is_next(&line, &place, now_ns));
		}
	}
}

static line_word shared_line;
static atomic_uint turns_left[THREADS];

static void *go_often(void *data)
{
	unsigned self = (unsigned)(uintptr_t)data;
	struct line_place place = {0};

	for (unsigned i = 0; i < TURNS; i++) {
		line_join(&shared_line, &place);
		while (!line_is_next(&shared_line, &place, clock_now_ns()))
			sched_yield();
		atomic_fetch_sub(&turns_left[self], 1);
	}
	return NULL;
}

static void no_turn_is_lost_between_threads(void **state)
{
	pthread_t threads[THREADS];

	(void)state;
	for (uintptr_t i = 0; i < THREADS; i++) {
		atomic_store(&turns_left[i], TURNS);
		assert_int_equal(pthread_create(&threads[i], NULL, go_often, (void *)i), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(turns_left[i], 0);
	}
	struct line_place place = {0};
	assert_true(line_is_next(&shared_line, &place, 1));
	assert_int_equal(shared_line >> 32, (uint32_t)shared_line);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_line_lets_all_go),
		cmocka_unit_test(members_go_in_the_order_in_which_they_came),
		cmocka_unit_test(newcomer_goes_behind_those_who_wait),
		cmocka_unit_test(who_does_not_come_is_passed_over),
		cmocka_unit_test(nobody_is_late_while_there_is_no_time),
		cmocka_unit_test(damage_stops_nobody),
		cmocka_unit_test(no_turn_is_lost_between_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
