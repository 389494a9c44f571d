/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Tests of the engine with partitions of SMs. Times are exact, and so is what ran where.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "test_virtual.h"

#define SMS 10

struct fixture {
	struct engine *engine; /* one device of 10 SMs, slices of 1000 ns */
	struct virtual_process *a, *b;
	uint32_t low, high; /* contexts of a: SMs 0-3 and 4-9 */
};

static struct sm_set range(uint32_t first, uint32_t end)
{
	struct sm_set sms = {0};
	sm_set_add_range(&sms, first, end);
	return sms;
}

static uint32_t partition(struct virtual_process *process, uint32_t first, uint32_t end)
{
	const struct sm_set sms = range(first, end);
	return engine_partition_create(process->engine_process, 0, &sms, 0);
}

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	fixture->engine = virtual_engine(SMS);
	engine_set_slices(fixture->engine, 1000, 0);
	fixture->a = virtual_process(fixture->engine);
	fixture->b = virtual_process(fixture->engine);
	fixture->low = partition(fixture->a, 0, 4);
	fixture->high = partition(fixture->a, 4, SMS);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;
	engine_destroy(fixture->engine);
	free(fixture->a);
	free(fixture->b);
	free(fixture);
	return 0;
}

static struct wire_op model(uint32_t context, uint64_t blocks, uint64_t block_ns)
{
	return (struct wire_op){
		.kind = WIRE_OP_KERNEL,
		.context = context,
		.blocks = blocks,
		.blocks_per_sm = 1,
		.flags = WIRE_OP_TELL_SMS,
		.duration_ns = block_ns,
	};
}

static uint64_t kernel(
	struct fixture *f, uint64_t now_ns, uint32_t context, uint64_t blocks, uint64_t block_ns)
{
	return virtual_submit(f->engine, f->a, now_ns, model(context, blocks, block_ns), 0);
}

/* That the last kernel of the process told just the SMs from `first` to `end` - 1. */
static void assert_told(const struct virtual_process *process, uint32_t first, uint32_t end)
{
	const struct sm_set expected = range(first, end);
	assert_true(process->told_sms);
	assert_memory_equal(&process->sms, &expected, sizeof(expected));
}

static void assert_process_ran_on(
	const struct virtual_process *process, uint32_t first, uint32_t end)
{
	const struct sm_set expected = range(first, end);
	const struct sm_set *sms = engine_process_sms(process->engine_process, 0);
	assert_memory_equal(sms, &expected, sizeof(expected));
}

static void waves_are_those_of_the_partition(void **state)
{
	struct fixture *f = *state;

	uint64_t exact = kernel(f, 0, f->low, 8, 100);
	uint64_t over = kernel(f, 1000, f->low, 9, 100);
	uint64_t whole = kernel(f, 2000, f->a->context, 20, 100);
	engine_advance(f->engine, 5000);

	assert_ran(f->a, exact, 0, 200);
	assert_ran(f->a, over, 1000, 1300);
	assert_ran(f->a, whole, 2000, 2200);
}

static void no_block_runs_on_a_foreign_sm(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 50; i++)
		kernel(f, 0, f->high, (uint64_t)i % 13, 10);
	engine_advance(f->engine, 100000);

	assert_process_ran_on(f->a, 4, SMS);
	assert_int_equal(sm_set_count(engine_process_sms(f->b->engine_process, 0)), 0);
}

static void kernel_tells_the_sms_of_its_blocks(void **state)
{
	struct fixture *f = *state;

	kernel(f, 0, f->low, 100, 10);
	engine_advance(f->engine, 1000);
	assert_told(f->a, 0, 4);

	kernel(f, 1000, f->a->context, 3, 10);
	engine_advance(f->engine, 2000);
	assert_int_equal(sm_set_count(&f->a->sms), 3);
}

static void kernel_that_does_not_ask_is_told_nothing(void **state)
{
	struct fixture *f = *state;

	virtual_kernel(f->engine, f->a, 0, 1, 100, 0);
	engine_advance(f->engine, 1000);

	assert_int_equal(f->a->ended_count, 1);
	assert_false(f->a->told_sms);
}

static void blocks_spread_over_sms_before_they_share_one(void **state)
{
	struct fixture *f = *state;
	struct wire_op op = model(f->high, 6, 100);
	op.blocks_per_sm = 4;

	virtual_submit(f->engine, f->a, 0, op, 0);
	engine_advance(f->engine, 1000);

	assert_told(f->a, 4, SMS);
}

