/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The ledger: never a byte over the quota, never one lost.
 */
#include "unit.h"
#include "ledger/ledger.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 8

static int setup(void **state)
{
	(void)state;
	return ledger_init() ? 0 : -1;
}

static void quota_at_first_is_unlimited(void **state)
{
	(void)state;
	for (unsigned i = 0; i < LEDGER_MAX_DEVICES; i++) {
		assert_int_equal(ledger_quota(i), LEDGER_UNLIMITED);
		assert_int_equal(ledger_used(i), 0);
	}
}

static void reserve_exactly_the_quota_is_granted(void **state)
{
	struct reservation reservation;

	(void)state;
	ledger_tighten_quota(1, 4096);

	assert_true(ledger_reserve(1, LEDGER_LINEAR, 4096, &reservation));
	assert_int_equal(ledger_used(1), 4096);
	assert_int_equal(ledger_used(0), 0);
	assert_int_equal(reservation.bytes, 4096);
	assert_int_equal(reservation.device, 1);
}

static void reserve_one_over_changes_nothing(void **state)
{
	struct reservation reservation = {.bytes = 42, .device = 43};

	(void)state;
	ledger_tighten_quota(1, 4096);

	assert_false(ledger_reserve(1, LEDGER_LINEAR, 4097, &reservation));
	assert_int_equal(ledger_used(1), 0);
	assert_int_equal(reservation.bytes, 42);
	assert_int_equal(reservation.device, 43);
}

static void reserve_last_byte_is_granted_and_no_more(void **state)
{
	struct reservation reservation;

	(void)state;
	ledger_tighten_quota(0, 4096);

	assert_true(ledger_reserve(0, LEDGER_LINEAR, 4095, &reservation));
	assert_false(ledger_reserve(0, LEDGER_LINEAR, 2, &reservation));
	assert_true(ledger_reserve(0, LEDGER_LINEAR, 1, &reservation));
	assert_false(ledger_reserve(0, LEDGER_LINEAR, 1, &reservation));
	assert_int_equal(ledger_used(0), 4096);
}

static void reserve_nothing_always_succeeds(void **state)
{
	struct reservation reservation;

	(void)state;
	ledger_tighten_quota(0, 1);
	assert_true(ledger_reserve(0, LEDGER_LINEAR, 1, &reservation));

	assert_true(ledger_reserve(0, LEDGER_LINEAR, 0, &reservation));
	assert_int_equal(reservation.bytes, 0);
	assert_int_equal(ledger_used(0), 1);
}

static void reserve_huge_does_not_overflow(void **state)
{
	struct reservation reservation;

	(void)state;
	assert_true(ledger_reserve(0, LEDGER_LINEAR, 512, &reservation));
	assert_false(ledger_reserve(0, LEDGER_LINEAR, UINT64_MAX, &reservation));
	assert_false(ledger_reserve(0, LEDGER_LINEAR, UINT64_MAX - 511, &reservation));
	assert_false(ledger_reserve(0, LEDGER_LINEAR, LEDGER_UNLIMITED, &reservation));
	assert_false(ledger_reserve(0, LEDGER_LINEAR, LEDGER_MOST - 511, &reservation));
	assert_true(ledger_reserve(0, LEDGER_LINEAR, LEDGER_MOST - 512, &reservation));
	assert_int_equal(ledger_used(0), LEDGER_MOST);
	assert_false(ledger_reserve(0, LEDGER_LINEAR, 1, &reservation));
	assert_int_equal(ledger_give_backs(0), 0);
}

static void round_goes_up_to_the_granularity(void **state)
{
	(void)state;
	assert_int_equal(ledger_round(0), 0);
	assert_int_equal(ledger_round(1), 512);
	assert_int_equal(ledger_round(512), 512);
	assert_int_equal(ledger_round(513), 1024);
	assert_int_equal(ledger_round(UINT64_MAX), UINT64_MAX);
	assert_int_equal(ledger_round(UINT64_MAX - 511), UINT64_MAX);
	assert_int_equal(ledger_round(UINT64_MAX - 512), UINT64_MAX - 511);
}

