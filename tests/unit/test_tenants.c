/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What tenants get beside each other, in virtual time.
 */
#include "tenants.h"
#include "unit.h"
#include "base/clock.h"
#include "base/compiler.h"

static int setup(void **state)
{
	(void)state;
	tenants_reset();
	return 0;
}

static void assert_near(double value, double wanted, double within)
{
	if (value < wanted - within || value > wanted + within)
		print_error("%.2f, not %.2f within %.2f\n", value, wanted, within);
	assert_true(value >= wanted - within && value <= wanted + within);
}

/* Nobody knows yet how long the long ones are: of those that are let go one by one, as if the first
 * had stalled, few enough run that they are made up for within 3 s. */
static void long_kernels_beside_short_ones_lose_nothing(void **state)
{
	double used[TENANTS_MAX];

	(void)state;
	tenants_add(50, 200 * NS_PER_MS);
	tenants_add(50, 100 * NS_PER_US);
	tenants_run(3 * NS_PER_S);
	tenants_measure(5 * NS_PER_S, used);
	assert_near(used[0], 50, 3);
	assert_near(used[1], 50, 3);
	tenants_run(2 * NS_PER_S);
	tenants_measure(10 * NS_PER_S, used);
	assert_true(used[0] + used[1] >= 98);
	assert_near(used[0], 50, 1);
}

/* Nobody knows how long it takes, and its process does not sleep: it asks for room again and again,
 * tells others that it is late, and lets a few more go past it. */
static void others_run_on_when_a_kernel_hangs(void **state)
{
	for (uint64_t at_ns = 0; at_ns < 20 * NS_PER_MS; at_ns += 370 * NS_PER_US) {
		setup(state);
		tenants_add(50, NS_PER_MS / 10);
		tenants_add(50, NS_PER_MS / 10);
		tenants_run(100 * NS_PER_MS + at_ns);
		tenants[0].kernel_ns = 5 * NS_PER_S;
		while (tenants_queued(&tenants[0], NS_PER_S) == 0)
			tenants_run(TENANTS_STEP_NS);
		uint64_t used_ns = tenants[1].used_ns, begun_at_ns = tenants_now_ns;
		while (tenants[1].used_ns < used_ns + 2 * NS_PER_MS)
			tenants_run(TENANTS_STEP_NS);
		assert_in_range(tenants_now_ns - begun_at_ns, 0, 100 * NS_PER_MS);
	}
}

/* All begin at once, before anybody knows how long kernels take. What is billed and told of those
 * that are let go meanwhile is set right as soon as the first has ended. */
static void shares_hold_soon_after_a_common_start(void **state)
{
	static const uint64_t lengths_ns[] = {
		NS_PER_MS, 10 * NS_PER_MS, 20 * NS_PER_MS, 50 * NS_PER_MS};
	static const unsigned shares[] = {40, 30, 20, 10};
	double used[TENANTS_MAX];

	for (unsigned l = 0; l < ARRAY_LEN(lengths_ns); l++) {
		double sum = 0;
		setup(state);
		for (unsigned i = 0; i < ARRAY_LEN(shares); i++)
			tenants_add(shares[i], lengths_ns[l]);
		tenants_run(NS_PER_S / 2);
		tenants_measure(4 * NS_PER_S, used);
		print_message("%g ms: %.2f, %.2f, %.2f, %.2f %%\n", (double)lengths_ns[l] / 1e6,
			used[0], used[1], used[2], used[3]);
		for (unsigned i = 0; i < ARRAY_LEN(shares); i++) {
			assert_near(used[i], shares[i], 2);
			sum += used[i];
		}
		assert_true(sum >= 99);
	}
}

/* The last of what the queue has on the device runs beside the first of them in each turn, and then
 * the device is idle. What is billed of them is theirs alone. */