static void block_takes_an_sm_on_which_nothing_runs(void **state)
{
	/* 5 of the 6 SMs have one of two places taken. */
	struct fixture *f = *state;
	struct wire_op half = model(f->high, 5, 1000);
	half.blocks_per_sm = 2;
	virtual_submit(f->engine, f->a, 0, half, 0);
	half.blocks = 1;
	half.duration_ns = 10;

	uint64_t one = virtual_submit(f->engine, f->a, 0, half, 0);
	engine_advance(f->engine, 10);
	assert_ran(f->a, one, 0, 10);
	const struct sm_set sixth = f->a->sms;
	engine_advance(f->engine, 1000);

	assert_int_equal(sm_set_count(&sixth), 1);
	assert_int_equal(sm_set_count(&f->a->sms), 5);
	assert_false(sm_set_meets(&sixth, &f->a->sms));
}

static void disjoint_partitions_run_at_the_same_time(void **state)
{
	struct fixture *f = *state;

	uint64_t low = kernel(f, 0, f->low, 4000, 100);
	uint64_t high = kernel(f, 0, f->high, 60, 130);
	uint64_t behind = kernel(f, 0, f->high, 6, 10);
	engine_advance(f->engine, 1000000);

	assert_ran(f->a, low, 0, 100000);
	assert_ran(f->a, high, 0, 1300);
	assert_ran(f->a, behind, 1300, 1310);
	assert_int_equal(engine_process_usage(f->a->engine_process, 0).gpu_time_ns, 100000);
}

static void kernel_of_all_sms_waits_for_no_partition_and_leaves_nothing_to_one(void **state)
{
	/* A partition is no reservation: the kernel of all SMs takes each place as it becomes free,
	 * and the partition's next kernel comes after it. */
	struct fixture *f = *state;

	uint64_t low = kernel(f, 0, f->low, 4, 250);
	uint64_t all = kernel(f, 0, f->a->context, 26, 100);
	uint64_t next = kernel(f, 0, f->low, 4, 100);
	engine_advance(f->engine, 100000);

	assert_ran(f->a, low, 0, 250);
	/* 6 until 100, 6 until 200, 6 until 300, and from 250 the 4 of the partition: 22; 4 more.
	 */
	assert_ran(f->a, all, 0, 400);
	/* From 300 two places are left of ten, and both may lie outside. */
	assert_true(f->a->ended[next].start_ns >= 300);
	assert_true(f->a->ended[next].end_ns <= 500);
}

static void overlapping_partitions_share_in_the_order_of_their_kernels(void **state)
{
	struct fixture *f = *state;
	uint32_t middle = partition(f->a, 2, 6);

	uint64_t low = kernel(f, 0, f->low, 8, 100);
	uint64_t mid = kernel(f, 0, middle, 6, 100);
	engine_advance(f->engine, 100000);

	/* While low has blocks to place mid gets none of SMs 2 and 3: 2 blocks, 2, 2. */
	assert_ran(f->a, low, 0, 200);
	assert_ran(f->a, mid, 0, 300);
}

static void partitions_of_two_processes_do_not_overlap_without_mps(void **state)
{
	struct fixture *f = *state;
	uint32_t high = partition(f->b, 4, SMS);

	uint64_t of_a = kernel(f, 0, f->low, 4, 2500);
	uint64_t of_b = virtual_submit(f->engine, f->b, 0, model(high, 6, 2500), 0);
	engine_advance(f->engine, 10000);

	assert_ran(f->a, of_a, 0, 4500);
	assert_ran(f->b, of_b, 1000, 5000);
}

static void grids_of_a_billion_blocks_side_by_side_cost_a_few_steps(void **state)
{
	struct fixture *f = *state;
	int steps = 0;

	uint64_t low = kernel(f, 0, f->low, 1000000000, 7);
	uint64_t high = kernel(f, 0, f->high, 900000001, 11);
	while (engine_next(f->engine) != NEVER_NS && ++steps < 1000)
		engine_advance(f->engine, engine_next(f->engine));

	assert_ran(f->a, low, 0, UINT64_C(250000000) * 7);
	assert_ran(f->a, high, 0, UINT64_C(150000001) * 11);
	assert_true(steps < 20);
}

static void grid_beside_a_partition_is_the_same_however_often_one_looks(void **state)
{
	struct fixture *f = *state;

	uint64_t low = kernel(f, 0, f->low, 997, 7);
	uint64_t high = kernel(f, 0, f->high, 1003, 11);
	uint64_t all = kernel(f, 0, f->a->context, 777, 5);
	for (uint64_t ns = 0; ns < 10000; ns++)
		engine_advance(f->engine, ns);
	const struct wire_ring_entry fine[] = {
		f->a->ended[low], f->a->ended[high], f->a->ended[all]};
	uint64_t low_again = kernel(f, 10000, f->low, 997, 7);
	uint64_t high_again = kernel(f, 10000, f->high, 1003, 11);
	uint64_t all_again = kernel(f, 10000, f->a->context, 777, 5);
	engine_advance(f->engine, 100000);

	assert_ran(f->a, low_again, fine[0].start_ns + 10000, fine[0].end_ns + 10000);
	assert_ran(f->a, high_again, fine[1].start_ns + 10000, fine[1].end_ns + 10000);
	assert_ran(f->a, all_again, fine[2].start_ns + 10000, fine[2].end_ns + 10000);
}

