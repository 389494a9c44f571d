/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The lock under contention, and that sleeping in it does not touch errno.
 */
#include "unit.h"
#include "base/clock.h"
#include "base/lock.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

#define THREADS 8
#define ROUNDS  50000

static struct lock lock;
static unsigned long counter; /* plain: the lock is its only guard */

static void *count_up(void *data)
{
	(void)data;
	for (unsigned i = 0; i < ROUNDS; i++) {
		lock_take(&lock);
		unsigned long seen = counter;
		if (i % 256 == 0)
			sched_yield(); /* inside, so that the others come to sleep */
		counter = seen + 1;
		lock_drop(&lock);
	}
	return NULL;
}

static void take_by_many_threads_lets_one_in_at_a_time(void **state)
{
	pthread_t threads[THREADS];

	(void)state;
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count_up, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);

	assert_int_equal(counter, (unsigned long)THREADS * ROUNDS);
	assert_int_equal(atomic_load(&lock.word), 0);
}

static void *take_and_report_errno(void *data)
{
	int *ret_errno = data;

	errno = 4711;
	lock_take(&lock);
	lock_drop(&lock);
	*ret_errno = errno;
	return NULL;
}

static void take_after_sleeping_keeps_errno(void **state)
{
	pthread_t thread;
	int seen = 0;

	(void)state;
	lock_take(&lock);
	assert_int_equal(pthread_create(&thread, NULL, take_and_report_errno, &seen), 0);
	while (atomic_load(&lock.word) != 2)
		sched_yield(); /* until it sleeps, or is about to */
	clock_sleep_ns(2 * NS_PER_MS);
	errno = 42;
	lock_drop(&lock);
	assert_int_equal(errno, 42);
	pthread_join(thread, NULL);

	assert_int_equal(seen, 4711);
}

static void sleeper_that_nobody_wakes_looks_again(void **state)
{
	pthread_t thread;
	int seen = 0;

	(void)state;
	lock_take(&lock);
	assert_int_equal(pthread_create(&thread, NULL, take_and_report_errno, &seen), 0);
	while (atomic_load(&lock.word) != 2)
		sched_yield();
	clock_sleep_ns(2 * NS_PER_MS);
	/* As a holder does that looked before there was a sleeper, and was held up then. */
	atomic_store(&lock.word, 0);
	pthread_join(thread, NULL);

	assert_int_equal(seen, 4711);
	assert_int_equal(atomic_load(&lock.word), 0);
}

static void drop_without_sleepers_leaves_it_free(void **state)
{
	struct lock own = {0};

	(void)state;
	lock_take(&own);
	assert_int_equal(atomic_load(&own.word), 1);
	lock_drop(&own);
	assert_int_equal(atomic_load(&own.word), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(take_by_many_threads_lets_one_in_at_a_time),
		cmocka_unit_test(take_after_sleeping_keeps_errno),
		cmocka_unit_test(sleeper_that_nobody_wakes_looks_again),
		cmocka_unit_test(drop_without_sleepers_leaves_it_free),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
