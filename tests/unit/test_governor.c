/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The governor and its meter over a driver in virtual time.
 */
#include "unit.h"
#include "base/clock.h"
#include "base/units.h"
#include "fake_driver.h"
#include "governor/costs.h"
#include "governor/governor.h"
#include "slice/watch.h"

#define KERNEL   0x100ull
#define QUARTER  250000u
#define BURST_NS (20 * NS_PER_MS)

static int setup(void **state)
{
	(void)state;
	fake_reset();
	return governor_init() ? 0 : -1;
}

/* Whatever happened: nothing that a driver punishes, and the thread's capture mode is as it was. */
static int teardown(void **state)
{
	bool is_clean = fake.violations == 0 && fake.capture_mode == CU_STREAM_CAPTURE_MODE_GLOBAL;

	(void)state;
	fake_reset();
	return is_clean ? 0 : -1;
}

static void launch(uint64_t kernel, CUstream stream, uint64_t length_ns)
{
	struct ticket ticket;

	governor_admit(kernel, stream, stream, &ticket);
	fake_launch(stream, length_ns);
	governor_submitted(&ticket, CUDA_SUCCESS);
}

static void launch_failing(CUresult result)
{
	struct ticket ticket;

	governor_admit(KERNEL, NULL, NULL, &ticket);
	governor_submitted(&ticket, result);
}

/* Launches until `span_ns` have passed; returns the GPU time used in that. */
static uint64_t keep_busy(uint64_t length_ns, uint64_t span_ns, bool synchronizes)
{
	uint64_t begin_ns = fake.now_ns, run_ns = fake.run_ns;

	while (fake.now_ns - begin_ns < span_ns) {
		launch(KERNEL, NULL, length_ns);
		if (synchronizes)
			fake_synchronize(NULL);
	}
	return fake.run_ns - run_ns;
}

static void share_never_set_is_whole(void **state)
{
	(void)state;
	assert_int_equal(governor_share(0), PPM_WHOLE);
	assert_int_equal(governor_share(63), PPM_WHOLE);
	assert_int_equal(governor_billed_ns(0), 0);
}

static void tighten_never_loosens(void **state)
{
	(void)state;
	governor_tighten_share(0, 500000);
	governor_tighten_share(0, 600000);
	assert_int_equal(governor_share(0), 500000);
	governor_tighten_share(0, 400000);
	assert_int_equal(governor_share(0), 400000);
	assert_int_equal(governor_share(1), PPM_WHOLE);
}

static void device_without_share_is_not_touched(void **state)
{
	(void)state;
	governor_tighten_share(1, QUARTER); /* another one */
	for (unsigned i = 0; i < 1000; i++)
		launch(KERNEL, NULL, NS_PER_MS);

	assert_int_equal(fake.event_calls, 0);
	assert_int_equal(fake.slept_ns, 0);
	assert_int_equal(governor_billed_ns(0), 0);
}

static void busy_program_that_synchronizes_gets_its_share(void **state)
{
	(void)state;
	governor_tighten_share(0, QUARTER);

	uint64_t used_ns = keep_busy(NS_PER_MS, 60 * NS_PER_S, true);

	assert_in_range(
		used_ns, 15 * NS_PER_S - 2 * NS_PER_MS, 15 * NS_PER_S + BURST_NS + NS_PER_MS);
}

/* Up to half a percent over: a kernel of 10 us is metered in the half microseconds of a float of
 * milliseconds, and without noise the same half is lost each time. */
static void busy_program_that_queues_gets_its_share(void **state)
{
	static const uint64_t lengths_ns[] = {
		10 * NS_PER_US, 100 * NS_PER_US, NS_PER_MS, 3 * NS_PER_MS, 10 * NS_PER_MS};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(lengths_ns); i++) {
		setup(NULL);
		governor_tighten_share(0, QUARTER);
		uint64_t used_ns = keep_busy(lengths_ns[i], 40 * NS_PER_S, false);
		assert_in_range(used_ns, 10 * NS_PER_S - 10 * NS_PER_MS,
			10 * NS_PER_S * 1005 / 1000 + BURST_NS + 2 * NS_PER_MS + lengths_ns[i]);
		assert_int_equal(fake.violations, 0);
	}
}

