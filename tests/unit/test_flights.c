/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Bills of single flights, with a meter that reads what the test says: what comes only of several
 * kinds that fall on the same places of the costs, and in one order.
 */
#include "unit.h"
#include "base/units.h"
#include "governor/flights.h"
#include "token/token_protocol.h"

#include <stdlib.h>

#define BEGIN_NS (10 * NS_PER_S)
#define KNOWN_NS (900 * NS_PER_US)

static struct device *dev;
static struct costs costs;

uint64_t token_others_drain_ns(struct token_seat *seat, uint64_t now_ns)
{
	(void)seat;
	(void)now_ns;
	return 0;
}

uint64_t token_others_used_ns(const struct token_seat *seat)
{
	(void)seat;
	return 0;
}

void meter_keep_pair(struct meter *meter, struct meter_pair pair)
{
	(void)meter;
	(void)pair;
}

/* All have ended, after as long as stands in place of the begin. */
enum meter_state meter_read(struct meter *meter, struct meter_pair pair,
	const struct meter_gaps *gaps, const struct meter_times *times,
	struct meter_reading *ret_reading)
{
	uint64_t length_ns = (uintptr_t)pair.begin;

	(void)meter;
	(void)gaps;
	*ret_reading = (struct meter_reading){
		.length_ns = length_ns, .fresh_ns = length_ns, .end_ns = times->now_ns};
	return METER_DONE;
}

static int setup(void **state)
{
	(void)state;
	dev = calloc(1, sizeof(*dev));
	if (dev == NULL)
		return -1;
	costs = (struct costs){0};
	flights_init(dev);
	bucket_init(&dev->bucket, dev->own_words, PPM_WHOLE / 2, 20 * NS_PER_MS, BEGIN_NS);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(dev);
	return 0;
}

/* The next kind that has the same two places as the first one. */
static uint64_t next_beside(uint64_t first, uint64_t after)
{
	do
		after += 64;
	while ((costs_place_of(after) | 1) != (costs_place_of(first) | 1));
	return after;
}

/* Lets one go that will take length_ns. stands_for_ns: as a sample, or 0. */
static void let_go(uint64_t key, uint64_t length_ns, uint64_t stands_for_ns)
{
	const struct command command = {.key = key, .lane = &costs};
	uint64_t predicted_ns = costs_expect(&costs, key, COSTS_UNKNOWN_NS);

	flights_bill(dev, (int64_t)predicted_ns);
	struct flight *flight = flights_begin(dev, &command, predicted_ns, BEGIN_NS);
	assert_non_null(flight);
	flight->meter = &dev->meters[0];
	flight->pair.begin = (CUevent)(uintptr_t)length_ns;
	flight->is_submitted = true;
	flight->stands_for_ns = stands_for_ns;
	flight->since_ns = BEGIN_NS - 2 * NS_PER_MS;
}

/* While two of a known kind are in flight, the second as a sample, another kind takes its place. So
 * the first is the first of its kind once more when it ends, after length_ns. Returns what all were
 * billed. */
static int64_t bill_evicted(uint64_t length_ns)
{
	const uint64_t key = 0x7f0000000000;
	uint64_t beside = next_beside(key, key), newcomer = next_beside(key, beside);

	for (int i = 0; i < 3; i++)
		costs_learn(&costs, key, KNOWN_NS);
	for (int i = 0; i < 9; i++)
		costs_learn(&costs, beside, KNOWN_NS);
	assert_int_equal(costs_expect(&costs, key, 0), KNOWN_NS);
	let_go(newcomer, 100 * NS_PER_US, 0);
	let_go(key, length_ns, 0);
	let_go(key, KNOWN_NS, NS_PER_MS);
	flights_harvest(dev, &costs, MAX_FLIGHTS, BEGIN_NS + 10 * NS_PER_MS);
	assert_null(dev->oldest);
	return atomic_load(&dev->billed_ns);
}

/* It was billed a debt of decades: more was predicted of the sample than it stood for. */
static void sample_of_what_was_evicted_is_billed_as_it_is(void **state)
{
	(void)state;
	assert_int_equal(bill_evicted(5 * NS_PER_MS), 100 * NS_PER_US + 5 * NS_PER_MS + KNOWN_NS);
	assert_int_equal(dev->in_flight_ns, 0);
	assert_int_equal(dev->running_ns, 0);
}

/* What took nothing was predicted of the sample, and divided by. */
static void sample_beside_one_that_took_nothing_is_billed_as_it_is(void **state)
{
	(void)state;
	assert_int_equal(bill_evicted(0), 100 * NS_PER_US + KNOWN_NS);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(sample_of_what_was_evicted_is_billed_as_it_is),
		CASE(sample_beside_one_that_took_nothing_is_billed_as_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
