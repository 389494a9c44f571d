/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Bills of commands whose costs change, and what a program can have at once, in virtual time.
 */
#include "unit.h"
#include "base/clock.h"
#include "base/units.h"
#include "fake_driver.h"
#include "governor/governor.h"

#include <stdlib.h>

#define KERNEL   0x100ull
#define BURST_NS (20 * NS_PER_MS)

static void start(uint32_t share_ppm)
{
	fake_reset();
	fake.host_ns = 2 * NS_PER_US;
	fake.late_ns = 60 * NS_PER_US;
	assert_true(governor_init());
	governor_set_device_count(1);
	governor_tighten_share(0, share_ppm);
}

static int teardown(void **state)
{
	bool is_clean = fake.violations == 0;

	(void)state;
	fake_reset();
	return is_clean ? 0 : -1;
}

static void launch(CUstream stream, uint64_t length_ns)
{
	struct ticket ticket;

	governor_admit(KERNEL, stream, stream, &ticket);
	fake_launch(stream, length_ns);
	governor_submitted(&ticket, CUDA_SUCCESS);
	fake_wait_for_backlog(stream, 4 * NS_PER_MS); /* a real queue has an end */
}

/* Billed so far, once all that ran was seen to end, in parts of what ran. */
static double billed_parts(void)
{
	fake_synchronize(fake_stream(1));
	governor_settle_context(fake_context(0));
	return (double)governor_billed_ns(0) / (double)fake.run_ns;
}

static double billed_for(const uint64_t lengths_ns[2], unsigned run)
{
	start(500000);
	for (unsigned i = 0; fake.run_ns < 20 * NS_PER_S; i++)
		launch(fake_stream(1), lengths_ns[i / run % 2]);
	double parts = billed_parts();
	print_message("%4llu us and %5llu us, %3u each: billed %.4f\n", lengths_ns[0] / NS_PER_US,
		lengths_ns[1] / NS_PER_US, run, parts);
	return parts;
}

/* The same kernel on the same grid, with little and much to do by turns. Billed by the average
 * alone it was up to a third too little. */
static void costs_that_alternate_are_billed(void **state)
{
	static const uint64_t lengths_ns[][2] = {
		{10 * NS_PER_US, 500 * NS_PER_US},
		{20 * NS_PER_US, 100 * NS_PER_US},
		{5 * NS_PER_US, 50 * NS_PER_US},
		{100 * NS_PER_US, 900 * NS_PER_US},
	};

	(void)state;
	for (unsigned l = 0; l < ARRAY_LEN(lengths_ns); l++) {
		for (unsigned run = 1; run <= 100; run *= 10) {
			double parts = billed_for(lengths_ns[l], run);
			assert_true(parts > 0.94 && parts < 1.06);
		}
	}
}

/* The driver refuses some of the launches that would have been measured, and they are made again.
 */