/* Two kernels of 1 ms are a little more than 2 ms when measured: with room for 2 ms in all, each
 * had to wait until the one before was seen to have ended, and 80 % became 74. */
static void busy_program_gets_a_large_share_though_sleeps_end_late(void **state)
{
	static const uint64_t lengths_ns[] = {200 * NS_PER_US, NS_PER_MS + 400, 1900 * NS_PER_US};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(lengths_ns); i++) {
		setup(NULL);
		fake.late_ns = 100 * NS_PER_US;
		governor_tighten_share(0, 900000);
		uint64_t used_ns = keep_busy(lengths_ns[i], 10 * NS_PER_S, false);
		assert_in_range(used_ns, 89 * NS_PER_S / 10,
			9 * NS_PER_S + BURST_NS + 2 * NS_PER_MS + 3 * lengths_ns[i]);
	}
}

/* What a kernel longer than the burst earns while it runs was lost, and half became 42 %. */
static void kernels_longer_than_the_burst_get_their_share(void **state)
{
	static const uint64_t lengths_ns[] = {50 * NS_PER_MS, 200 * NS_PER_MS};

	(void)state;
	for (unsigned i = 0; i < 2 * ARRAY_LEN(lengths_ns); i++) {
		uint64_t length_ns = lengths_ns[i / 2];
		setup(NULL);
		governor_tighten_share(0, 900000);
		uint64_t used_ns = keep_busy(length_ns, 60 * NS_PER_S, i % 2 == 0);
		assert_in_range(used_ns, 53 * NS_PER_S, 54 * NS_PER_S + BURST_NS + 3 * length_ns);
	}
}

/* A long kernel on one stream does not keep others from running beside it. */
static void streams_run_beside_each_other(void **state)
{
	(void)state;
	governor_tighten_share(0, 990000);
	launch(KERNEL, fake_stream(1), 5 * NS_PER_MS); /* its cost is known from here on */
	fake_synchronize(fake_stream(1));
	uint64_t slept_ns = fake.slept_ns;

	for (unsigned i = 1; i <= 4; i++)
		launch(KERNEL, fake_stream(i), 5 * NS_PER_MS);

	assert_in_range(fake.slept_ns - slept_ns, 0, NS_PER_MS);
}

static void bill_is_what_ran(void **state)
{
	(void)state;
	governor_tighten_share(0, QUARTER);
	keep_busy(1234567, 30 * NS_PER_S, true);
	launch(KERNEL, NULL, 0); /* harvests what came before */

	uint64_t billed_ns = governor_billed_ns(0);
	assert_in_range(
		billed_ns, fake.run_ns - fake.run_ns / 1000, fake.run_ns + fake.run_ns / 1000);
}

/* A float of milliseconds is good for 4 us a minute after its base, for 250 us an hour after. */
static void bill_stays_exact_for_hours(void **state)
{
	(void)state;
	governor_tighten_share(0, 900000);
	for (unsigned i = 0; i < 20000; i++) {
		launch(KERNEL, NULL, 100 * NS_PER_US);
		fake_pass(NS_PER_S);
	}
	launch(KERNEL, NULL, 0);

	uint64_t billed_ns = governor_billed_ns(0);
	assert_in_range(
		billed_ns, fake.run_ns - fake.run_ns / 200, fake.run_ns + fake.run_ns / 200);
}

static void program_bound_by_its_host_is_not_slowed(void **state)
{
	(void)state;
	governor_tighten_share(0, QUARTER);
	for (unsigned i = 0; i < 1000; i++) {
		launch(KERNEL, NULL, 2 * NS_PER_MS);
		fake_synchronize(NULL);
		fake_pass(8 * NS_PER_MS);
	}

	assert_int_equal(fake.slept_ns, 0);
}

