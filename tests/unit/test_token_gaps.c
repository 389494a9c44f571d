/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Single steps of one that leaves gaps in its work, beside one that has the token and wants it.
 * What comes of many steps is for test_host_bound.c to say.
 */
#include "unit.h"
#include "base/clock.h"
#include "token/token_gaps.h"

#include <string.h>

#define BEGIN_NS (1000 * NS_PER_S)
#define ENDS_NS  (BEGIN_NS + NS_PER_MS) /* what the one launched at BEGIN_NS */

static struct token_segment segment;
static struct token_seat one, other;

static void enter(struct token_seat *seat, unsigned slot)
{
	const struct token_entitlement half = {.guarantee_ppm = 500000, .weight = 1};

	*seat = (struct token_seat){
		.segment = &segment, .slot = slot, .quantum_ns = TOKEN_QUANTUM_NS};
	token_enter(seat, slot + 1, &half);
}

static uint64_t ask(struct token_seat *seat, uint64_t command_ns, uint64_t now_ns)
{
	unsigned ring;

	return token_ask(seat, TOKEN_ENTITLED, command_ns, now_ns, &ring);
}

static void launch(struct token_seat *seat, uint64_t length_ns, uint64_t now_ns)
{
	token_rest(seat, now_ns);
	token_bill(seat, (int64_t)length_ns);
	token_publish(seat, 0, now_ns + length_ns, now_ns);
}

static void give(const struct token_seat *seat)
{
	word_store(&segment.holder, seat->slot + 1);
}

/* The one has launched a millisecond, and the other used so much before. */
static int setup_used(uint64_t other_used_ns)
{
	memset(&segment, 0, sizeof(segment));
	word_store(&segment.slots_used, 2);
	enter(&one, 0);
	enter(&other, 1);
	(void)ask(&one, NS_PER_MS, BEGIN_NS);
	launch(&one, NS_PER_MS, BEGIN_NS);
	token_bill(&other, (int64_t)other_used_ns);
	return 0;
}

static int setup(void **state)
{
	(void)state;
	return setup_used(2 * NS_PER_MS);
}

/* The other has the token and goes on asking for it. True where the one takes it nevertheless. */
static bool takes_it_at(uint64_t now_ns)
{
	(void)ask(&other, NS_PER_MS, now_ns);
	give(&other);
	(void)ask(&one, NS_PER_MS, now_ns);
	return token_is_held(&one);
}

static void who_is_back_and_behind_takes_the_token(void **state)
{
	(void)state;
	assert_true(takes_it_at(ENDS_NS + GAPS_LEAST_NS));
	setup(state);
	assert_false(takes_it_at(ENDS_NS + GAPS_LEAST_NS - 1));
	setup_used(NS_PER_MS);
	assert_false(takes_it_at(ENDS_NS + GAPS_LEAST_NS));
}

/* It waited for GPU time of its own. */
static void who_has_left_is_not_back(void **state)
{
	(void)state;
	assert_int_equal(token_leave(&one, BEGIN_NS), TOKEN_NO_SLOT);
	assert_false(takes_it_at(ENDS_NS + GAPS_LEAST_NS));
}

static void who_has_worked_for_a_quantum_is_not_back_any_more(void **state)
{
	uint64_t back_at_ns = ENDS_NS + GAPS_LEAST_NS;

	(void)state;
	token_bill(&other, 100 * NS_PER_MS);
	assert_true(takes_it_at(back_at_ns));
	launch(&one, TOKEN_QUANTUM_NS, back_at_ns);
	uint64_t now_ns = back_at_ns + TOKEN_QUANTUM_NS;
	assert_true(takes_it_at(now_ns));
	launch(&one, NS_PER_MS, now_ns);
	assert_false(takes_it_at(now_ns + NS_PER_MS));
}

/* Or they would go back and forth. */
static void of_two_that_are_back_one_goes_on_for_a_span(void **state)
{
	const uint64_t span_ns = TOKEN_QUANTUM_NS; /* two quanta of v, for half of the device */

	for (unsigned more = 0; more < 2; more++) {
		setup_used(NS_PER_MS + span_ns + more);
		(void)state;
		word_store(&segment.slots[1].back_at_ns, ENDS_NS);
		assert_int_equal(takes_it_at(ENDS_NS + GAPS_LEAST_NS), more);
	}
}