static void samples_that_fail_are_taken_again(void **state)
{
	struct ticket ticket;
	uint64_t random = 7;

	(void)state;
	start(500000);
	for (unsigned i = 0; fake.run_ns < 20 * NS_PER_S;) {
		governor_admit(KERNEL, fake_stream(1), fake_stream(1), &ticket);
		if (ticket.flight != NULL && random_between(&random, 1, 4) > 1) {
			governor_submitted(&ticket, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
			continue;
		}
		fake_launch(fake_stream(1), i++ / 10 % 2 == 0 ? 10 * NS_PER_US : 500 * NS_PER_US);
		governor_submitted(&ticket, CUDA_SUCCESS);
		fake_wait_for_backlog(fake_stream(1), 4 * NS_PER_MS);
	}
	double parts = billed_parts();
	print_message("three in four samples fail: billed %.4f\n", parts);
	assert_true(parts > 0.94 && parts < 1.06);
}

/* A thousand times the cost by turns: each launch, and in runs that the credit of the short ones
 * lets go as a whole. */
static void costs_far_apart_are_billed(void **state)
{
	static const uint64_t lengths_ns[2] = {10 * NS_PER_US, 10 * NS_PER_MS};

	(void)state;
	double each = billed_for(lengths_ns, 1);
	assert_true(each > 0.999 && each < 1.001);
	double runs = billed_for(lengths_ns, 100);
	assert_true(runs > 0.8 && runs < 1.1);
}

/* What a change of cost did. */
struct change {
	int64_t most_over_ns; /* most that ran beyond the share's part of the time since the change
			       */
	double part;          /* of the time that ran, in the 20 s since */
	double billed;        /* of all that ran */
};

/* is_told: as where the program changes a graph. */
static struct change change_cost(uint64_t from_ns, uint64_t to_ns, bool is_told)
{
	struct change change = {0};

	start(250000);
	for (uint64_t until_ns = fake.now_ns + 5 * NS_PER_S; fake.now_ns < until_ns;)
		launch(fake_stream(1), from_ns);
	uint64_t run_ns = fake.run_ns, now_ns = fake.now_ns;
	if (is_told)
		governor_doubt(KERNEL);
	while (fake.now_ns - now_ns < 20 * NS_PER_S) {
		launch(fake_stream(1), to_ns);
		int64_t over_ns =
			(int64_t)(fake.run_ns - run_ns) - (int64_t)((fake.now_ns - now_ns) / 4);
		if (over_ns > change.most_over_ns)
			change.most_over_ns = over_ns;
	}
	change.part = (double)(fake.run_ns - run_ns) / (double)(fake.now_ns - now_ns);
	change.billed = billed_parts();
	print_message(
		"from %llu us to %llu us: %.1f ms over at most, %.4f of the time, billed %.4f\n",
		from_ns / NS_PER_US, to_ns / NS_PER_US, (double)change.most_over_ns / 1e6,
		change.part, change.billed);
	return change;
}

/* Until the first that costs more is seen to have, 2 ms of the old cost may be in flight, and 1.5
 * ms are billed as that: with a thousand times the cost, 2 s of the time at most. It is paid back.
 */
static void cost_that_rises_is_paid_in_the_end(void **state)
{
	static const uint64_t costs_ns[] = {2 * NS_PER_US, 10 * NS_PER_US, 500 * NS_PER_US};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(costs_ns); i++) {
		struct change change = change_cost(costs_ns[i], 1000 * costs_ns[i], false);
		assert_true(change.most_over_ns < (int64_t)(2 * NS_PER_S));
		assert_true(change.part > 0.23 && change.part < 0.28);
		assert_true(change.billed > 0.99 && change.billed < 1.01);
	}
}

/* What the governor is told of has an end: each launch is measured until its cost is known. Ten
 * times the cost goes beyond the share by no more than what may be in flight before the first is
 * seen. */
static void change_that_is_told_is_billed_at_once(void **state)
{
	static const uint64_t costs_ns[] = {20 * NS_PER_US, 100 * NS_PER_US, 500 * NS_PER_US};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(costs_ns); i++) {
		struct change rise = change_cost(costs_ns[i], 10 * costs_ns[i], true);
		assert_true(rise.most_over_ns < (int64_t)(BURST_NS + 10 * 2 * NS_PER_MS));
		assert_true(rise.part > 0.245 && rise.part < 0.255);
		assert_true(rise.billed > 0.99 && rise.billed < 1.01);
		struct change fall = change_cost(10 * costs_ns[i], costs_ns[i], true);
		assert_true(fall.most_over_ns < (int64_t)(BURST_NS + 2 * NS_PER_MS));
		assert_true(fall.part > 0.245 && fall.part < 0.255);
		assert_true(fall.billed > 0.99 && fall.billed < 1.01);
	}
}

/* A program that changes its graph before each launch goes on as fast as its share allows. */
static void change_before_each_launch_slows_nobody(void **state)
{
	(void)state;
	start(250000);
	uint64_t now_ns = fake.now_ns;
	while (fake.now_ns - now_ns < 10 * NS_PER_S) {
		governor_doubt(KERNEL);
		launch(fake_stream(1), 50 * NS_PER_US);
	}
	double part = (double)fake.run_ns / (double)(fake.now_ns - now_ns);
	double billed = billed_parts();
	print_message("changed each time: %.4f of the time, billed %.4f\n", part, billed);
	assert_true(part > 0.245 && part < 0.256);
	assert_true(billed > 0.99 && billed < 1.01);
}

static void cost_that_falls_starves_nobody(void **state)
{
	static const uint64_t costs_ns[] = {2 * NS_PER_US, 10 * NS_PER_US};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(costs_ns); i++) {
		struct change change = change_cost(1000 * costs_ns[i], costs_ns[i], false);
		assert_true(change.most_over_ns < (int64_t)(BURST_NS + 2 * NS_PER_MS));
		assert_true(change.part > 0.245 && change.part < 0.255);
		assert_true(change.billed > 0.99 && change.billed < 1.01);
	}
}