static void kernels_beside_each_other_are_billed_once(void **state)
{
	(void)state;
	governor_tighten_share(0, 500000);
	for (unsigned i = 0; i < 500; i++) {
		launch(KERNEL, fake_stream(1), 500 * NS_PER_US);
		launch(KERNEL, fake_stream(2), 500 * NS_PER_US);
		fake_synchronize(fake_stream(1));
		fake_synchronize(fake_stream(2));
		fake_pass(20 * NS_PER_MS);
	}
	governor_settle_context(fake_context(0));

	assert_int_equal(fake.slept_ns, 0);
	assert_in_range(governor_billed_ns(0), 245 * NS_PER_MS, 255 * NS_PER_MS);
}

static void burst_after_a_pause_is_bounded(void **state)
{
	uint64_t begin_ns;

	(void)state;
	governor_tighten_share(0, 10000);
	launch(KERNEL, NULL, NS_PER_MS);
	fake_pass(3600 * NS_PER_S);
	begin_ns = fake.now_ns;
	uint64_t used_ns = keep_busy(NS_PER_MS, NS_PER_S, true);

	assert_true(fake.now_ns - begin_ns < 2 * NS_PER_S);
	assert_in_range(used_ns, 20 * NS_PER_MS, BURST_NS + 10 * NS_PER_MS + 2 * NS_PER_MS);
}

static void tighten_while_running_takes_effect(void **state)
{
	(void)state;
	governor_tighten_share(0, 500000);
	keep_busy(NS_PER_MS, 5 * NS_PER_S, true);
	governor_tighten_share(0, 100000);
	uint64_t used_ns = keep_busy(NS_PER_MS, 10 * NS_PER_S, true);

	assert_in_range(used_ns, NS_PER_S - 3 * NS_PER_MS, NS_PER_S + BURST_NS + 2 * NS_PER_MS);
}

static void failed_launch_costs_nothing(void **state)
{
	(void)state;
	governor_tighten_share(0, QUARTER);
	for (unsigned i = 0; i < 10000; i++)
		launch_failing(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);

	assert_int_equal(fake.slept_ns, 0);
	assert_int_equal(governor_billed_ns(0), 0);
	assert_in_range(fake.events_alive, 0, 2);
}

static void capturing_stream_is_passed_through_untouched(void **state)
{
	struct ticket ticket;

	(void)state;
	governor_tighten_share(0, QUARTER);
	fake.capturing = CU_STREAM_CAPTURE_STATUS_ACTIVE;
	for (unsigned i = 0; i < 1000; i++) {
		governor_admit(KERNEL, NULL, NULL, &ticket);
		assert_null(ticket.front);
		governor_submitted(&ticket, CUDA_SUCCESS);
	}

	assert_int_equal(fake.event_calls, 0);
	assert_int_equal(fake.slept_ns, 0);
	assert_int_equal(governor_billed_ns(0), 0);
}

/* The legacy stream while another stream captures: the driver answers with an error, and asking
 * anything more would end that capture. */
static void legacy_stream_beside_a_capture_is_passed_through(void **state)
{
	(void)state;
	governor_tighten_share(0, QUARTER);
	fake.is_capturing_result = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
	launch_failing(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);

	assert_int_equal(fake.event_calls, 0);
}

static void launch_without_a_context_is_left_to_the_driver(void **state)
{
	struct ticket ticket;

	(void)state;
	governor_tighten_share(0, QUARTER);
	fake.context = NULL;
	governor_admit(KERNEL, NULL, NULL, &ticket);
	governor_submitted(&ticket, CUDA_ERROR_INVALID_CONTEXT);

	assert_null(ticket.front);
	assert_int_equal(fake.event_calls, 0);
}