static void partition_that_is_destroyed_drops_its_work_only(void **state)
{
	struct fixture *f = *state;

	uint64_t low = kernel(f, 0, f->low, 400, 100);
	uint64_t high = kernel(f, 0, f->high, 60, 100);
	engine_context_destroy(f->engine, f->a->engine_process, f->low, 150);
	uint64_t all = kernel(f, 150, f->a->context, 4, 100);
	engine_advance(f->engine, 100000);

	assert_false(f->a->has_ended[low]);
	assert_ran(f->a, high, 0, 1000);
	assert_true(f->a->has_ended[all]);
	assert_true(engine_is_idle(f->engine));
}

static void partition_of_no_sm_of_the_device_is_refused(void **state)
{
	struct fixture *f = *state;
	struct engine_process *process = f->a->engine_process;
	const struct sm_set none = {0}, beyond = range(SMS, 64), across = range(9, 4096);

	assert_int_equal(engine_partition_create(process, 0, &none, 0), 0);
	assert_int_equal(engine_partition_create(process, 0, &beyond, 0), 0);
	uint32_t last = engine_partition_create(process, 0, &across, 0);
	assert_int_not_equal(last, 0);
	kernel(f, 0, last, 5, 10);
	engine_advance(f->engine, 1000);

	assert_told(f->a, 9, 10);
	assert_true(engine_context_is_partition(process, last));
	assert_false(engine_context_is_partition(process, f->a->context));
}

static void extra_sms_are_the_last_two_and_shared(void **state)
{
	struct fixture *f = *state;
	uint32_t other = partition(f->a, 4, 6);
	struct wire_op op = model(f->low, 6, 100);
	op.flags |= WIRE_OP_EXTRA_SMS;

	uint64_t low = virtual_submit(f->engine, f->a, 0, op, 0);
	op.context = other;
	op.blocks = 4;
	uint64_t second = virtual_submit(f->engine, f->a, 0, op, 0);
	engine_advance(f->engine, 1000);

	/* 4 and the 2 extra ones; the other has its own 2 alone first, then all 4. */
	assert_ran(f->a, low, 0, 100);
	assert_ran(f->a, second, 0, 200);
	op.context = f->a->context;
	op.blocks = 11;
	uint64_t all = virtual_submit(f->engine, f->a, 1000, op, 0);
	engine_advance(f->engine, 2000);
	assert_ran(f->a, all, 1000, 1200);
}

static struct wire_op greedy(uint32_t context, uint64_t blocks, uint32_t percent)
{
	struct wire_op op = model(context, blocks, 100);
	op.bandwidth_ppm = percent * 10000;
	return op;
}

static void kernel_without_enough_bandwidth_takes_longer_in_proportion(void **state)
{
	struct fixture *f = *state;

	/* All of it on 10 SMs, one and a half times as much, and that on 4 SMs. */
	uint64_t fits = virtual_submit(f->engine, f->a, 0, greedy(f->a->context, 20, 100), 0);
	uint64_t more = virtual_submit(f->engine, f->a, 1000, greedy(f->a->context, 20, 150), 0);
	uint64_t part = virtual_submit(f->engine, f->a, 2000, greedy(f->low, 20, 150), 0);
	engine_advance(f->engine, 10000);

	assert_ran(f->a, fits, 0, 200);
	assert_ran(f->a, more, 1000, 1300);
	assert_ran(f->a, part, 2000, 2500);
}

static void partition_slows_memory_down_less_than_arithmetic(void **state)
{
	struct fixture *f = *state;

	/* 2.5 times the bandwidth: 4 of 10 SMs are enough to have all of it. */
	uint64_t all = virtual_submit(f->engine, f->a, 0, greedy(f->a->context, 40, 250), 0);
	uint64_t four = virtual_submit(f->engine, f->a, 5000, greedy(f->low, 40, 250), 0);
	engine_advance(f->engine, 10000);

	assert_ran(f->a, all, 0, 1000);
	assert_ran(f->a, four, 5000, 6000);
}