/* Most that was put on the device in any window of 1 s that begins with a launch. */
static uint64_t most_in_a_second(uint64_t length_ns)
{
	enum { LAUNCHES = 30000 };
	static uint64_t at_ns[LAUNCHES];
	unsigned first = 0, most = 0;

	start(100000);
	uint64_t pause_at_ns = fake.now_ns + 3 * NS_PER_S / 2;
	for (unsigned i = 0; i < LAUNCHES && fake.now_ns < 1040 * NS_PER_S; i++) {
		if (fake.now_ns > pause_at_ns) {
			fake_pass(3 * NS_PER_S); /* all of the burst comes back */
			pause_at_ns = fake.now_ns + 3 * NS_PER_S / 2;
		}
		launch(fake_stream(1), length_ns);
		at_ns[i] = fake.now_ns;
		while (at_ns[i] - at_ns[first] > NS_PER_S)
			first++;
		if (i - first + 1 > most)
			most = i - first + 1;
	}
	return most * length_ns;
}

/* The share's part, the burst and one command; and 2 ms that may be in flight, for the device may
 * come to it later than it was let go. */
static void no_second_has_more_than_share_and_burst(void **state)
{
	static const uint64_t lengths_ns[] = {
		20 * NS_PER_US, 100 * NS_PER_US, NS_PER_MS, 5 * NS_PER_MS, 30 * NS_PER_MS};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(lengths_ns); i++) {
		uint64_t used_ns = most_in_a_second(lengths_ns[i]);
		print_message(
			"%llu us: %.2f ms\n", lengths_ns[i] / NS_PER_US, (double)used_ns / 1e6);
		assert_in_range(used_ns, 99 * NS_PER_MS,
			100 * NS_PER_MS + BURST_NS + 2 * NS_PER_MS + lengths_ns[i]);
	}
}

/* Drivers put work on a stream of any context, though none is current in the thread. */
static void work_of_a_thread_without_a_context_is_billed(void **state)
{
	(void)state;
	for (unsigned devices = 1; devices <= 2; devices++) {
		start(500000);
		governor_set_device_count(devices);
		fake.home = fake_context(0);
		fake.context = NULL;
		uint64_t begun_at_ns = fake.now_ns;
		while (fake.run_ns < NS_PER_S)
			launch(fake_stream(1), 100 * NS_PER_US);
		double parts = billed_parts();
		assert_null(fake.context);
		assert_true(parts > 0.99 && parts < 1.01);
		assert_in_range(fake.now_ns - begun_at_ns, 1950 * NS_PER_MS, 2050 * NS_PER_MS);
	}
}

static struct ticket failing;

static void fail_now(void)
{
	fake.on_query = NULL;
	governor_submitted(&failing, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
}

/* One of two threads is told by the driver that its launch failed, just while the other has taken
 * back what was left of the credit and has not given any again. */
static void launch_that_fails_beside_another_costs_nothing(void **state)
{
	unsigned failed = 0;

	(void)state;
	start(500000);
	while (failed < 500) {
		governor_admit(KERNEL, fake_stream(1), fake_stream(1), &failing);
		if (failing.front == NULL || failing.flight != NULL) {
			fake_launch(fake_stream(1), 100 * NS_PER_US);
			governor_submitted(&failing, CUDA_SUCCESS);
			continue;
		}
		fake.on_query = fail_now;
		while (fake.on_query != NULL)
			launch(fake_stream(1), 100 * NS_PER_US);
		fake_synchronize(fake_stream(1));
		failed++;
	}
	double parts = billed_parts();
	print_message("%u failed beside %llu ms: billed %.4f\n", failed,
		(unsigned long long)(fake.run_ns / NS_PER_MS), parts);
	assert_true(parts > 0.999 && parts < 1.001);
}

#define CASE(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(costs_that_alternate_are_billed),
		CASE(samples_that_fail_are_taken_again),
		CASE(costs_far_apart_are_billed),
		CASE(cost_that_rises_is_paid_in_the_end),
		CASE(change_that_is_told_is_billed_at_once),
		CASE(change_before_each_launch_slows_nobody),
		CASE(cost_that_falls_starves_nobody),
		CASE(no_second_has_more_than_share_and_burst),
		CASE(work_of_a_thread_without_a_context_is_billed),
		CASE(launch_that_fails_beside_another_costs_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
