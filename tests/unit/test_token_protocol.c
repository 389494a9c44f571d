/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Single steps of the token's protocol, on a segment that is nobody else's, at times that the test
 * says. What comes of many steps is for test_token_model.c to say.
 */
#include "unit.h"
#include "base/clock.h"
#include "base/units.h"
#include "token/token_protocol.h"

#include <stdlib.h>
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

	return token_ask(seat, TOKEN_ENTITLED, 0, now_ns, &ring);
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

/* One that took longer than predicted, and was waited for, is seen to have ended. */
static void command_that_ends_late_is_no_pause(void **state)
{
	struct token_seat *one = enter(0, 0, 500000), *other = enter(1, 0, 500000);

	(void)state;
	uint64_t begin_ns = work(one, work(other, BEGIN_NS, 10 * NS_PER_MS), 10 * NS_PER_MS);
	(void)ask(other, begin_ns);
	token_publish(other, 0, begin_ns + NS_PER_MS, begin_ns);
	token_rest(other, begin_ns);
	uint64_t v = word_load(&segment.slots[1].v);
	uint64_t now_ns = work(one, begin_ns, 300 * NS_PER_MS);
	assert_true(v < word_load(&segment.slots[0].v) - 4 * 2 * TOKEN_QUANTUM_NS);
	token_publish(other, 0, now_ns - 300 * NS_PER_US, now_ns);
	(void)ask(other, now_ns);
	assert_int_equal(word_load(&segment.slots[1].v), v);
}

/* Its books begin now, so what it has on the device seems to have ended just now. */
static void newcomer_has_no_old_claims(void **state)
{
	struct token_seat *one = enter(0, 0, 500000), *other = enter(1, 0, 500000);

	(void)state;
	uint64_t now_ns = work(one, BEGIN_NS, 300 * NS_PER_MS);
	(void)ask(one, now_ns);
	token_publish(other, 0, now_ns, now_ns);
	(void)ask(other, now_ns);
	assert_true(word_load(&segment.slots[1].v) >=
		    word_load(&segment.slots[0].v) - 2 * 2 * TOKEN_QUANTUM_NS);
}

/* Where many wait before it, it sleeps longer than one that wants nothing may be gone. */
static void sleep_of_one_far_behind_is_no_pause(void **state)
{
	struct token_seat *one = enter(0, 0, 500000), *other = enter(1, 0, 500000);

	(void)state;
	uint64_t now_ns = work(one, work(other, BEGIN_NS, 10 * NS_PER_MS), 10 * NS_PER_MS);
	(void)ask(other, now_ns);
	uint64_t v = word_load(&segment.slots[1].v);
	for (uint64_t end_ns = now_ns + 300 * NS_PER_MS; now_ns < end_ns;) {
		now_ns = work(one, now_ns, TOKEN_FAR_NAP_NS + NS_PER_MS);
		token_publish(other, 0, 0, now_ns);
		(void)ask(other, now_ns);
	}
	assert_true(v < word_load(&segment.slots[0].v) - 4 * 2 * TOKEN_QUANTUM_NS);
	assert_int_equal(word_load(&segment.slots[1].v), v);
}

/* Its v stays behind, and is no measure for who comes later. */
static void one_that_is_stopped_gives_nobody_old_claims(void **state)
{
	struct token_seat *one = enter(0, 0, 300000), *stopped = enter(1, 0, 300000);
	struct token_seat *other = enter(2, 0, 300000);

	(void)state;
	uint64_t now_ns = work(one, work(stopped, BEGIN_NS, 10 * NS_PER_MS), 10 * NS_PER_MS);
	(void)ask(stopped, now_ns);
	now_ns = work(one, now_ns, 6 * NS_PER_S);
	(void)ask(one, now_ns);
	(void)ask(other, now_ns);
	assert_true(word_load(&segment.slots[2].v) >=
		    word_load(&segment.slots[0].v) - 2 * 2 * TOKEN_QUANTUM_NS);
}

