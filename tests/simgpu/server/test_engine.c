/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Tests of the engine with one process: waves of blocks, streams, dependencies. Times are exact.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "test_virtual.h"

struct fixture {
	struct engine *engine; /* one device of 10 SMs */
	struct virtual_process *process;
};

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	fixture->engine = virtual_engine(10);
	fixture->process = virtual_process(fixture->engine);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;
	engine_destroy(fixture->engine);
	free(fixture->process);
	free(fixture);
	return 0;
}

static uint64_t kernel(
	struct fixture *f, uint64_t now_ns, uint64_t blocks, uint64_t block_ns, uint64_t dep)
{
	return virtual_kernel(f->engine, f->process, now_ns, blocks, block_ns, dep);
}

static void kernel_of_one_wave_takes_one_block_time(void **state)
{
	struct fixture *f = *state;

	uint64_t full = kernel(f, 1000, 10, 100, 0);
	engine_advance(f->engine, 5000);

	assert_ran(f->process, full, 1000, 1100);
}

static void kernel_of_one_block_more_takes_two_waves(void **state)
{
	struct fixture *f = *state;

	uint64_t over = kernel(f, 0, 11, 100, 0);
	engine_advance(f->engine, 5000);

	assert_ran(f->process, over, 0, 200);
}

static void kernel_of_several_blocks_per_sm_needs_fewer_waves(void **state)
{
	struct fixture *f = *state;
	const struct wire_op op = {
		.kind = WIRE_OP_KERNEL, .blocks = 61, .blocks_per_sm = 3, .duration_ns = 100};

	uint64_t seq = virtual_submit(f->engine, f->process, 0, op, 0);
	engine_advance(f->engine, 5000);

	assert_ran(f->process, seq, 0, 300);
}

static void kernels_of_different_block_sizes_share_an_sm_exactly(void **state)
{
	/* 9 SMs full, the last one has 2 of 3 places taken: a third of an SM is left, which holds
	 * two of the second kernel's six blocks per SM, so that its three blocks take two waves. */
	struct fixture *f = *state;
	const struct wire_op thirds = {
		.kind = WIRE_OP_KERNEL, .blocks = 29, .blocks_per_sm = 3, .duration_ns = 1000};
	const struct wire_op sixths = {
		.kind = WIRE_OP_KERNEL, .blocks = 3, .blocks_per_sm = 6, .duration_ns = 100};

	uint64_t large = virtual_submit(f->engine, f->process, 0, thirds, 0);
	uint64_t small = virtual_submit(f->engine, f->process, 0, sixths, 0);
	engine_advance(f->engine, 5000);

	assert_ran(f->process, large, 0, 1000);
	assert_ran(f->process, small, 0, 200);
}

static void kernels_in_one_stream_run_back_to_back_in_one_late_call(void **state)
{
	struct fixture *f = *state;
	uint64_t previous = 0;

	for (int i = 0; i < 1000; i++)
		previous = kernel(f, 7, 25, 10, previous);
	engine_advance(f->engine, 1000000);

	for (uint64_t seq = 1; seq <= 1000; seq++)
		assert_ran(f->process, seq, 7 + (seq - 1) * 30, 7 + seq * 30);
}

static void kernel_that_arrives_late_starts_when_it_arrives(void **state)
{
	struct fixture *f = *state;

	uint64_t first = kernel(f, 0, 1, 100, 0);
	uint64_t second = kernel(f, 250, 1, 100, first);
	engine_advance(f->engine, 5000);

	assert_ran(f->process, first, 0, 100);
	assert_ran(f->process, second, 250, 350);
}

static void kernels_of_two_streams_overlap_as_far_as_sms_allow(void **state)
{
	/* The second fills the 4 places that the first leaves, then the 10 that it frees. */
	struct fixture *f = *state;

	uint64_t first = kernel(f, 0, 6, 100, 0);
	uint64_t second = kernel(f, 0, 14, 100, 0);
	engine_advance(f->engine, 5000);

	assert_ran(f->process, first, 0, 100);
	assert_ran(f->process, second, 0, 200);
}

