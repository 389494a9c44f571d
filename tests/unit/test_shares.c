/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The whole matrix of shares, lengths of kernels and ways to launch them, in virtual time, so that
 * it is exact and the same each time: GPU time over 10 s within half a point of the share, or of
 * what the program uses without one where that is less; its seconds alike, and without stalls.
 */
#include "unit.h"
#include "base/clock.h"
#include "fake_driver.h"
#include "governor/governor.h"

#include <math.h>

#define WINDOWS 10 /* of a second */
/* So many are enough for commands below this length, which are many. */
#define FEW_WINDOWS   3
#define MANY_BELOW_NS (100 * NS_PER_US)
#define WARM_UP_NS    (NS_PER_S) /* the burst is used up by then */

/* Sanitizers make this slow, and find nothing new in more shares. */
#if defined(__SANITIZE_THREAD__)
#define SHARES 10
#elif defined(__SANITIZE_ADDRESS__)
#define SHARES 10, 90
#else
#define SHARES 5, 10, 25, 30, 50, 70, 90
#endif

/* Work done in the time that was used, of what is done in it without a share: streams that run
 * beside each other must go on doing so. */
#define LEAST_KEPT 0.6

/* The same where a turn waits for GPU time and has room for several commands of each stream. */
#define LEAST_KEPT_IN_TURNS 0.85

/* Standard deviation of the windows, in points, and time without the GPU. A command of 10 ms comes
 * every 200 ms with 5 %, so that the latter is looked at from 10 % on. */
#define MOST_SD      2.0
#define MOST_IDLE_NS (200 * NS_PER_MS)
#define IDLE_FROM    10

enum pattern { SYNC, QUEUE, GRAPH, STREAMS_IN_TURN, STREAMS_BESIDE, PATTERNS };

static const char *const pattern_names[PATTERNS] = {
	"sync each", "deep queue", "graphs", "8 streams in turn", "8 streams beside each other"};

static void launch(uint64_t key, CUstream stream, uint64_t length_ns)
{
	struct ticket ticket;

	governor_admit(key, stream, stream, &ticket);
	fake_launch(stream, length_ns);
	governor_submitted(&ticket, CUDA_SUCCESS);
}

/* A real queue has an end: who fills it waits. */
static void wait_for_room(CUstream stream, uint64_t length_ns)
{
	uint64_t depth_ns = 8 * length_ns > 4 * NS_PER_MS ? 8 * length_ns : 4 * NS_PER_MS;

	fake_wait_for_backlog(stream, depth_ns);
}

static void run(enum pattern pattern, uint64_t length_ns, uint64_t span_ns)
{
	uint64_t until_ns = fake.now_ns + span_ns;

	for (unsigned i = 0; fake.now_ns < until_ns; i++) {
		CUstream stream = fake_stream(pattern >= STREAMS_IN_TURN ? i % FAKE_STREAMS : 1);
		launch(pattern == GRAPH ? 0x200 : 0x100, stream, length_ns);
		if (pattern == SYNC)
			fake_synchronize(stream);
		else
			wait_for_room(stream, length_ns);
	}
}

/* What a program did: percent of the time in which the GPU was used, and kernels' lengths together
 * in percent of the time, which is more where they ran beside each other. */
struct use {
	double percent, work_percent;
	double sd;
	uint64_t idle_ns; /* the longest */
};

static double sd_of(const double *values, unsigned count)
{
	double sum = 0, squares = 0;

	for (unsigned i = 0; i < count; i++)
		sum += values[i];
	for (unsigned i = 0; i < count; i++)
		squares += (values[i] - sum / count) * (values[i] - sum / count);
	return sqrt(squares / (count - 1));
}

/* Percent of the time in which the GPU is used in the next second. */
static double use_of_second(enum pattern pattern, uint64_t length_ns)
{
	uint64_t begin_ns = fake.now_ns, covered_ns = fake.covered_ns;

	run(pattern, length_ns, NS_PER_S);
	return 100.0 * (double)(fake.covered_ns - covered_ns) / (double)(fake.now_ns - begin_ns);
}