static void kernels_share_the_bandwidth(void **state)
{
	struct fixture *f = *state;

	/* 0.8 and 1.2 of it together; the one that asks for none is not slowed down. */
	uint64_t low = virtual_submit(f->engine, f->a, 0, greedy(f->low, 4000, 200), 0);
	uint64_t high = virtual_submit(f->engine, f->a, 0, greedy(f->high, 6000, 200), 0);
	engine_advance(f->engine, 1000000);
	uint64_t memory = virtual_submit(f->engine, f->a, 1000000, greedy(f->low, 8, 500), 0);
	uint64_t plain = kernel(f, 1000000, f->high, 60, 100);
	engine_advance(f->engine, 2000000);

	/* The first blocks of low start before high asks for anything. */
	assert_ran(f->a, low, 0, 199900);
	assert_ran(f->a, high, 0, 199900 + 100);
	assert_ran(f->a, memory, 1000000, 1000400);
	assert_ran(f->a, plain, 1000000, 1001000);
}

static void grid_that_wants_bandwidth_costs_a_few_steps(void **state)
{
	struct fixture *f = *state;
	int steps = 0;

	uint64_t huge =
		virtual_submit(f->engine, f->a, 0, greedy(f->a->context, 1000000000, 300), 0);
	while (engine_next(f->engine) != NEVER_NS && ++steps < 100)
		engine_advance(f->engine, engine_next(f->engine));

	assert_ran(f->a, huge, 0, UINT64_C(30000000000));
	assert_true(steps < 10);
}

static void processes_overlap_under_mps_within_their_limits(void **state)
{
	(void)state;
	struct engine *engine = virtual_engine(SMS);
	engine_share(engine);
	struct virtual_process *a = virtual_process(engine), *b = virtual_process(engine);
	uint32_t of_a = engine_partition_create(a->engine_process, 0, NULL, 4);
	uint32_t of_b = engine_partition_create(b->engine_process, 0, NULL, 6);

	uint64_t first = virtual_submit(engine, a, 0, model(of_a, 40, 100), 0);
	uint64_t second = virtual_submit(engine, b, 0, model(of_b, 30, 100), 0);
	/* Without a limit: what they leave, and all when they have ended. */
	uint64_t rest = virtual_submit(engine, b, 0, model(b->context, 10, 100), 0);
	engine_advance(engine, 100000);

	assert_ran(a, first, 0, 1000);
	assert_ran(b, second, 0, 500);
	assert_ran(b, rest, 500, 700);
	assert_int_equal(engine_process_usage(a->engine_process, 0).gpu_time_ns, 1000);
	assert_int_equal(engine_process_usage(b->engine_process, 0).gpu_time_ns, 700);
	assert_int_equal(engine_busy_ns(engine, 0), 1000);
	assert_int_equal(sm_set_count(engine_process_sms(a->engine_process, 0)), 4);

	virtual_submit(engine, a, 200000, model(of_a, 4, 1000), 0);
	uint64_t survivor = virtual_submit(engine, b, 200000, model(b->context, 12, 100), 0);
	engine_process_destroy(engine, a->engine_process, 200050);
	engine_advance(engine, 300000);
	/* 6 until 100; from 50 on 4 more, until 150; the last 2 from 100. */
	assert_ran(b, survivor, 200000, 200200);
	engine_destroy(engine);
	free(a);
	free(b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(waves_are_those_of_the_partition),
		TEST(no_block_runs_on_a_foreign_sm),
		TEST(kernel_tells_the_sms_of_its_blocks),
		TEST(kernel_that_does_not_ask_is_told_nothing),
		TEST(blocks_spread_over_sms_before_they_share_one),
		TEST(block_takes_an_sm_on_which_nothing_runs),
		TEST(disjoint_partitions_run_at_the_same_time),
		TEST(kernel_of_all_sms_waits_for_no_partition_and_leaves_nothing_to_one),
		TEST(overlapping_partitions_share_in_the_order_of_their_kernels),
		TEST(partitions_of_two_processes_do_not_overlap_without_mps),
		TEST(grids_of_a_billion_blocks_side_by_side_cost_a_few_steps),
		TEST(grid_beside_a_partition_is_the_same_however_often_one_looks),
		TEST(partition_that_is_destroyed_drops_its_work_only),
		TEST(partition_of_no_sm_of_the_device_is_refused),
		TEST(kernel_without_enough_bandwidth_takes_longer_in_proportion),
		TEST(partition_slows_memory_down_less_than_arithmetic),
		TEST(kernels_share_the_bandwidth),
		TEST(grid_that_wants_bandwidth_costs_a_few_steps),
		TEST(processes_overlap_under_mps_within_their_limits),
		TEST(extra_sms_are_the_last_two_and_shared),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