static void kernel_behind_one_with_blocks_to_place_waits(void **state)
{
	struct fixture *f = *state;

	uint64_t first = kernel(f, 0, 25, 100, 0);
	uint64_t second = kernel(f, 0, 5, 100, 0);
	uint64_t third = kernel(f, 0, 1, 100, 0);
	engine_advance(f->engine, 5000);

	assert_ran(f->process, first, 0, 300);
	assert_ran(f->process, second, 200, 300);
	assert_ran(f->process, third, 300, 400);
}

static void kernel_of_higher_priority_takes_the_next_free_places(void **state)
{
	struct fixture *f = *state;
	const struct wire_op urgent = {.kind = WIRE_OP_KERNEL,
		.priority = -1,
		.blocks = 10,
		.blocks_per_sm = 1,
		.duration_ns = 50};

	uint64_t bulk = kernel(f, 0, 1000, 100, 0);
	uint64_t quick = virtual_submit(f->engine, f->process, 230, urgent, 0);
	engine_advance(f->engine, 20000);

	assert_ran(f->process, quick, 300, 350);
	assert_ran(f->process, bulk, 0, 10050);
}

static void kernel_of_higher_priority_that_becomes_ready_by_an_end_comes_first(void **state)
{
	struct fixture *f = *state;
	const struct wire_op urgent = {.kind = WIRE_OP_KERNEL,
		.priority = -1,
		.blocks = 10,
		.blocks_per_sm = 1,
		.duration_ns = 50};

	uint64_t first = kernel(f, 0, 10, 100, 0);
	uint64_t plain = kernel(f, 0, 10, 100, 0);
	uint64_t quick = virtual_submit(f->engine, f->process, 0, urgent, first);
	engine_advance(f->engine, 5000);

	assert_ran(f->process, quick, 100, 150);
	assert_ran(f->process, plain, 150, 250);
}

static void grid_of_a_billion_blocks_costs_a_few_steps(void **state)
{
	struct fixture *f = *state;
	int steps = 0;

	uint64_t huge = kernel(f, 5, 1000000003, 1, 0);
	while (engine_next(f->engine) != NEVER_NS && ++steps < 100)
		engine_advance(f->engine, engine_next(f->engine));

	assert_ran(f->process, huge, 5, 5 + 100000001);
	assert_true(steps < 10);
}

static void grid_of_a_billion_blocks_beside_a_long_block_costs_a_few_steps(void **state)
{
	struct fixture *f = *state;
	int steps = 0;

	uint64_t lone = kernel(f, 0, 1, 50000000, 0);
	uint64_t huge = kernel(f, 0, 1000000000, 1, 0);
	while (engine_next(f->engine) != NEVER_NS && ++steps < 100)
		engine_advance(f->engine, engine_next(f->engine));

	/* 9 places for 50 ms, then 10. */
	assert_ran(f->process, lone, 0, 50000000);
	assert_ran(f->process, huge, 0, 50000000 + (1000000000 - 9 * 50000000) / 10);
	assert_true(steps < 10);
}

static void largest_grid_of_longest_blocks_does_not_overflow(void **state)
{
	struct fixture *f = *state;

	kernel(f, UINT64_C(1) << 50, UINT64_MAX, UINT64_MAX, 0);
	engine_advance(f->engine, UINT64_C(1) << 51);

	assert_int_equal(f->process->ended_count, 0);
	assert_true(engine_next(f->engine) > UINT64_C(1) << 51);
}

static void kernel_of_no_blocks_ends_at_once_and_counts(void **state)
{
	struct fixture *f = *state;

	uint64_t busy = kernel(f, 0, 10, 100, 0);
	uint64_t empty = kernel(f, 10, 0, 100, 0);

	assert_false(f->process->has_ended[busy]);
	assert_ran(f->process, empty, 10, 10);
	assert_int_equal(engine_process_usage(f->process->engine_process, 0).kernels, 1);
}

static void operation_that_depends_on_an_unknown_one_starts_at_once(void **state)
{
	struct fixture *f = *state;

	uint64_t past = kernel(f, 10, 1, 100, 777777);
	uint64_t itself = kernel(f, 10, 1, 100, 2);
	engine_advance(f->engine, 5000);

	assert_ran(f->process, past, 10, 110);
	assert_ran(f->process, itself, 10, 110);
}

