/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Tests of the engine with several processes: time slices and death; and that what it calculates
 * does not depend on how often it is called.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test_virtual.h"

struct fixture {
	struct engine *engine; /* one device of 10 SMs, slices of 1000 ns */
	struct virtual_process *a, *b, *c;
};

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	fixture->engine = virtual_engine(10);
	engine_set_slices(fixture->engine, 1000, 0);
	fixture->a = virtual_process(fixture->engine);
	fixture->b = virtual_process(fixture->engine);
	fixture->c = virtual_process(fixture->engine);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;
	engine_destroy(fixture->engine);
	free(fixture->a);
	free(fixture->b);
	free(fixture->c);
	free(fixture);
	return 0;
}

static uint64_t gpu_time(const struct virtual_process *process)
{
	return engine_process_usage(process->engine_process, 0).gpu_time_ns;
}

static void two_processes_take_turns_by_slices(void **state)
{
	struct fixture *f = *state;

	uint64_t of_a = virtual_kernel(f->engine, f->a, 0, 10, 2500, 0);
	uint64_t of_b = virtual_kernel(f->engine, f->b, 0, 10, 2500, 0);
	engine_advance(f->engine, 10000);

	/* a 0-1000, b -2000, a -3000, b -4000, a -4500, b -5000. b's second half slice follows. */
	assert_ran(f->a, of_a, 0, 4500);
	assert_ran(f->b, of_b, 1000, 5000);
	assert_int_equal(gpu_time(f->a), 2500);
	assert_int_equal(gpu_time(f->b), 2500);
	assert_int_equal(engine_busy_ns(f->engine, 0), 5000);
}

static void three_processes_have_equal_parts_whatever_their_kernels(void **state)
{
	struct fixture *f = *state;

	virtual_kernel(f->engine, f->a, 0, 1000000, 7, 0);
	virtual_kernel(f->engine, f->b, 0, 10, 1000000, 0);
	virtual_kernel(f->engine, f->c, 0, 1, 1000000, 0);
	engine_advance(f->engine, 300000);

	assert_int_equal(gpu_time(f->a), 100000);
	assert_int_equal(gpu_time(f->b), 100000);
	assert_int_equal(gpu_time(f->c), 100000);
}

static void process_that_arrives_waits_for_the_end_of_the_present_slice(void **state)
{
	struct fixture *f = *state;

	uint64_t of_a = virtual_kernel(f->engine, f->a, 0, 10, 5000, 0);
	uint64_t of_b = virtual_kernel(f->engine, f->b, 2300, 10, 100, 0);
	engine_advance(f->engine, 10000);

	assert_ran(f->b, of_b, 3000, 3100);
	assert_ran(f->a, of_a, 0, 5100);
}

static void process_with_nothing_to_run_yields_at_once(void **state)
{
	struct fixture *f = *state;

	uint64_t of_a = virtual_kernel(f->engine, f->a, 0, 10, 300, 0);
	uint64_t of_b = virtual_kernel(f->engine, f->b, 0, 10, 300, 0);
	engine_advance(f->engine, 10000);

	assert_ran(f->a, of_a, 0, 300);
	assert_ran(f->b, of_b, 300, 600);
}

static void process_whose_stream_goes_on_does_not_yield(void **state)
{
	struct fixture *f = *state;

	uint64_t first = virtual_kernel(f->engine, f->a, 0, 10, 300, 0);
	uint64_t second = virtual_kernel(f->engine, f->a, 0, 10, 300, first);
	uint64_t of_b = virtual_kernel(f->engine, f->b, 0, 10, 300, 0);
	engine_advance(f->engine, 10000);

	assert_ran(f->a, second, 300, 600);
	assert_ran(f->b, of_b, 600, 900);
}

static void contexts_of_one_process_overlap(void **state)
{
	struct fixture *f = *state;
	struct wire_op op = {
		.kind = WIRE_OP_KERNEL, .blocks = 5, .blocks_per_sm = 1, .duration_ns = 100};

	uint64_t first = virtual_submit(f->engine, f->a, 0, op, 0);
	op.context = engine_context_create(f->a->engine_process, 0);
	uint64_t second = virtual_submit(f->engine, f->a, 0, op, 0);
	engine_advance(f->engine, 10000);

	assert_ran(f->a, first, 0, 100);
	assert_ran(f->a, second, 0, 100);
}