/* A program that makes a context for each request and waits for its result pays for each. */
static void settled_context_has_paid_and_leaves_nothing(void **state)
{
	(void)state;
	governor_tighten_share(0, QUARTER);
	launch(KERNEL, NULL, NS_PER_MS);
	fake_synchronize(NULL);

	governor_settle_context(fake_context(0));

	assert_in_range(governor_billed_ns(0), NS_PER_MS - 1000, NS_PER_MS + 1000);
	assert_int_equal(fake.events_alive, 0);
}

/* The driver may refuse to destroy it, or it was not the last reference. */
static void settled_context_that_lives_on_is_measured_on(void **state)
{
	(void)state;
	governor_tighten_share(0, QUARTER);
	for (unsigned i = 0; i < 100; i++) {
		launch(KERNEL, NULL, NS_PER_MS);
		governor_settle_context(fake_context(0)); /* in flight */
		governor_keep_context(fake_context(0));
		fake_synchronize(NULL);
		governor_settle_context(fake_context(0)); /* at rest */
		governor_keep_context(fake_context(0));
	}

	assert_in_range(governor_billed_ns(0), 99 * NS_PER_MS, 101 * NS_PER_MS);
	assert_int_equal(fake.events_alive, 0);
}

/* Two threads let go of it, and the first was not the last: until the second is known to be neither
 * nobody touches its events. */
static void context_that_two_may_end_is_left_alone(void **state)
{
	(void)state;
	governor_tighten_share(0, QUARTER);
	launch(KERNEL, NULL, NS_PER_MS);
	governor_settle_context(fake_context(0));
	governor_settle_context(fake_context(0));
	governor_keep_context(fake_context(0));
	fake_synchronize(NULL);
	fake_pass(NS_PER_S);
	uint64_t billed_ns = governor_billed_ns(0);
	governor_settle_context(fake_context(0)); /* reads what may be read */
	assert_int_equal(governor_billed_ns(0), billed_ns);
	governor_keep_context(fake_context(0));
	governor_keep_context(fake_context(0));
	governor_settle_context(fake_context(0));
	assert_in_range(governor_billed_ns(0), NS_PER_MS - 1000, NS_PER_MS + 1000);
	assert_int_equal(fake.events_alive, 0);
}

/* The teardown looks for events that are used after this. */
static void lost_context_pays_for_the_time_since_admission(void **state)
{
	(void)state;
	governor_tighten_share(0, QUARTER);
	launch(KERNEL, NULL, NS_PER_S);
	fake_pass(3 * NS_PER_MS);

	governor_settle_context(fake_context(0));
	fake_destroy_context(fake_context(0));
	governor_lose_context(fake_context(0));

	assert_int_equal(governor_billed_ns(0), 3 * NS_PER_MS);
	fake.context = fake_context(1);
	for (unsigned i = 0; i < 100; i++) {
		launch(KERNEL + 1, fake_stream(1), NS_PER_MS);
		fake_synchronize(fake_stream(1));
	}
	assert_in_range(governor_billed_ns(0), 101 * NS_PER_MS, 104 * NS_PER_MS);
}

/* Between the death of a context and the word of it another thread launches in another. The
 * teardown looks for events that are used. */
static void dying_context_is_not_touched(void **state)
{
	(void)state;
	governor_tighten_share(0, QUARTER);
	launch(KERNEL, NULL, NS_PER_MS);
	governor_settle_context(fake_context(0));
	fake_destroy_context(fake_context(0));
	for (unsigned i = 0; i < 10; i++) {
		fake.context = fake_context(1);
		launch(KERNEL + 1, fake_stream(1), NS_PER_MS);
		fake_synchronize(fake_stream(1));
		fake.context =
			fake_context(0); /* a mistake of the program's, that is only its own */
		launch(KERNEL + 2, fake_stream(2), NS_PER_MS);
	}
	assert_int_equal(fake.violations, 0);
	governor_lose_context(fake_context(0));
	assert_true(governor_billed_ns(0) >= 11 * NS_PER_MS);
}