static void others_keep_less_ready_while_one_is_expected(void **state)
{
	uint64_t back_at_ns = ENDS_NS + GAPS_LEAST_NS;

	(void)state;
	assert_false(token_expects_back(&other, back_at_ns));
	(void)ask(&one, NS_PER_MS, back_at_ns);
	token_rest(&one, back_at_ns);
	assert_true(token_expects_back(&other, back_at_ns + 19 * NS_PER_MS));
	assert_false(token_expects_back(&other, back_at_ns + 20 * NS_PER_MS));
	assert_false(token_expects_back(&one, back_at_ns));
	token_bill(&one, 2 * NS_PER_MS);
	assert_false(token_expects_back(&other, back_at_ns));
}

/* How long the other sleeps until it takes the token, where its commands take so long. */
static uint64_t sleeps_ns(uint64_t gap_ns, uint64_t command_ns)
{
	setup_used(0);
	word_store(&segment.slots[0].gap_ns, gap_ns);
	return ask(&other, command_ns, BEGIN_NS);
}

static void gaps_are_filled_with_what_fits(void **state)
{
	const uint64_t at_once_ns = NS_PER_MS - TOKEN_OVERLAP_NS;
	const uint64_t later_ns = NS_PER_MS + TOKEN_IDLE_NS;

	(void)state;
	assert_int_equal(sleeps_ns(0, 0), later_ns);
	assert_int_equal(sleeps_ns(GAPS_LEAST_NS - 1, 0), later_ns);
	assert_int_equal(sleeps_ns(GAPS_LEAST_NS, 0), at_once_ns);
	assert_int_equal(sleeps_ns(GAPS_LEAST_NS, GAPS_LEAST_NS), at_once_ns);
	assert_int_equal(sleeps_ns(GAPS_LEAST_NS, GAPS_LEAST_NS + 1), later_ns);
	assert_int_equal(sleeps_ns(2 * GAPS_LEAST_NS, NS_PER_S), at_once_ns);
}

/* As soon as one launch comes without a gap it is in the midst of several. */
static void usual_gap_falls_at_once_and_grows_slowly(void **state)
{
	const segment_word *gap_ns = &segment.slots[0].gap_ns;
	uint64_t now_ns = ENDS_NS;

	(void)state;
	for (unsigned i = 0; i < 40; i++) {
		now_ns += 500 * NS_PER_US;
		(void)ask(&one, NS_PER_MS, now_ns);
		launch(&one, NS_PER_MS, now_ns);
		now_ns += NS_PER_MS;
		assert_true(i > 0 || word_load(gap_ns) < GAPS_LEAST_NS);
	}
	assert_in_range(word_load(gap_ns), 490 * NS_PER_US, 500 * NS_PER_US);
	(void)ask(&one, NS_PER_MS, now_ns);
	assert_int_equal(word_load(gap_ns), 0);
}

/* Ten went on credit since it was looked, and the time between is all their gaps. */
static void gaps_of_launches_on_credit_are_each_a_part(void **state)
{
	const segment_word *gap_ns = &segment.slots[0].gap_ns;

	(void)state;
	word_store(&segment.slots[0].gap_ns, NS_PER_MS);
	token_bill(&one, 9 * NS_PER_MS);
	(void)ask(&one, NS_PER_MS, ENDS_NS + 500 * NS_PER_US);
	assert_int_equal(word_load(gap_ns), 50 * NS_PER_US);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(who_is_back_and_behind_takes_the_token, setup),
		cmocka_unit_test_setup(who_has_left_is_not_back, setup),
		cmocka_unit_test_setup(who_has_worked_for_a_quantum_is_not_back_any_more, setup),
		cmocka_unit_test_setup(of_two_that_are_back_one_goes_on_for_a_span, setup),
		cmocka_unit_test_setup(others_keep_less_ready_while_one_is_expected, setup),
		cmocka_unit_test_setup(gaps_are_filled_with_what_fits, setup),
		cmocka_unit_test_setup(usual_gap_falls_at_once_and_grows_slowly, setup),
		cmocka_unit_test_setup(gaps_of_launches_on_credit_are_each_a_part, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