/* Its group has all of its part while it does not run. */
static void one_that_is_stopped_takes_no_part_from_its_group(void **state)
{
	struct token_seat *one = enter(0, 7, 300000), *stopped = enter(1, 7, 300000);
	uint64_t now_ns = BEGIN_NS;

	(void)state;
	(void)ask(stopped, now_ns);
	(void)ask(one, now_ns);
	assert_int_equal(token_rate_ppm(one), 150000);
	now_ns = work(one, now_ns, 2 * NS_PER_S);
	assert_int_equal(token_rate_ppm(one), 300000);
	(void)ask(stopped, now_ns);
	assert_int_equal(token_rate_ppm(one), 150000);
	assert_int_equal(token_rate_ppm(stopped), 150000);
}

/* What a slot's rate should be, by the rules alone. */
static uint32_t rate_by_rules(unsigned slot)
{
	uint64_t group = word_load(&segment.slots[slot].group), guaranteed = 0, weights = 0;
	struct token_entitlement ours = {0};
	uint64_t siblings = 1;

	for (unsigned i = 0; i < MAX; i++) {
		const struct token_slot *one = &segment.slots[i];
		struct token_entitlement has = token_unpack(word_load(&one->entitlement));
		bool is_first = word_load(&one->group) != 0;
		for (unsigned k = 0; k < i; k++)
			is_first &= word_load(&segment.slots[k].group) != word_load(&one->group);
		siblings += i != slot && word_load(&one->group) == group &&
			    word_load(&one->wants) != TOKEN_IDLE;
		if (!is_first)
			continue;
		guaranteed += has.guarantee_ppm;
		weights += has.guarantee_ppm == 0 ? has.weight : 0;
		if (word_load(&one->group) == group)
			ours = has;
	}
	uint64_t left = guaranteed < PPM_WHOLE ? PPM_WHOLE - guaranteed : 0;
	left = weights == 0 ? 0 : left > 10000 ? left : 10000;
	uint64_t whole = PPM_WHOLE - left, rate = ours.guarantee_ppm;
	if (rate == 0)
		rate = weights > 0 ? left * ours.weight / weights : PPM_WHOLE;
	else if (guaranteed > whole)
		rate = rate * whole / guaranteed;
	rate /= siblings;
	return rate > 1000 ? (uint32_t)rate : 1000;
}

static bool has_latency_by_rules(unsigned slot)
{
	bool has = false;

	for (unsigned i = 0; i < MAX; i++)
		has |= i != slot && word_load(&segment.slots[i].group) != 0 &&
		       token_unpack(word_load(&segment.slots[i].entitlement)).class ==
			       TOKEN_LATENCY;
	return has;
}

static struct token_entitlement draw(void)
{
	return (struct token_entitlement){
		.guarantee_ppm = random() % 2 == 0 ? (uint32_t)random() % 400000 : 0,
		.weight = 1 + (uint32_t)random() % 10000,
		.class = random() % 16 == 0 ? TOKEN_LATENCY : TOKEN_BATCH,
	};
}

/* Tenants come, go, want, and ask for something else, in groups and alone. */
static void rates_are_as_of_the_last_change(void **state)
{
	(void)state;
	srandom(7);
	for (unsigned step = 0; step < 3000; step++) {
		unsigned slot = (unsigned)random() % MAX;
		struct token_entitlement entitlement = draw();
		if (word_load(&segment.slots[slot].group) == 0) {
			enter(slot, random() % 2 == 0 ? 1 + (uint64_t)random() % 20 : 0, 1);
			token_change(&seats[slot], &entitlement);
		} else if (random() % 2 == 0) {
			token_change(&seats[slot], &entitlement);
		} else if (random() % 3 > 0) {
			(void)ask(&seats[slot], BEGIN_NS + step);
		} else {
			token_clear(&segment, slot);
		}
		unsigned other = (unsigned)random() % MAX;
		if (word_load(&segment.slots[other].group) == 0)
			continue;
		assert_int_equal(token_rate_ppm(&seats[other]), rate_by_rules(other));
		assert_int_equal(token_has_latency(&seats[other]), has_latency_by_rules(other));
	}
}

