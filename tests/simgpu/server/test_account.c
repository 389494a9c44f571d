/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Tests of the accounts: who holds which bytes, and when they come back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "account.h"

struct fixture {
	struct accounts accounts; /* device 0 has 10,000 bytes in units of 100 */
	struct account *a, *b;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	f->accounts.devices[0] =
		(struct account_device){.memory_bytes = 10000, .granularity_bytes = 100};
	f->a = accounts_open(&f->accounts, 11);
	f->b = accounts_open(&f->accounts, 12);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	accounts_finish(&f->accounts);
	free(f);
	return 0;
}

static uint64_t used(const struct fixture *f)
{
	return f->accounts.devices[0].used_bytes;
}

static void reserve_up_to_the_last_byte_is_granted(void **state)
{
	struct fixture *f = *state;

	assert_true(account_reserve(&f->accounts, f->a, 0, 4000));
	assert_true(account_reserve(&f->accounts, f->b, 0, 6000));

	assert_int_equal(used(f), 10000);
	assert_int_equal(f->a->lines[0].held_bytes, 4000);
}

static void reserve_beyond_the_memory_changes_nothing(void **state)
{
	struct fixture *f = *state;
	assert_true(account_reserve(&f->accounts, f->a, 0, 4000));

	assert_false(account_reserve(&f->accounts, f->b, 0, 6001));
	assert_false(account_reserve(&f->accounts, f->b, 0, UINT64_MAX));

	assert_int_equal(used(f), 4000);
	assert_int_equal(f->b->lines[0].held_bytes, 0);
	assert_int_equal(f->b->lines[0].peak_bytes, 0);
}

static void bytes_are_rounded_up_alike_both_ways(void **state)
{
	struct fixture *f = *state;

	assert_true(account_reserve(&f->accounts, f->a, 0, 101));
	assert_int_equal(used(f), 200);
	assert_true(account_release(&f->accounts, f->a, 0, 101));

	assert_int_equal(used(f), 0);
}

static void release_of_more_than_is_held_changes_nothing(void **state)
{
	struct fixture *f = *state;
	account_reserve(&f->accounts, f->a, 0, 500);
	account_reserve(&f->accounts, f->b, 0, 500);

	assert_false(account_release(&f->accounts, f->a, 0, 501));
	assert_false(account_release(&f->accounts, f->a, 0, UINT64_MAX));

	assert_int_equal(used(f), 1000);
	assert_int_equal(f->a->lines[0].held_bytes, 500);
}

static void peak_stays_when_bytes_are_given_back(void **state)
{
	struct fixture *f = *state;

	account_reserve(&f->accounts, f->a, 0, 3000);
	account_reserve(&f->accounts, f->b, 0, 3000);
	account_release(&f->accounts, f->a, 0, 3000);
	account_reserve(&f->accounts, f->a, 0, 1000);

	assert_int_equal(f->a->lines[0].peak_bytes, 3000);
	assert_int_equal(f->accounts.devices[0].peak_bytes, 6000);
}

static void memory_set_below_what_is_used_grants_nothing(void **state)
{
	struct fixture *f = *state;
	account_reserve(&f->accounts, f->a, 0, 5000);
	f->accounts.devices[0].memory_bytes = 2000;

	assert_false(account_reserve(&f->accounts, f->b, 0, 100));
}

static void bytes_of_a_dead_process_come_back_when_due(void **state)
{
	struct fixture *f = *state;
	account_reserve(&f->accounts, f->a, 0, 5000);
	account_reserve(&f->accounts, f->b, 0, 1000);
	assert_int_equal(accounts_next_return(&f->accounts), UINT64_MAX);

	account_close(&f->accounts, f->a, 700);
	account_close(&f->accounts, f->b, 900);
	assert_int_equal(accounts_next_return(&f->accounts), 700);
	accounts_return_due(&f->accounts, 699);
	assert_int_equal(used(f), 6000);
	accounts_return_due(&f->accounts, 700);

	assert_int_equal(used(f), 1000);
	assert_int_equal(f->a->lines[0].held_bytes, 0);
	assert_int_equal(f->a->lines[0].peak_bytes, 5000);
	assert_int_equal(accounts_next_return(&f->accounts), 900);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(reserve_up_to_the_last_byte_is_granted),
		TEST(reserve_beyond_the_memory_changes_nothing),
		TEST(bytes_are_rounded_up_alike_both_ways),
		TEST(release_of_more_than_is_held_changes_nothing),
		TEST(peak_stays_when_bytes_are_given_back),
		TEST(memory_set_below_what_is_used_grants_nothing),
		TEST(bytes_of_a_dead_process_come_back_when_due),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
