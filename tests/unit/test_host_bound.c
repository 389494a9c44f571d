/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What a program that waits for each of its kernels gets beside one that keeps the device busy, and
 * what is left for that: in virtual time, over lengths of kernels, of pauses, and shares.
 */
#include "tenants.h"
#include "unit.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "governor/governor.h"

#define WARM_UP_NS NS_PER_S
#define SPAN_NS    (2 * NS_PER_S)

#define LEAST       95.0 /* % of its due */
#define LEAST_OTHER 90.0 /* % of what it may have */
#define LEAST_USED  85.0 /* % of what is billed */

/* As books.c and token_gaps.c have it. */
#define KEPT_NS      (100 * NS_PER_US) /* what the other has in flight beyond one kernel */
#define SHORT_GAP_NS (100 * NS_PER_US) /* shorter ones are left alone, */
#define LONG_GAP_NS  (200 * NS_PER_US) /* and those between only filled with what fits */

struct host_bound {
	unsigned percent, other_percent;
	uint64_t kernel_ns, think_ns, other_kernel_ns;
};

static int setup(void **state)
{
	(void)state;
	tenants_reset();
	return 0;
}

static double ms(uint64_t ns)
{
	return (double)ns / NS_PER_MS;
}

static double lesser(double a, double b)
{
	return a < b ? a : b;
}

static void add_host_bound(unsigned percent, uint64_t kernel_ns, uint64_t think_ns)
{
	struct tenant *tenant = tenants_add(percent, kernel_ns);

	tenant->syncs = true;
	tenant->think_ns = think_ns;
}

static uint64_t gap_of(const struct host_bound *pair)
{
	return pair->think_ns + TENANTS_LATE_NS;
}

/* The device has none of its work for so much of the time, whatever else there is. */
static double alone_percent(const struct host_bound *pair)
{
	return 100.0 * (double)pair->kernel_ns / (double)(pair->kernel_ns + gap_of(pair));
}

/* Each time that it comes back it finds at most one kernel of the other, and what that keeps ready
 * behind it. */
static double bound_where_filled(const struct host_bound *pair)
{
	uint64_t cycle_ns = pair->kernel_ns + gap_of(pair) + pair->other_kernel_ns + KEPT_NS;

	return 100.0 * (double)pair->kernel_ns / (double)cycle_ns;
}

/* Nobody uses its gaps. The two need more time than there is, and get equal parts of it for their
 * shares. */
static double bound_where_not_filled(const struct host_bound *pair)
{
	double needs = pair->percent / alone_percent(pair) + pair->other_percent / 100.0;

	return needs > 1 ? pair->percent / needs : pair->percent;
}

static double due_of(const struct host_bound *pair)
{
	double due = lesser(pair->percent, alone_percent(pair));

	if (gap_of(pair) >= SHORT_GAP_NS)
		due = lesser(due, bound_where_filled(pair));
	if (gap_of(pair) < LONG_GAP_NS)
		due = lesser(due, bound_where_not_filled(pair));
	return due;
}

static void assert_at_least(
	const struct host_bound *pair, const char *what, double value, double least)
{
	if (value < least)
		print_error("%u %% of %g and %g ms, beside %u %% of %g ms: %s %.2f %%, not %.2f\n",
			pair->percent, ms(pair->kernel_ns), ms(pair->think_ns), pair->other_percent,
			ms(pair->other_kernel_ns), what, value, least);
	assert_true(value >= least);
}

/* What each used, in percent of the time; and was billed, in percent of that. */
struct found {
	double used[TENANTS_MAX], billed[2];
};

static struct found measure(const struct host_bound *pair)
{
	struct found found;
	uint64_t billed_ns[2];

	tenants_reset();
	add_host_bound(pair->percent, pair->kernel_ns, pair->think_ns);
	tenants_add(pair->other_percent, pair->other_kernel_ns);
	tenants_run(WARM_UP_NS);
	for (unsigned i = 0; i < 2; i++)
		billed_ns[i] = governor_billed_ns(i);
	tenants_measure(SPAN_NS, found.used);
	for (unsigned i = 0; i < 2; i++)
		found.billed[i] = 1e4 * (double)(governor_billed_ns(i) - billed_ns[i]) /
				  (double)SPAN_NS / found.used[i];
	return found;
}

static const unsigned shares[][2] = {{50, 50}, {30, 70}, {10, 90}, {25, 50}, {70, 30}};
static const uint64_t patterns_ns[][2] = {
	{100 * NS_PER_US, 0},
	{100 * NS_PER_US, 100 * NS_PER_US},
	{100 * NS_PER_US, 300 * NS_PER_US},
	{100 * NS_PER_US, 900 * NS_PER_US},
	{300 * NS_PER_US, 300 * NS_PER_US},
	{500 * NS_PER_US, 500 * NS_PER_US},
	{NS_PER_MS, 0},
	{NS_PER_MS, NS_PER_MS},
	{NS_PER_MS, 9 * NS_PER_MS},
	{2 * NS_PER_MS, NS_PER_MS},
	{5 * NS_PER_MS, 5 * NS_PER_MS},
	{10 * NS_PER_MS, 0},
};