static void cancel_gives_all_back(void **state)
{
	struct reservation reservation;

	(void)state;
	ledger_tighten_quota(0, 4096);
	assert_true(ledger_reserve(0, LEDGER_LINEAR, 4096, &reservation));

	ledger_cancel(&reservation);

	assert_int_equal(ledger_used(0), 0);
	assert_true(ledger_reserve(0, LEDGER_LINEAR, 4096, &reservation));
}

static void extend_within_the_quota_reserves_the_difference(void **state)
{
	struct reservation reservation;

	(void)state;
	ledger_tighten_quota(0, 4096);
	assert_true(ledger_reserve(0, LEDGER_LINEAR, 1024, &reservation));

	assert_true(ledger_extend(&reservation, 4096));

	assert_int_equal(reservation.bytes, 4096);
	assert_int_equal(ledger_used(0), 4096);
}

static void extend_over_the_quota_changes_nothing(void **state)
{
	struct reservation reservation;

	(void)state;
	ledger_tighten_quota(0, 4096);
	assert_true(ledger_reserve(0, LEDGER_LINEAR, 1024, &reservation));

	assert_false(ledger_extend(&reservation, 4097));

	assert_int_equal(reservation.bytes, 1024);
	assert_int_equal(ledger_used(0), 1024);
}

static void extend_to_less_keeps_what_is_reserved(void **state)
{
	struct reservation reservation;

	(void)state;
	assert_true(ledger_reserve(0, LEDGER_LINEAR, 1024, &reservation));

	assert_true(ledger_extend(&reservation, 512));

	assert_int_equal(reservation.bytes, 1024);
	assert_int_equal(ledger_used(0), 1024);
}

static void commit_a(uint64_t address, uint64_t bytes, void *context)
{
	struct reservation reservation;

	assert_true(ledger_reserve(0, LEDGER_LINEAR, bytes, &reservation));
	assert_true(ledger_commit(&reservation, address, context));
}

static void shrink_gives_back_the_difference(void **state)
{
	struct reservation reservation;

	(void)state;
	assert_true(ledger_reserve(0, LEDGER_POOL, 4096, &reservation));
	ledger_shrink(&reservation, 8192);
	assert_int_equal(ledger_used(0), 4096);
	ledger_shrink(&reservation, 1024);
	assert_int_equal(reservation.bytes, 1024);
	assert_int_equal(ledger_used(0), 1024);
	assert_int_equal(ledger_used_for(0, LEDGER_POOL), 1024);
	ledger_cancel(&reservation);
	assert_int_equal(ledger_used_for(0, LEDGER_POOL), 0);
}

static void linear_memory_is_what_other_kinds_leave(void **state)
{
	struct reservation pool, linear;

	(void)state;
	assert_true(ledger_reserve(0, LEDGER_POOL, 4096, &pool));
	assert_true(ledger_reserve(0, LEDGER_LINEAR, 1024, &linear));
	assert_int_equal(ledger_used_for(0, LEDGER_LINEAR), 1024);
	assert_int_equal(ledger_used_for(0, LEDGER_POOL), 4096);
	assert_int_equal(ledger_used_here(0), 5120);
	ledger_cancel(&pool);
	assert_int_equal(ledger_used_for(0, LEDGER_LINEAR), 1024);
	ledger_cancel(&linear);
	assert_int_equal(ledger_used_for(0, LEDGER_LINEAR), 0);
}

/* However many: the count goes round, and leaves the bytes alone. */
static void give_backs_are_counted(void **state)
{
	struct reservation kept, reservation;

	(void)state;
	assert_true(ledger_reserve(0, LEDGER_LINEAR, 4096, &kept));
	assert_int_equal(ledger_give_backs(0), 0);
	ledger_shrink(&kept, 1024);
	assert_int_equal(ledger_give_backs(0), 1);
	for (unsigned i = 1; i <= 1u << 19; i++) {
		assert_true(ledger_reserve(0, LEDGER_LINEAR, 512, &reservation));
		ledger_cancel(&reservation);
		assert_int_equal(ledger_give_backs(0), (1 + i) % (1u << 19));
	}
	assert_int_equal(ledger_used(0), 1024);
	ledger_tighten_quota(0, 1024);
	assert_false(ledger_reserve(0, LEDGER_LINEAR, 512, &reservation));
}