static struct use use_of(enum pattern pattern, uint64_t length_ns, unsigned share_percent)
{
	fake_reset();
	fake.host_ns = 2 * NS_PER_US;
	fake.late_ns = 60 * NS_PER_US;
	fake.is_serial = pattern != STREAMS_BESIDE;
	if (!governor_init())
		fail_msg("no memory");
	governor_set_device_count(1);
	if (share_percent < 100)
		governor_tighten_share(0, share_percent * 10000);
	run(pattern, length_ns, WARM_UP_NS);
	uint64_t begin_ns = fake.now_ns, covered_ns = fake.covered_ns, run_ns = fake.run_ns;
	unsigned windows = length_ns < MANY_BELOW_NS ? FEW_WINDOWS : WINDOWS;
	double seconds[WINDOWS];
	fake.idle_ns = 0;
	for (unsigned i = 0; i < windows; i++)
		seconds[i] = use_of_second(pattern, length_ns);
	assert_int_equal(fake.violations, 0);
	double span_ns = (double)(fake.now_ns - begin_ns);
	return (struct use){
		.percent = 100.0 * (double)(fake.covered_ns - covered_ns) / span_ns,
		.work_percent = 100.0 * (double)(fake.run_ns - run_ns) / span_ns,
		.sd = sd_of(seconds, windows),
		.idle_ns = fake.idle_ns,
	};
}

static double least_kept(uint64_t length_ns, unsigned share_percent)
{
	bool has_turns =
		share_percent <= 50 && length_ns >= 100 * NS_PER_US && length_ns <= NS_PER_MS;

	return has_turns ? LEAST_KEPT_IN_TURNS : LEAST_KEPT;
}

static void shares_hold(enum pattern pattern)
{
	static const unsigned shares[] = {SHARES};
	static const uint64_t lengths_ns[] = {
		20 * NS_PER_US, 100 * NS_PER_US, NS_PER_MS, 10 * NS_PER_MS};
	unsigned misses = 0;

	for (unsigned l = 0; l < ARRAY_LEN(lengths_ns); l++) {
		struct use bare = use_of(pattern, lengths_ns[l], 100);
		for (unsigned s = 0; s < ARRAY_LEN(shares); s++) {
			struct use use = use_of(pattern, lengths_ns[l], shares[s]);
			double wanted = bare.percent < shares[s] ? bare.percent : shares[s];
			double kept = use.work_percent * bare.percent / bare.work_percent / wanted;
			bool is_missed = use.percent < wanted - 0.5 || use.percent > wanted + 0.5 ||
					 kept < least_kept(lengths_ns[l], shares[s]) ||
					 use.sd > MOST_SD ||
					 (shares[s] >= IDLE_FROM && use.idle_ns > MOST_IDLE_NS);
			misses += is_missed;
			print_message("%-28s %8.2f ms %3u %%: %6.2f of %6.2f, sd %.2f, idle %.1f "
				      "ms, work %.2f%s\n",
				pattern_names[pattern], (double)lengths_ns[l] / 1e6, shares[s],
				use.percent, wanted, use.sd, (double)use.idle_ns / 1e6, kept,
				is_missed ? "  <-- missed" : "");
		}
	}
	assert_int_equal(misses, 0);
}

static void shares_hold_for_kernels_that_are_waited_for(void **state)
{
	(void)state;
	shares_hold(SYNC);
}

static void shares_hold_for_deep_queues(void **state)
{
	(void)state;
	shares_hold(QUEUE);
}

static void shares_hold_for_graphs(void **state)
{
	(void)state;
	shares_hold(GRAPH);
}

static void shares_hold_for_streams_that_take_turns(void **state)
{
	(void)state;
	shares_hold(STREAMS_IN_TURN);
}

static void shares_hold_for_streams_beside_each_other(void **state)
{
	(void)state;
	shares_hold(STREAMS_BESIDE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shares_hold_for_kernels_that_are_waited_for),
		cmocka_unit_test(shares_hold_for_deep_queues),
		cmocka_unit_test(shares_hold_for_graphs),
		cmocka_unit_test(shares_hold_for_streams_that_take_turns),
		cmocka_unit_test(shares_hold_for_streams_beside_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