static void context_lost_between_admission_and_launch_is_survived(void **state)
{
	struct ticket ticket;

	(void)state;
	governor_tighten_share(0, QUARTER);
	governor_admit(KERNEL, NULL, NULL, &ticket);
	governor_lose_context(fake_context(0));
	governor_submitted(&ticket, CUDA_SUCCESS);

	assert_int_equal(governor_billed_ns(0), COSTS_UNKNOWN_NS);
	launch(KERNEL, NULL, NS_PER_MS);
	fake_synchronize(NULL);
	governor_settle_context(fake_context(0));
	assert_in_range(governor_billed_ns(0), COSTS_UNKNOWN_NS + NS_PER_MS - 1000,
		COSTS_UNKNOWN_NS + NS_PER_MS + 1000);
}

static void foreign_context_lost_changes_nothing(void **state)
{
	(void)state;
	governor_tighten_share(0, QUARTER);
	launch(KERNEL, NULL, NS_PER_MS);

	governor_lose_context(fake_context(7));

	assert_int_equal(governor_billed_ns(0), COSTS_UNKNOWN_NS);
}

static void command_without_events_is_billed_as_predicted(void **state)
{
	(void)state;
	governor_tighten_share(0, QUARTER);
	fake.create_result = CUDA_ERROR_OUT_OF_MEMORY;
	for (unsigned i = 0; i < 100; i++)
		launch(KERNEL, NULL, NS_PER_MS);

	assert_int_equal(governor_billed_ns(0), 100 * COSTS_UNKNOWN_NS);
	assert_true(fake.slept_ns > 0); /* and held to its share by that */
	assert_int_equal(fake.events_alive, 0);
}

static void command_whose_begin_is_refused_is_billed_as_predicted(void **state)
{
	(void)state;
	governor_tighten_share(0, QUARTER);
	fake.record_result = CUDA_ERROR_INVALID_HANDLE;
	for (unsigned i = 0; i < 100; i++)
		launch(KERNEL, NULL, NS_PER_MS);

	assert_int_equal(governor_billed_ns(0), 100 * COSTS_UNKNOWN_NS);
	assert_in_range(fake.events_alive, 0, 2); /* one pair, used again and again */
}

static void contexts_beyond_the_meters_are_billed_as_predicted(void **state)
{
	(void)state;
	governor_tighten_share(0, 900000);
	for (unsigned i = 0; i < 64; i++) {
		fake.context = fake_context(i);
		launch(0x100 + 16 * i, NULL, NS_PER_MS);
		fake_synchronize(NULL);
	}
	fake.context = fake_context(64);
	launch(0x900, NULL, NS_PER_MS); /* harvests the others */

	assert_in_range(governor_billed_ns(0), 64 * NS_PER_MS + COSTS_UNKNOWN_NS - 64000,
		64 * NS_PER_MS + COSTS_UNKNOWN_NS + 64000);
}

static void error_from_event_query_bills_as_predicted_and_goes_on(void **state)
{
	(void)state;
	governor_tighten_share(0, 500000);
	launch(KERNEL, NULL, NS_PER_MS);
	fake.query_result = CUDA_ERROR_ILLEGAL_ADDRESS;
	launch(KERNEL, NULL, NS_PER_MS);
	assert_int_equal(governor_billed_ns(0), 2 * COSTS_UNKNOWN_NS);

	fake.query_result = CUDA_SUCCESS;
	uint64_t used_ns = keep_busy(NS_PER_MS, 10 * NS_PER_S, true);
	assert_in_range(
		used_ns, 5 * NS_PER_S - 3 * NS_PER_MS, 5 * NS_PER_S + BURST_NS + 2 * NS_PER_MS);
}