static void settle_goes_beyond_the_quota_and_denies_growth(void **state)
{
	struct reservation taken = {.device = 0, .kind = LEDGER_CONTEXT}, more;

	(void)state;
	ledger_tighten_quota(0, 4096);
	ledger_settle(&taken, 8192);
	assert_int_equal(ledger_used(0), 8192);
	assert_int_equal(ledger_used_for(0, LEDGER_CONTEXT), 8192);
	assert_false(ledger_reserve(0, LEDGER_LINEAR, 512, &more));
	ledger_settle(&taken, 3584);
	assert_true(ledger_reserve(0, LEDGER_LINEAR, 512, &more));
	assert_false(ledger_extend(&more, 1024));
}

static void keys_of_different_kinds_do_not_meet(void **state)
{
	struct reservation address, handle;
	struct holding holding;

	(void)state;
	assert_true(ledger_reserve(0, LEDGER_LINEAR, 512, &address));
	assert_true(ledger_commit(&address, ledger_key(LEDGER_LINEAR, 4096), NULL));
	assert_true(ledger_reserve(0, LEDGER_ARRAY, 1024, &handle));
	assert_true(ledger_commit(&handle, ledger_key(LEDGER_ARRAY, 4096), NULL));
	assert_int_equal(ledger_used(0), 1536);
	assert_true(ledger_take_out(ledger_key(LEDGER_LINEAR, 4096), &holding));
	assert_int_equal(holding.kind, LEDGER_LINEAR);
	assert_int_equal(holding.bytes, 512);
	assert_true(ledger_take_out(ledger_key(LEDGER_ARRAY, 4096), &holding));
	assert_int_equal(holding.kind, LEDGER_ARRAY);
}

static void commit_then_take_out_then_give_back_ends_at_zero(void **state)
{
	struct holding holding;

	(void)state;
	commit_a(0x1000, 1024, (void *)1);
	assert_int_equal(ledger_used(0), 1024);

	assert_true(ledger_take_out(0x1000, &holding));
	assert_int_equal(ledger_used(0), 1024); /* still the driver's until it has freed it */
	ledger_give_back(&holding);

	assert_int_equal(holding.bytes, 1024);
	assert_ptr_equal(holding.context, (void *)1);
	assert_int_equal(ledger_used(0), 0);
	assert_false(ledger_take_out(0x1000, &holding));
}

static void put_back_can_be_taken_out_again(void **state)
{
	struct holding holding;

	(void)state;
	commit_a(0x1000, 1024, (void *)1);
	assert_true(ledger_take_out(0x1000, &holding));

	ledger_put_back(&holding);

	assert_int_equal(ledger_used(0), 1024);
	assert_true(ledger_take_out(0x1000, &holding));
	assert_int_equal(holding.bytes, 1024);
}

/* A free raced with the death of its context: the driver refused it, and what was put back stood
 * under an address that was soon given to another, its bytes charged for good. */
static void commit_at_an_address_that_stands_gives_the_old_bytes_back(void **state)
{
	struct holding holding;

	(void)state;
	commit_a(0x1000, 1024, (void *)1);
	commit_a(0x1000, 512, (void *)2);

	assert_int_equal(ledger_used(0), 512);
	assert_true(ledger_take_out(0x1000, &holding));
	assert_ptr_equal(holding.context, (void *)2);
	ledger_give_back(&holding);
	assert_int_equal(ledger_used(0), 0);
}

/* The same race, with the address given away before the free came back. */
static void put_back_at_an_address_given_anew_gives_its_bytes_back(void **state)
{
	struct holding late, holding;

	(void)state;
	commit_a(0x1000, 1024, (void *)1);
	assert_true(ledger_take_out(0x1000, &late));
	commit_a(0x1000, 512, (void *)2);

	ledger_put_back(&late);

	assert_int_equal(ledger_used(0), 512);
	assert_true(ledger_take_out(0x1000, &holding));
	assert_ptr_equal(holding.context, (void *)2);
}