static void marker_ends_with_the_last_of_its_dependencies(void **state)
{
	struct fixture *f = *state;
	uint64_t fast = kernel(f, 0, 1, 100, 0);
	uint64_t slow = kernel(f, 0, 1, 300, 0);
	struct wire_op join = {.kind = WIRE_OP_MARKER, .dep_count = 2, .deps = {fast, slow}};

	uint64_t marker = virtual_submit(f->engine, f->process, 20, join, 0);
	engine_advance(f->engine, 299);
	assert_false(f->process->has_ended[marker]);
	engine_advance(f->engine, 300);

	assert_ran(f->process, marker, 300, 300);
}

static void long_chain_of_markers_ends_at_once_in_order(void **state)
{
	struct fixture *f = *state;
	const struct wire_op marker = {.kind = WIRE_OP_MARKER};
	uint64_t previous = kernel(f, 0, 1, 100, 0);

	for (int i = 0; i < 4000; i++)
		previous = virtual_submit(f->engine, f->process, 0, marker, previous);
	engine_advance(f->engine, 100);

	assert_int_equal(f->process->ended_count, 4001);
	for (uint64_t i = 0; i < 4001; i++)
		assert_int_equal(f->process->ended_order[i], i + 1);
	assert_true(engine_is_idle(f->engine));
}

static void copies_run_beside_kernels_and_each_other_without_gpu_time(void **state)
{
	struct fixture *f = *state;
	const struct wire_op copy = {.kind = WIRE_OP_COPY, .duration_ns = 70};

	uint64_t busy = kernel(f, 0, 10, 100, 0);
	uint64_t first = virtual_submit(f->engine, f->process, 10, copy, 0);
	uint64_t second = virtual_submit(f->engine, f->process, 20, copy, 0);
	uint64_t third = virtual_submit(f->engine, f->process, 20, copy, second);
	engine_advance(f->engine, 5000);

	assert_ran(f->process, busy, 0, 100);
	assert_ran(f->process, first, 10, 80);
	assert_ran(f->process, second, 20, 90);
	assert_ran(f->process, third, 90, 160);
	assert_int_equal(engine_process_usage(f->process->engine_process, 0).gpu_time_ns, 100);
}

static void gpu_time_is_that_in_which_a_block_runs(void **state)
{
	struct fixture *f = *state;

	kernel(f, 0, 1, 100, 0);
	kernel(f, 50, 1, 100, 0);
	kernel(f, 400, 1, 100, 0);
	engine_advance(f->engine, 430);

	assert_int_equal(engine_process_usage(f->process->engine_process, 0).gpu_time_ns, 180);
	assert_int_equal(engine_busy_ns(f->engine, 0), 180);
}

static void context_that_is_destroyed_drops_its_work_only(void **state)
{
	struct fixture *f = *state;
	uint32_t doomed = engine_context_create(f->process->engine_process, 0);
	const struct wire_op other = {.kind = WIRE_OP_KERNEL,
		.context = doomed,
		.blocks = 10,
		.blocks_per_sm = 1,
		.duration_ns = 1000};
	const struct wire_op copy = {.kind = WIRE_OP_COPY, .context = doomed, .duration_ns = 1000};

	uint64_t running = virtual_submit(f->engine, f->process, 0, other, 0);
	uint64_t queued = virtual_submit(f->engine, f->process, 0, other, running);
	uint64_t copying = virtual_submit(f->engine, f->process, 0, copy, 0);
	uint64_t mine = kernel(f, 0, 10, 100, queued);
	engine_context_destroy(f->engine, f->process->engine_process, doomed, 40);
	engine_advance(f->engine, 5000);

	assert_ran(f->process, mine, 40, 140);
	assert_false(f->process->has_ended[running]);
	assert_false(f->process->has_ended[queued]);
	assert_false(f->process->has_ended[copying]);
	assert_true(engine_is_idle(f->engine));
	assert_int_equal(engine_context_device(f->process->engine_process, doomed), -1);
}