static void assert_pair(const struct host_bound *pair)
{
	struct found found = measure(pair);

	assert_at_least(pair, "it uses", found.used[0], due_of(pair) * LEAST / 100);
	/* Where its gaps are filled the other loses nothing by it. */
	if (gap_of(pair) >= LONG_GAP_NS)
		assert_at_least(pair, "the other uses", found.used[1],
			lesser(pair->other_percent, 100 - found.used[0]) * LEAST_OTHER / 100);
	for (unsigned i = 0; i < 2; i++)
		assert_at_least(
			pair, "of what one is billed it uses", 1e4 / found.billed[i], LEAST_USED);
}

static void host_bound_tenant_waits_for_one_kernel_of_the_other(void **state)
{
	static const uint64_t others_ns[] = {
		20 * NS_PER_US, 100 * NS_PER_US, 500 * NS_PER_US, NS_PER_MS, 10 * NS_PER_MS};

	(void)state;
	for (unsigned s = 0; s < ARRAY_LEN(shares); s++) {
		for (unsigned p = 0; p < ARRAY_LEN(patterns_ns); p++) {
			for (unsigned o = 0; o < ARRAY_LEN(others_ns); o++)
				assert_pair(&(struct host_bound){shares[s][0], shares[s][1],
					patterns_ns[p][0], patterns_ns[p][1], others_ns[o]});
		}
	}
}

/* Beside kernels that are short for its gaps it is hardly slowed at all. */
static void host_bound_tenant_keeps_what_it_uses_beside_short_kernels(void **state)
{
	static const uint64_t some_ns[][2] = {{100 * NS_PER_US, 900 * NS_PER_US},
		{500 * NS_PER_US, 500 * NS_PER_US}, {NS_PER_MS, NS_PER_MS},
		{2 * NS_PER_MS, NS_PER_MS}, {NS_PER_MS, 9 * NS_PER_MS}};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(some_ns); i++) {
		struct host_bound pair = {50, 50, some_ns[i][0], some_ns[i][1], 100 * NS_PER_US};
		struct found found = measure(&pair);
		assert_at_least(&pair, "it uses", found.used[0],
			lesser(pair.percent, alone_percent(&pair)) * LEAST / 100);
		assert_at_least(&pair, "the other uses", found.used[1], 49);
	}
}

/* These figures stand in docs/configuration.md: of its due when it is alone, in percent. */
static void host_bound_tenant_keeps_what_the_documents_say(void **state)
{
	static const struct {
		struct host_bound pair;
		unsigned kept;
	} told[] = {
		{{50, 50, 500 * NS_PER_US, 500 * NS_PER_US, 100 * NS_PER_US}, 96},
		{{50, 50, 500 * NS_PER_US, 500 * NS_PER_US, 500 * NS_PER_US}, 87},
		{{50, 50, 500 * NS_PER_US, 500 * NS_PER_US, NS_PER_MS}, 53},
		{{50, 50, 100 * NS_PER_US, 0, 100 * NS_PER_US}, 80},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(told); i++) {
		const struct host_bound *pair = &told[i].pair;
		struct found found = measure(pair);
		double kept = 100 * found.used[0] / lesser(pair->percent, alone_percent(pair));
		print_message("%u: %.1f %%, and the other uses %.1f %%\n", i, kept, found.used[1]);
		assert_in_range((unsigned)(kept + 0.5), told[i].kept - 1, told[i].kept + 1);
	}
}

/* Each has its gaps filled by the others. */
static void several_host_bound_tenants_get_their_shares(void **state)
{
	double used[TENANTS_MAX];

	(void)state;
	add_host_bound(30, 500 * NS_PER_US, 500 * NS_PER_US);
	add_host_bound(30, NS_PER_MS, NS_PER_MS);
	tenants_add(40, NS_PER_MS);
	tenants_run(WARM_UP_NS);
	tenants_measure(SPAN_NS, used);
	assert_true(used[0] >= 29 && used[1] >= 29 && used[2] >= 39);
}

static uint64_t changes_of_holder(void)
{
	return word_load(&tenants[0].seat.segment->holder) >> 16;
}

/* Who keeps the device busy has turns of the quantum, whatever it launches. */
static void turns_of_queues_are_as_long_as_the_quantum(void **state)
{
	static const uint64_t kernels_ns[] = {20 * NS_PER_US, 100 * NS_PER_US, NS_PER_MS};

	for (unsigned i = 0; i < ARRAY_LEN(kernels_ns); i++) {
		setup(state);
		tenants_add(50, kernels_ns[i]);
		tenants_add(50, kernels_ns[i]);
		tenants_run(WARM_UP_NS);
		uint64_t changes = changes_of_holder();
		tenants_run(SPAN_NS);
		assert_in_range(changes_of_holder() - changes, 1,
			11 * SPAN_NS / (10 * 2 * TOKEN_QUANTUM_NS));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(host_bound_tenant_waits_for_one_kernel_of_the_other, setup),
		cmocka_unit_test_setup(
			host_bound_tenant_keeps_what_it_uses_beside_short_kernels, setup),
		cmocka_unit_test_setup(host_bound_tenant_keeps_what_the_documents_say, setup),
		cmocka_unit_test_setup(several_host_bound_tenants_get_their_shares, setup),
		cmocka_unit_test_setup(turns_of_queues_are_as_long_as_the_quantum, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