static void take_out_of_a_foreign_address_finds_nothing(void **state)
{
	struct holding holding;

	(void)state;
	commit_a(0x1000, 1024, NULL);

	assert_false(ledger_take_out(0, &holding));
	assert_false(ledger_take_out(0x1001, &holding));
	assert_int_equal(ledger_used(0), 1024);
}

static void drop_context_gives_back_what_it_held(void **state)
{
	struct holding holding;

	(void)state;
	for (uint64_t i = 1; i <= 100; i++)
		commit_a(0x1000 * i, 512, i % 4 == 0 ? (void *)1 : (void *)2);

	ledger_drop_context((void *)2);
	assert_int_equal(ledger_used(0), 25 * 512);
	assert_false(ledger_take_out(0x1000, &holding));
	assert_true(ledger_take_out(0x4000, &holding));
	ledger_put_back(&holding);

	ledger_drop_context((void *)1);
	assert_int_equal(ledger_used(0), 0);
}

static void tighten_never_loosens(void **state)
{
	(void)state;
	ledger_tighten_quota(2, 1000);
	ledger_tighten_quota(2, 2000);
	ledger_tighten_quota(2, LEDGER_UNLIMITED);
	assert_int_equal(ledger_quota(2), 1000);
	ledger_tighten_quota(2, 999);
	assert_int_equal(ledger_quota(2), 999);
	assert_int_equal(ledger_quota(1), LEDGER_UNLIMITED);
}

static void tighten_below_use_denies_growth_until_there_is_room(void **state)
{
	struct reservation first, second;

	(void)state;
	assert_true(ledger_reserve(0, LEDGER_LINEAR, 4096, &first));
	ledger_tighten_quota(0, 1024);

	assert_false(ledger_reserve(0, LEDGER_LINEAR, 1, &second));
	assert_false(ledger_extend(&first, 4097));
	assert_int_equal(ledger_used(0), 4096);
	ledger_cancel(&first);
	assert_true(ledger_reserve(0, LEDGER_LINEAR, 1024, &second));
}

/* Threads that take and give one granule at a time around the last bytes of a quota. */
#define RACE_QUOTA (3 * 512ull)

static atomic_uint granted_now;
static atomic_uint over_grants;
static atomic_uint grants, refusals;

static void *race(void *data)
{
	(void)data;
	for (unsigned i = 0; i < 20000; i++) {
		struct reservation reservation;
		if (!ledger_reserve(3, LEDGER_LINEAR, 512, &reservation)) {
			atomic_fetch_add(&refusals, 1);
			continue;
		}
		atomic_fetch_add(&grants, 1);
		if (atomic_fetch_add(&granted_now, 1) >= 3 || ledger_used(3) > RACE_QUOTA)
			atomic_fetch_add(&over_grants, 1);
		if (i % 64 == 0)
			sched_yield(); /* with it in hand, so that others are refused */
		atomic_fetch_sub(&granted_now, 1);
		ledger_cancel(&reservation);
	}
	return NULL;
}

static void threads_racing_for_the_last_bytes_are_never_over(void **state)
{
	pthread_t threads[THREADS];

	(void)state;
	ledger_tighten_quota(3, RACE_QUOTA);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, race, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);

	assert_int_equal(atomic_load(&over_grants), 0);
	assert_true(atomic_load(&grants) > 0);
	assert_true(atomic_load(&refusals) > 0);
	assert_int_equal(ledger_used(3), 0);
}

/* Exit status of a child: the number of what it found wrong, 0 for nothing. */
static int look_in_child(void)
{
	struct reservation reservation;
	struct holding holding;

	if (ledger_used(0) != 0)
		return 1;
	if (ledger_quota(0) != 8192)
		return 2;
	if (ledger_take_out(0x1000, &holding))
		return 3;
	if (!ledger_reserve(0, LEDGER_LINEAR, 8192, &reservation) || ledger_used(0) != 8192)
		return 4;
	if (!ledger_commit(&reservation, 0x1000, NULL) || !ledger_take_out(0x1000, &holding))
		return 5;
	ledger_give_back(&holding);
	return ledger_used(0) == 0 ? 0 : 6;
}