static void switch_to_another_process_costs_and_is_no_gpu_time(void **state)
{
	struct fixture *f = *state;
	engine_set_slices(f->engine, 1000, 50);

	uint64_t of_a = virtual_kernel(f->engine, f->a, 0, 10, 1500, 0);
	uint64_t of_b = virtual_kernel(f->engine, f->b, 0, 10, 500, 0);
	uint64_t again = virtual_kernel(f->engine, f->a, 5000, 10, 100, 0);
	engine_advance(f->engine, 10000);

	assert_ran(f->b, of_b, 1050, 1550);
	assert_ran(f->a, of_a, 0, 2100);
	assert_ran(f->a, again, 5000, 5100); /* it ran last: no switch */
	assert_int_equal(gpu_time(f->a), 1600);
	assert_int_equal(engine_busy_ns(f->engine, 0), 2100);
}

static void process_that_dies_frees_the_device_at_once(void **state)
{
	struct fixture *f = *state;

	uint64_t of_a = virtual_kernel(f->engine, f->a, 0, 10, 5000, 0);
	virtual_kernel(f->engine, f->a, 0, 10, 5000, of_a);
	uint64_t of_b = virtual_kernel(f->engine, f->b, 0, 10, 300, 0);
	engine_process_destroy(f->engine, f->a->engine_process, 400);
	engine_advance(f->engine, 20000);

	assert_ran(f->b, of_b, 400, 700);
	assert_int_equal(f->a->ended_count, 0);
	assert_true(engine_is_idle(f->engine));
	assert_int_equal(engine_busy_ns(f->engine, 0), 700);
}

static void process_that_dies_while_it_waits_is_skipped(void **state)
{
	struct fixture *f = *state;

	uint64_t of_a = virtual_kernel(f->engine, f->a, 0, 10, 1500, 0);
	virtual_kernel(f->engine, f->b, 0, 10, 1500, 0);
	uint64_t of_c = virtual_kernel(f->engine, f->c, 0, 10, 500, 0);
	engine_process_destroy(f->engine, f->b->engine_process, 400);
	engine_advance(f->engine, 20000);

	assert_ran(f->c, of_c, 1000, 1500);
	assert_ran(f->a, of_a, 0, 2000);
}

static void slice_that_is_made_shorter_ends_at_once(void **state)
{
	struct fixture *f = *state;

	virtual_kernel(f->engine, f->a, 0, 10, 5000, 0);
	uint64_t of_b = virtual_kernel(f->engine, f->b, 0, 10, 50, 0);
	engine_advance(f->engine, 500);
	engine_set_slices(f->engine, 100, 0);
	engine_advance(f->engine, 20000);

	assert_ran(f->b, of_b, 500, 550);
}

/* Work whose numbers are small, so that all kinds of coincidences happen: ends of blocks, of
 * slices, arrivals, death. */
static struct wire_op random_op(unsigned *seed, const struct virtual_process *process)
{
	struct wire_op op = {
		.kind = (uint32_t)rand_r(seed) % 8,
		.priority = rand_r(seed) % 3 - 1,
		.blocks = (uint64_t)rand_r(seed) % 60,
		.blocks_per_sm = (uint32_t)rand_r(seed) % 4 + 1,
		.duration_ns = (uint64_t)rand_r(seed) % 12,
	};
	if (op.kind > WIRE_OP_COPY)
		op.kind = WIRE_OP_KERNEL;
	for (uint64_t back = 1; back < 5 && process->last_seq > 5; back++) {
		if (rand_r(seed) % 4 == 0)
			op.deps[op.dep_count++] = process->last_seq - back;
	}
	return op;
}

/* Calls the engine in steps of at most `step_ns` until `to_ns`. With steps of 1 ns it never has a
 * round to skip: every block is placed one by one. */