/* Full of anything, also of groups that all fall on one place, and while it changes. */
static void damaged_slots_give_some_rate(void **state)
{
	struct token_seat *seat = enter(5, 0, 300000);

	(void)state;
	srandom(8);
	word_store(&segment.slots_used, UINT64_MAX);
	for (unsigned round = 0; round < 100; round++) {
		for (unsigned i = 0; i < MAX; i++) {
			word_store(&segment.slots[i].group,
				i == 5 ? 77 : (uint64_t)random() << 32 | (round & 1));
			word_store(&segment.slots[i].entitlement, (uint64_t)random() << 20);
		}
		word_store(&segment.changes, (uint64_t)random());
		assert_in_range(token_rate_ppm(seat), 1000, PPM_WHOLE);
	}
}

/* The least weight beside the greatest, and guarantees of all of the device: who has used it alone
 * for 50 days, while the others had nothing to do, passes it on still. */
static void turns_end_after_months(void **state)
{
	struct token_entitlement entitlement = {.weight = 1};
	struct token_seat *low = enter(0, 0, 0), *other = enter(1, 0, PPM_WHOLE / 2);
	uint64_t now_ns = BEGIN_NS;

	(void)state;
	enter(2, 0, PPM_WHOLE / 2);
	entitlement.weight = 10000;
	token_change(enter(3, 0, 0), &entitlement);
	(void)ask(low, now_ns);
	token_bill(low, (int64_t)(50 * 24 * 3600 * NS_PER_S));
	now_ns += NS_PER_S;
	assert_int_equal(ask(other, now_ns), 0);
	(void)ask(low, now_ns);
	assert_true(token_is_held(other));
	assert_in_range(token_turn_ns(other, now_ns), 1, NS_PER_S);
	token_bill(other, (int64_t)NS_PER_S);
	assert_int_equal(token_turn_ns(other, now_ns), 0);
}

/* A hundred wait, each with more used than the one before it; the first has the token. */
static void wait_in_a_row(void)
{
	for (unsigned i = 0; i < 100; i++)
		enter(i, 0, 10000);
	for (unsigned i = 0; i < 100; i++)
		(void)ask(&seats[i], BEGIN_NS);
	for (unsigned i = 0; i < 100; i++)
		token_bill(&seats[i], (int64_t)i * 10000);
	assert_true(token_is_held(&seats[0]));
}

static void who_is_far_behind_sleeps_longer(void **state)
{
	(void)state;
	wait_in_a_row();
	token_publish(&seats[0], 0, BEGIN_NS + NS_PER_S, BEGIN_NS);
	for (unsigned i = 1; i < 100; i++) {
		uint64_t nap_ns = ask(&seats[i], BEGIN_NS);
		assert_int_equal(nap_ns, i <= 8 ? TOKEN_NAP_NS : TOKEN_FAR_NAP_NS);
	}
}

/* Whoever sleeps longer is not taken for stopped, and takes the token when nobody else is there. */
static void last_of_many_takes_what_the_dead_leave(void **state)
{
	uint64_t now_ns = BEGIN_NS;

	(void)state;
	wait_in_a_row();
	uint64_t end_ns = BEGIN_NS + 100 * NS_PER_MS;
	while (!token_is_held(&seats[99]) && now_ns < end_ns)
		now_ns += ask(&seats[99], now_ns);
	assert_true(now_ns < BEGIN_NS + TOKEN_STALE_NS + 2 * TOKEN_FAR_NAP_NS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(stopped_while_it_asks_has_no_old_claims, setup),
		cmocka_unit_test_setup(long_command_is_no_pause, setup),
		cmocka_unit_test_setup(command_that_ends_late_is_no_pause, setup),
		cmocka_unit_test_setup(newcomer_has_no_old_claims, setup),
		cmocka_unit_test_setup(sleep_of_one_far_behind_is_no_pause, setup),
		cmocka_unit_test_setup(one_that_is_stopped_gives_nobody_old_claims, setup),
		cmocka_unit_test_setup(one_that_is_stopped_takes_no_part_from_its_group, setup),
		cmocka_unit_test_setup(rates_are_as_of_the_last_change, setup),
		cmocka_unit_test_setup(damaged_slots_give_some_rate, setup),
		cmocka_unit_test_setup(turns_end_after_months, setup),
		cmocka_unit_test_setup(who_is_far_behind_sleeps_longer, setup),
		cmocka_unit_test_setup(last_of_many_takes_what_the_dead_leave, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