static void context_that_is_destroyed_leaves_its_places_to_others(void **state)
{
	struct fixture *f = *state;
	uint32_t doomed = engine_context_create(f->process->engine_process, 0);
	const struct wire_op other = {.kind = WIRE_OP_KERNEL,
		.context = doomed,
		.blocks = 5,
		.blocks_per_sm = 1,
		.duration_ns = 1000};

	virtual_submit(f->engine, f->process, 0, other, 0);
	uint64_t mine = kernel(f, 0, 10, 100, 0);
	engine_context_destroy(f->engine, f->process->engine_process, doomed, 40);
	engine_advance(f->engine, 5000);

	assert_ran(f->process, mine, 0, 140);
}

static void submit_of_nonsense_changes_nothing(void **state)
{
	struct fixture *f = *state;
	struct engine_process *process = f->process->engine_process;
	const struct wire_op good = {.seq = 5,
		.kind = WIRE_OP_KERNEL,
		.context = f->process->context,
		.blocks = 1,
		.blocks_per_sm = 1,
		.duration_ns = 1};
	struct wire_op bad = good;

	bad.context = 12345;
	assert_false(engine_submit(f->engine, process, &bad, 0));
	bad = good;
	bad.kind = 77;
	assert_false(engine_submit(f->engine, process, &bad, 0));
	bad = good;
	bad.blocks_per_sm = 0;
	assert_false(engine_submit(f->engine, process, &bad, 0));
	bad = good;
	bad.dep_count = WIRE_MAX_DEPS + 1;
	assert_false(engine_submit(f->engine, process, &bad, 0));
	bad = good;
	bad.seq = 0;
	assert_false(engine_submit(f->engine, process, &bad, 0));
	assert_true(engine_is_idle(f->engine));

	assert_true(engine_submit(f->engine, process, &good, 0));
	assert_false(engine_submit(f->engine, process, &good, 0));
}

static void context_ids_are_not_used_again_soon(void **state)
{
	struct fixture *f = *state;
	struct engine_process *process = f->process->engine_process;

	uint32_t first = engine_context_create(process, 0);
	engine_context_destroy(f->engine, process, first, 0);
	uint32_t second = engine_context_create(process, 0);

	assert_int_not_equal(first, second);
	assert_int_equal(engine_context_device(process, first), -1);
	assert_int_equal(engine_context_device(process, second), 0);
}

static void contexts_beyond_the_limit_are_refused(void **state)
{
	struct fixture *f = *state;
	struct engine_process *process = f->process->engine_process;

	for (int i = 1; i < ENGINE_MAX_CONTEXTS; i++)
		assert_int_not_equal(engine_context_create(process, 0), 0);

	assert_int_equal(engine_context_create(process, 0), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(kernel_of_one_wave_takes_one_block_time),
		TEST(kernel_of_one_block_more_takes_two_waves),
		TEST(kernel_of_several_blocks_per_sm_needs_fewer_waves),
		TEST(kernels_of_different_block_sizes_share_an_sm_exactly),
		TEST(kernels_in_one_stream_run_back_to_back_in_one_late_call),
		TEST(kernel_that_arrives_late_starts_when_it_arrives),
		TEST(kernels_of_two_streams_overlap_as_far_as_sms_allow),
		TEST(kernel_behind_one_with_blocks_to_place_waits),
		TEST(kernel_of_higher_priority_takes_the_next_free_places),
		TEST(kernel_of_higher_priority_that_becomes_ready_by_an_end_comes_first),
		TEST(grid_of_a_billion_blocks_costs_a_few_steps),
		TEST(grid_of_a_billion_blocks_beside_a_long_block_costs_a_few_steps),
		TEST(largest_grid_of_longest_blocks_does_not_overflow),
		TEST(kernel_of_no_blocks_ends_at_once_and_counts),
		TEST(operation_that_depends_on_an_unknown_one_starts_at_once),
		TEST(marker_ends_with_the_last_of_its_dependencies),
		TEST(long_chain_of_markers_ends_at_once_in_order),
		TEST(copies_run_beside_kernels_and_each_other_without_gpu_time),
		TEST(gpu_time_is_that_in_which_a_block_runs),
		TEST(context_that_is_destroyed_drops_its_work_only),
		TEST(context_that_is_destroyed_leaves_its_places_to_others),
		TEST(submit_of_nonsense_changes_nothing),
		TEST(context_ids_are_not_used_again_soon),
		TEST(contexts_beyond_the_limit_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