static void short_kernels_that_are_waited_for_get_their_share(void **state)
{
	double used[TENANTS_MAX];

	for (uint64_t think_ns = 0; think_ns < 40 * NS_PER_US; think_ns += 10 * NS_PER_US) {
		setup(state);
		tenants_add(70, NS_PER_MS);
		struct tenant *waits = tenants_add(10, 100 * NS_PER_US);
		waits->syncs = true;
		waits->think_ns = think_ns;
		tenants_run(NS_PER_S / 2);
		tenants_measure(4 * NS_PER_S, used);
		assert_near(used[0], 70, 0.5);
		assert_near(used[1], 10, 0.5);
	}
}

/* A device on which eight of their kernels fit at once, or one and most of the next, or one: what
 * they cover together is their GPU time, of which nothing is their neighbour's. */
static void eight_streams_beside_a_queue_get_their_share(void **state)
{
	static const unsigned places[] = {264, 60, 32}, shares[] = {10, 30, 50, 70, 90};
	static const uint64_t lengths_ns[] = {100 * NS_PER_US, NS_PER_MS, 10 * NS_PER_MS};
	const unsigned cases = ARRAY_LEN(places) * ARRAY_LEN(shares) * ARRAY_LEN(lengths_ns);
	double used[TENANTS_MAX];

	for (unsigned i = 0; i < cases; i++) {
		unsigned share = shares[i % ARRAY_LEN(shares)];
		uint64_t length_ns = lengths_ns[i / ARRAY_LEN(shares) % ARRAY_LEN(lengths_ns)];
		setup(state);
		tenants_places = places[i / ARRAY_LEN(shares) / ARRAY_LEN(lengths_ns)];
		struct tenant *streams = tenants_add(share, length_ns);
		streams->blocks = 32;
		streams->stream_count = 8;
		tenants_add(100 - share, NS_PER_MS)->blocks = 32;
		tenants_run(NS_PER_S);
		tenants_measure(4 * NS_PER_S, used);
		print_message("%u places, %g ms, %u %%: %.2f and %.2f %%\n", tenants_places,
			(double)length_ns / 1e6, share, used[0], used[1]);
		assert_near(used[0], share, 2);
		assert_near(used[1], 100 - share, 2);
		assert_true(used[0] + used[1] >= 97);
	}
}

/* From then on, and for good. Its launch, if it waits, never goes. */
static void go_away(struct tenant *tenant)
{
	tenant->wakes_at_ns = UINT64_MAX;
	token_clear(tenant->seat.segment, tenant->seat.slot);
}

/* While the other has the device, what is earned is kept; what is earned while nobody wants
 * anything is not, also where the other went while we waited for it. */
static void idle_time_after_the_last_neighbour_is_not_kept(void **state)
{
	for (uint64_t at_ns = 0; at_ns < 20 * NS_PER_MS; at_ns += 3700 * NS_PER_US) {
		setup(state);
		tenants_add(20, NS_PER_MS)->syncs = true;
		tenants_add(80, 5 * NS_PER_MS);
		tenants_run(200 * NS_PER_MS + at_ns);
		go_away(&tenants[1]);
		tenants[0].think_ns = 3 * NS_PER_S;
		tenants_run(3 * NS_PER_S);
		tenants[0].think_ns = 0;
		tenants_run(200 * NS_PER_MS);
		uint64_t used_ns = tenants[0].used_ns;
		tenants_run(300 * NS_PER_MS);
		assert_in_range(tenants[0].used_ns - used_ns, 50 * NS_PER_MS, 100 * NS_PER_MS);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(long_kernels_beside_short_ones_lose_nothing, setup),
		cmocka_unit_test_setup(others_run_on_when_a_kernel_hangs, setup),
		cmocka_unit_test_setup(idle_time_after_the_last_neighbour_is_not_kept, setup),
		cmocka_unit_test_setup(shares_hold_soon_after_a_common_start, setup),
		cmocka_unit_test_setup(short_kernels_that_are_waited_for_get_their_share, setup),
		cmocka_unit_test_setup(eight_streams_beside_a_queue_get_their_share, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
