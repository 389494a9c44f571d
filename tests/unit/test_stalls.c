/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What is in flight may wait for the launch that the governor holds back: it must never do so for
 * ever. In virtual time.
 */
#include "unit.h"
#include "base/clock.h"
#include "fake_driver.h"
#include "governor/governor.h"

#define KERNEL  0x100ull
#define QUARTER 250000u

static int setup(void **state)
{
	(void)state;
	fake_reset();
	return governor_init() ? 0 : -1;
}

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

/* A stream waits for a value that the host writes once everything is queued behind it: held back
 * by the bound on work in flight, the host never came to write it. */
static void commands_behind_a_gate_are_let_go(void **state)
{
	(void)state;
	governor_tighten_share(0, QUARTER);
	launch(KERNEL, fake_stream(1), 1000 * NS_PER_S);
	uint64_t begin_ns = fake.now_ns;

	for (unsigned i = 0; i < 200; i++) /* more than can be remembered */
		launch(KERNEL + 1, fake_stream(1), NS_PER_MS);

	assert_in_range(fake.now_ns - begin_ns, 1, 5 * NS_PER_S);
}

/* Kernels that spin for a partner, as collectives do, must not use up the places of those that
 * come and go. */
static void spinning_kernels_do_not_hold_up_others(void **state)
{
	(void)state;
	governor_tighten_share(0, 900000);
	for (unsigned i = 1; i <= 5; i++)
		launch(KERNEL + i, fake_stream(i), 1000 * NS_PER_S);
	uint64_t begin_ns = fake.now_ns;

	for (unsigned i = 0; i < 1000; i++) {
		launch(KERNEL, fake_stream(7), 10 * NS_PER_US);
		fake_synchronize(fake_stream(7));
	}

	assert_in_range(fake.now_ns - begin_ns, 1, 20 * NS_PER_S);
}

/* On a stream of its own, by another thread, which is never held up itself. */
static void move_on(void)
{
	void (*on_sleep)(void) = fake.on_sleep;

	fake.on_sleep = NULL;
	launch(KERNEL, fake_stream(7), 10 * NS_PER_US);
	fake_synchronize(fake_stream(7));
	fake.on_sleep = on_sleep;
	if (fake.now_ns > 1100 * NS_PER_S)
		fail_msg("held up for ever");
}

/* As long as anything ended the gate was not seen. */
static void commands_behind_a_gate_are_let_go_while_others_move(void **state)
{
	(void)state;
	governor_tighten_share(0, 900000);
	for (unsigned i = 0; i < 3; i++) {
		launch(KERNEL + 1, fake_stream(1), 5 * NS_PER_MS);
		fake_synchronize(fake_stream(1));
	}
	launch(KERNEL + 1, fake_stream(1), 1000 * NS_PER_S);
	uint64_t begin_ns = fake.now_ns;

	fake.on_sleep = move_on;
	for (unsigned i = 0; i < 100; i++)
		launch(KERNEL + 2, fake_stream(1), NS_PER_MS);

	assert_in_range(fake.now_ns - begin_ns, NS_PER_S, 10 * NS_PER_S);
}

/* Twice what it should take is waited for once, not for each command behind it. */
static void long_kernel_that_stalls_holds_up_others_once(void **state)
{
	(void)state;
	governor_tighten_share(0, 900000);
	launch(KERNEL, fake_stream(1), 5 * NS_PER_S);
	fake_synchronize(fake_stream(1));
	launch(KERNEL, fake_stream(1), 1000 * NS_PER_S);
	uint64_t begin_ns = fake.now_ns;

	for (unsigned i = 0; i < 100; i++)
		launch(KERNEL + 1, fake_stream(1), NS_PER_MS);

	assert_in_range(fake.now_ns - begin_ns, 10 * NS_PER_S, 15 * NS_PER_S);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(commands_behind_a_gate_are_let_go),
		CASE(spinning_kernels_do_not_hold_up_others),
		CASE(commands_behind_a_gate_are_let_go_while_others_move),
		CASE(long_kernel_that_stalls_holds_up_others_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