static void assert_child_finds_nothing_wrong(void)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		alarm(20); /* a lock that nobody holds any more shows as SIGALRM */
		_exit(look_in_child());
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void fork_child_sees_an_empty_ledger_and_the_quota(void **state)
{
	struct holding holding;

	(void)state;
	ledger_tighten_quota(0, 8192);
	commit_a(0x1000, 4096, NULL);

	assert_child_finds_nothing_wrong();

	assert_int_equal(ledger_used(0), 4096);
	assert_true(ledger_take_out(0x1000, &holding));
}

static atomic_bool is_over;

static void *churn(void *data)
{
	uint64_t base = (uint64_t)(uintptr_t)data << 32;

	for (uint64_t i = 0; !atomic_load(&is_over); i++) {
		struct reservation reservation = {0};
		struct holding holding;
		uint64_t address = base + 512 * (i % 1000 + 1);
		if (!ledger_reserve(1, LEDGER_LINEAR, 512, &reservation) ||
			!ledger_commit(&reservation, address, NULL) ||
			!ledger_take_out(address, &holding))
			return (void *)1;
		ledger_give_back(&holding);
	}
	return NULL;
}

static void fork_while_threads_hold_locks_leaves_the_child_free(void **state)
{
	pthread_t threads[4];
	void *result;

	(void)state;
	ledger_tighten_quota(0, 8192);
	for (uintptr_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)), 0);
	for (unsigned i = 0; i < 100; i++)
		assert_child_finds_nothing_wrong();
	atomic_store(&is_over, true);
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(threads[i], &result);
		assert_null(result);
	}
	assert_int_equal(ledger_used(1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(quota_at_first_is_unlimited, setup),
		cmocka_unit_test_setup(reserve_exactly_the_quota_is_granted, setup),
		cmocka_unit_test_setup(reserve_one_over_changes_nothing, setup),
		cmocka_unit_test_setup(reserve_last_byte_is_granted_and_no_more, setup),
		cmocka_unit_test_setup(reserve_nothing_always_succeeds, setup),
		cmocka_unit_test_setup(reserve_huge_does_not_overflow, setup),
		cmocka_unit_test_setup(round_goes_up_to_the_granularity, setup),
		cmocka_unit_test_setup(cancel_gives_all_back, setup),
		cmocka_unit_test_setup(extend_within_the_quota_reserves_the_difference, setup),
		cmocka_unit_test_setup(extend_over_the_quota_changes_nothing, setup),
		cmocka_unit_test_setup(extend_to_less_keeps_what_is_reserved, setup),
		cmocka_unit_test_setup(shrink_gives_back_the_difference, setup),
		cmocka_unit_test_setup(linear_memory_is_what_other_kinds_leave, setup),
		cmocka_unit_test_setup(give_backs_are_counted, setup),
		cmocka_unit_test_setup(settle_goes_beyond_the_quota_and_denies_growth, setup),
		cmocka_unit_test_setup(keys_of_different_kinds_do_not_meet, setup),
		cmocka_unit_test_setup(commit_then_take_out_then_give_back_ends_at_zero, setup),
		cmocka_unit_test_setup(put_back_can_be_taken_out_again, setup),
		cmocka_unit_test_setup(
			commit_at_an_address_that_stands_gives_the_old_bytes_back, setup),
		cmocka_unit_test_setup(
			put_back_at_an_address_given_anew_gives_its_bytes_back, setup),
		cmocka_unit_test_setup(take_out_of_a_foreign_address_finds_nothing, setup),
		cmocka_unit_test_setup(drop_context_gives_back_what_it_held, setup),
		cmocka_unit_test_setup(tighten_never_loosens, setup),
		cmocka_unit_test_setup(tighten_below_use_denies_growth_until_there_is_room, setup),
		cmocka_unit_test_setup(threads_racing_for_the_last_bytes_are_never_over, setup),
		cmocka_unit_test_setup(fork_child_sees_an_empty_ledger_and_the_quota, setup),
		cmocka_unit_test_setup(fork_while_threads_hold_locks_leaves_the_child_free, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