static void creep(struct engine *engine, uint64_t *now_ns, uint64_t to_ns, uint64_t step_ns)
{
	while (*now_ns < to_ns) {
		*now_ns += step_ns < to_ns - *now_ns ? step_ns : to_ns - *now_ns;
		engine_advance(engine, *now_ns);
	}
}

static void run_random_work(unsigned seed, uint64_t step_ns, struct virtual_process *processes[3])
{
	struct engine *engine = virtual_engine(3);
	uint64_t now_ns = 0;
	engine_set_slices(engine, 1 + seed % 37, seed % 3);
	for (int i = 0; i < 3; i++)
		processes[i] = virtual_process(engine);
	for (int i = 0; i < 300; i++) {
		struct virtual_process *process = processes[rand_r(&seed) % (i < 200 ? 3 : 2)];
		uint64_t pause_ns = rand_r(&seed) % 4 ? 0 : (uint64_t)rand_r(&seed) % 150;
		struct wire_op op = random_op(&seed, process);
		creep(engine, &now_ns, now_ns + pause_ns, step_ns);
		virtual_submit(engine, process, now_ns, op, 0);
		if (i == 200)
			engine_process_destroy(engine, processes[2]->engine_process, now_ns);
	}
	creep(engine, &now_ns, now_ns + 100000, step_ns);
	assert_true(engine_is_idle(engine));
	engine_destroy(engine);
}

static void results_do_not_depend_on_how_often_the_engine_is_called(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= 40; seed++) {
		struct virtual_process *fine[3], *coarse[3];

		run_random_work(seed, 1, fine);
		run_random_work(seed, seed % 2 ? UINT64_MAX : 17, coarse);

		for (int i = 0; i < 3; i++) {
			assert_int_equal(fine[i]->ended_count, coarse[i]->ended_count);
			assert_memory_equal(fine[i]->ended_order, coarse[i]->ended_order,
				sizeof(fine[i]->ended_order));
			assert_memory_equal(
				fine[i]->ended, coarse[i]->ended, sizeof(fine[i]->ended));
			free(fine[i]);
			free(coarse[i]);
		}
	}
}

/* The record of a virtual process is too small for so many operations. */
static void keep_last(void *owner, const struct wire_ring_entry *entry, const struct sm_set *sms)
{
	(void)sms;
	struct wire_ring_entry *last = owner;
	*last = *entry;
}

static void hundred_thousand_queued_kernels_run_in_a_chain(void **state)
{
	(void)state;
	struct wire_ring_entry last = {0};
	struct engine *engine = engine_create(keep_last);
	engine_add_device(engine, 132);
	struct engine_process *process = engine_process_create(engine, &last);
	struct wire_op op = {.kind = WIRE_OP_KERNEL,
		.context = engine_context_create(process, 0),
		.blocks = 132,
		.blocks_per_sm = 1,
		.duration_ns = 10,
		.dep_count = 1};

	for (op.seq = 1; op.seq <= 100000; op.seq++) {
		op.deps[0] = op.seq - 1;
		assert_true(engine_submit(engine, process, &op, 0));
	}
	assert_int_equal(engine_process_pending(process), 100000);
	engine_advance(engine, 1000000);

	assert_true(engine_is_idle(engine));
	assert_int_equal(last.seq, 100000);
	assert_int_equal(last.end_ns, 1000000);
	engine_destroy(engine);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(two_processes_take_turns_by_slices),
		TEST(three_processes_have_equal_parts_whatever_their_kernels),
		TEST(process_that_arrives_waits_for_the_end_of_the_present_slice),
		TEST(process_with_nothing_to_run_yields_at_once),
		TEST(process_whose_stream_goes_on_does_not_yield),
		TEST(contexts_of_one_process_overlap),
		TEST(switch_to_another_process_costs_and_is_no_gpu_time),
		TEST(process_that_dies_frees_the_device_at_once),
		TEST(process_that_dies_while_it_waits_is_skipped),
		TEST(slice_that_is_made_shorter_ends_at_once),
		cmocka_unit_test(results_do_not_depend_on_how_often_the_engine_is_called),
		cmocka_unit_test(hundred_thousand_queued_kernels_run_in_a_chain),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