/* What had ended before a pause, and can be asked no more after it, was billed the whole pause. */
static void error_after_a_pause_does_not_bill_the_pause(void **state)
{
	(void)state;
	governor_tighten_share(0, QUARTER);
	launch(KERNEL, NULL, NS_PER_MS);
	fake_pass(3600 * NS_PER_S);
	fake.query_result = CUDA_ERROR_ILLEGAL_ADDRESS;
	launch(KERNEL, NULL, NS_PER_MS);

	assert_int_equal(governor_billed_ns(0), 2 * COSTS_UNKNOWN_NS);
	assert_int_equal(fake.slept_ns, 0);
}

/* A program that launches for hours must not collect events. */
static void events_are_used_again(void **state)
{
	(void)state;
	governor_tighten_share(0, QUARTER);
	keep_busy(50 * NS_PER_US, 30 * NS_PER_S, false);

	assert_in_range(fake.events_alive, 2, 260);
}

static void many_kernels_of_many_lengths_get_the_share_together(void **state)
{
	uint64_t random = 23, begin_ns;

	(void)state;
	governor_tighten_share(0, 700000);
	begin_ns = fake.now_ns;
	while (fake.now_ns - begin_ns < 60 * NS_PER_S) {
		uint64_t kernel = 0x100 + 16 * random_between(&random, 0, 63);
		launch(kernel, fake_stream(1),
			(kernel - 0x100) * NS_PER_US + random_between(&random, 1, 1000));
	}

	assert_in_range(
		fake.run_ns, 42 * NS_PER_S * 99 / 100, 42 * NS_PER_S + BURST_NS + 4 * NS_PER_MS);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static void launches_that_nothing_holds_come_by_for_news(void **state)
{
	struct ticket ticket;

	(void)state;
	governor_set_device_count(1);
	governor_set_share(0, PPM_WHOLE);
	for (unsigned i = 0; i < 2; i++) {
		governor_look_again();
		assert_true(governor_spend(KERNEL, NULL, &ticket));
		atomic_store(&watch_has_news, true);
		governor_look_again();
		assert_false(governor_spend(KERNEL, NULL, &ticket));
		launch(KERNEL, NULL, 1000);
		assert_false(atomic_load(&watch_has_news));
		assert_true(governor_spend(KERNEL, NULL, &ticket));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(share_never_set_is_whole),
		CASE(tighten_never_loosens),
		CASE(device_without_share_is_not_touched),
		CASE(busy_program_that_synchronizes_gets_its_share),
		CASE(busy_program_that_queues_gets_its_share),
		CASE(busy_program_gets_a_large_share_though_sleeps_end_late),
		CASE(kernels_longer_than_the_burst_get_their_share),
		CASE(streams_run_beside_each_other),
		CASE(bill_is_what_ran),
		CASE(bill_stays_exact_for_hours),
		CASE(program_bound_by_its_host_is_not_slowed),
		CASE(kernels_beside_each_other_are_billed_once),
		CASE(burst_after_a_pause_is_bounded),
		CASE(tighten_while_running_takes_effect),
		CASE(failed_launch_costs_nothing),
		CASE(capturing_stream_is_passed_through_untouched),
		CASE(legacy_stream_beside_a_capture_is_passed_through),
		CASE(launch_without_a_context_is_left_to_the_driver),
		CASE(settled_context_has_paid_and_leaves_nothing),
		CASE(settled_context_that_lives_on_is_measured_on),
		CASE(context_that_two_may_end_is_left_alone),
		CASE(lost_context_pays_for_the_time_since_admission),
		CASE(dying_context_is_not_touched),
		CASE(context_lost_between_admission_and_launch_is_survived),
		CASE(foreign_context_lost_changes_nothing),
		CASE(command_without_events_is_billed_as_predicted),
		CASE(command_whose_begin_is_refused_is_billed_as_predicted),
		CASE(contexts_beyond_the_meters_are_billed_as_predicted),
		CASE(error_from_event_query_bills_as_predicted_and_goes_on),
		CASE(error_after_a_pause_does_not_bill_the_pause),
		CASE(events_are_used_again),
		CASE(many_kernels_of_many_lengths_get_the_share_together),
		CASE(launches_that_nothing_holds_come_by_for_news),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
