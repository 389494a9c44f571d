/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Single steps of the token's protocol, on a segment that is nobody else's, at times that the test
 * says. What comes of many steps is for test_token_model.c to say.
 */
#include "unit.h"
#include "base/clock.h"
#include "token/token_protocol.h"

#include <string.h>

#define BEGIN_NS (1000 * NS_PER_S)
#define MAX      TOKEN_SLOTS

static struct token_segment segment;
static struct token_seat seats[MAX];

static int setup(void **state)
{
	(void)state;
	memset(&segment, 0, sizeof(segment));
	memset(seats, 0, sizeof(seats));
	return 0;
}

/* A process at the slot. group 0: alone. */
static struct token_seat *enter(unsigned slot, uint64_t group, uint32_t guarantee_ppm)
{
	const struct token_entitlement entitlement = {.guarantee_ppm = guarantee_ppm, .weight = 1};

	seats[slot] = (struct token_seat){
		.segment = &segment, .slot = slot, .quantum_ns = TOKEN_QUANTUM_NS};
	if (word_load(&segment.slots_used) <= slot)
		word_store(&segment.slots_used, slot + 1);
	token_enter(&seats[slot], group != 0 ? group : 1000 + slot, &entitlement);
	return &seats[slot];
}

static uint64_t ask(struct token_seat *seat, uint64_t now_ns)
{
	unsigned ring;

	return token_ask(seat, TOKEN_ENTITLED, now_ns, &ring);
}

/* Works for a while, asking and billing every millisecond. Returns the time. */
static uint64_t work(struct token_seat *seat, uint64_t now_ns, uint64_t span_ns)
{
	for (uint64_t end_ns = now_ns + span_ns; now_ns < end_ns; now_ns += NS_PER_MS) {
		(void)ask(seat, now_ns);
		token_bill(seat, NS_PER_MS);
		token_publish(seat, 0, now_ns + NS_PER_MS, now_ns);
	}
	return now_ns;
}

/* Its launch had got the token when it was stopped, and went when it went on: so it has work on the
 * device before it asks again. */
static void stopped_while_it_asks_has_no_old_claims(void **state)
{
	struct token_seat *one = enter(0, 0, 500000), *other = enter(1, 0, 500000);

	(void)state;
	uint64_t stopped_at_ns = work(one, work(other, BEGIN_NS, 10 * NS_PER_MS), 10 * NS_PER_MS);
	(void)ask(other, stopped_at_ns);
	uint64_t now_ns = work(one, stopped_at_ns, 300 * NS_PER_MS);
	uint64_t least_v = word_load(&segment.slots[0].v) - 4 * 2 * TOKEN_QUANTUM_NS;
	assert_true(word_load(&segment.slots[1].v) < least_v);
	token_publish(other, 0, stopped_at_ns + NS_PER_MS, stopped_at_ns);
	token_publish(other, 0, now_ns + NS_PER_MS, now_ns);
	(void)ask(other, now_ns);
	assert_true(word_load(&segment.slots[1].v) >= least_v);
}

/* What it had on the device all the time is no pause: others' claims do not grow meanwhile. */
static void long_command_is_no_pause(void **state)
{
	struct token_seat *one = enter(0, 0, 500000), *other = enter(1, 0, 500000);

	(void)state;
	uint64_t begin_ns = work(one, work(other, BEGIN_NS, 10 * NS_PER_MS), 10 * NS_PER_MS);
	(void)ask(other, begin_ns);
	token_publish(other, 0, begin_ns + 300 * NS_PER_MS, begin_ns);
	token_rest(other, begin_ns);
	uint64_t v = word_load(&segment.slots[1].v);
	uint64_t now_ns = work(one, begin_ns, 300 * NS_PER_MS);
	token_publish(other, 0, now_ns + NS_PER_MS, now_ns);
	(void)ask(other, now_ns);
	assert_int_equal(word_load(&segment.slots[1].v), v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(stopped_while_it_asks_has_no_old_claims, setup),
		cmocka_unit_test_setup(long_command_is_no_pause, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
