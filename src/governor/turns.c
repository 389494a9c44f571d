/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "governor/turns.h"
#include "base/clock.h"
#include "base/units.h"
#include "base/wait.h"
#include "governor/books.h"
#include "token/token.h"

/* Who had no GPU time left waits for so much of it: to be woken for every microsecond would cost
 * more than it brings. */
#define TURN_NS (250 * NS_PER_US)
/* The same for several streams. Not all of them are at work while a turn begins and ends: with
 * short turns up to a third of what they do beside each other was lost. */
#define LANES_TURN_NS (2 * NS_PER_MS)
/* While flights are late, how long to sleep before asking for them again. */
#define LOOK_AGAIN_NS (100 * NS_PER_US)
/* When nothing has ended for this long, and for twice as long as the oldest should take, what is
 * in flight may be waiting for the very command that waits here: a spinning kernel for its partner,
 * a stream for a value that the host writes once all is queued. One more is let go each time that
 * this has passed. Its bill comes later, so the share holds in the long run; a program that hangs
 * would never get it. */
#define STALLED_NS (10 * NS_PER_MS)
/* But behind one that never ended yet, others of its kind may all be as long: each waits until the
 * stall has lasted so many times longer, and only what lasts this long is no command. */
#define STALLS_LONGER   4
#define STALLED_LONG_NS (2 * NS_PER_S)
/* The same for one stream while others move on: so much longer than all that is in flight should
 * take twice. */
#define STREAM_STALLED_NS NS_PER_S
/* While others stand before us in the line, how long to sleep before looking again. */
#define LINE_NAP_NS (500 * NS_PER_US)
/* Nobody sleeps longer without looking again: what was billed meanwhile may come back, by a launch
 * that fails, and nobody is woken for that. */
#define LONGEST_NAP_NS (100 * NS_PER_MS)

/* When the next may go past what has stalled. */
static uint64_t force_again_at_ns(
	const struct device *dev, const struct command *command, uint64_t now_ns)
{
	uint64_t next_ns = dev->forced_at_ns + STALLED_NS;

	if (dev->oldest->key != command->key || dev->forced_at_ns <= dev->moved_at_ns ||
		costs_expect(&dev->front->costs, command->key, 0) != 0 ||
		now_ns > dev->moved_at_ns + STALLED_LONG_NS)
		return next_ns;
	uint64_t later_ns =
		dev->moved_at_ns + STALLS_LONGER * (dev->forced_at_ns - dev->moved_at_ns);
	return later_ns > next_ns ? later_ns : next_ns;
}

static bool is_stalled(const struct device *dev, const struct command *command, uint64_t now_ns)
{
	const struct flight *first = flights_on(dev, command->lane);

	if (dev->oldest == NULL || now_ns < force_again_at_ns(dev, command, now_ns))
		return false;
	uint64_t patience_ns = 2 * dev->oldest->predicted_ns;
	if (patience_ns < STALLED_NS)
		patience_ns = STALLED_NS;
	if (now_ns > dev->moved_at_ns + patience_ns)
		return true;
	return first != NULL &&
	       now_ns > first->admitted_ns + STREAM_STALLED_NS + 2 * dev->in_flight_ns;
}

static bool has_joined(const struct device *dev, const void *lane)
{
	for (unsigned i = 0; i < dev->joined_count; i++) {
		if (dev->joined[i] == lane)
			return true;
	}
	return false;
}

/* Whether a command may go though there is no GPU time left: beside others of its turn, each stream
 * once, as long as the debt stays within the burst. If they overlap they use little more than one
 * does; if not, the debt is paid before the next turn. */
static bool may_join(const struct device *dev, const struct command *command)
{
	uint64_t predicted_ns = costs_expect(&dev->front->costs, command->key, COSTS_UNKNOWN_NS);

	if (dev->oldest == NULL || dev->joined_count == MAX_JOINED ||
		flights_on(dev, command->lane) != NULL ||
		(int64_t)predicted_ns - dev->bucket.level_ns > (int64_t)dev->bucket.burst_ns)
		return false;
	return !has_joined(dev, command->lane);
}

/* With GPU time there, the second launch of a stream begins the next turn, not the first of
 * another: who began this one might end early and join it once more, and run on alone. */
void turns_join(struct device *dev, const void *lane)
{
	if (dev->bucket.level_ns > 0 && (dev->oldest == NULL || has_joined(dev, lane)))
		dev->joined_count = 0;
	if (dev->joined_count < MAX_JOINED)
		dev->joined[dev->joined_count++] = lane;
}

/* How long to wait while too much is in flight. */
static uint64_t pause_for_room(const struct device *dev, uint64_t queued_ns, uint64_t now_ns)
{
	uint64_t pause_ns = 0;

	if (queued_ns > dev->in_flight_most_ns && dev->drained_at_ns > (int64_t)now_ns)
		pause_ns = queued_ns - dev->in_flight_most_ns;
	if (pause_ns < LOOK_AGAIN_NS / 2)
		pause_ns = LOOK_AGAIN_NS / 2;
	return pause_ns < NS_PER_MS ? pause_ns : NS_PER_MS;
}

/* How long to wait until there is GPU time. What is in flight may turn out cheaper than predicted.
 */
static uint64_t pause_for_time(const struct device *dev)
{
	uint64_t longest_ns = dev->oldest != NULL ? LOOK_AGAIN_NS : LONGEST_NAP_NS;
	uint64_t turn_ns = dev->lane_count > 1 || dev->had_lanes ? LANES_TURN_NS : TURN_NS;
	uint64_t pause_ns = bucket_wait_ns(&dev->bucket, turn_ns);

	return pause_ns < longest_ns ? pause_ns : longest_ns;
}

/* One of its kind is in flight, and none has ended yet: many may all be long. Beside others each of
 * them waits to see how long the first one takes. */
static bool is_first_unseen(const struct device *dev, const struct command *command)
{
	if (!dev->is_shared || costs_expect(&dev->front->costs, command->key, 0) != 0)
		return false;
	for (const struct flight *flight = dev->oldest; flight != NULL; flight = flight->next) {
		if (flight->key == command->key)
			return true;
	}
	return false;
}

/* The first command of an idle stream may always join those in flight on others: a program that
 * runs kernels side by side goes on doing so. */
static struct decision decide(
	const struct device *dev, const struct command *command, uint64_t now_ns)
{
	uint64_t queued_ns = books_remaining_ns(dev, now_ns);
	struct decision decision = {
		.is_beyond = queued_ns > dev->in_flight_most_ns || dev->spare == NULL ||
			     is_first_unseen(dev, command),
	};

	decision.is_forced = decision.is_beyond &&
			     (dev->spare == NULL || flights_on(dev, command->lane) != NULL);
	if (decision.is_forced && !is_stalled(dev, command, now_ns)) {
		decision.pause_ns = pause_for_room(dev, queued_ns, now_ns);
	} else if (!books_has_time(dev) && !may_join(dev, command)) {
		decision.pause_ns = pause_for_time(dev);
		decision.is_for_time = true;
	}
	return decision;
}

/* What this process wants of the device now: what it borrows others take first. */
static enum token_want want_of(const struct device *dev)
{
	bool is_own = dev->bucket.level_ns > 0 || !dev->terms.may_borrow;

	return is_own ? TOKEN_ENTITLED : TOKEN_BORROWING;
}

/* Class latency that has GPU time goes at once, and the device gives both their slices. Where its
 * bucket fills faster than its part of the device, others would never come to theirs by that. */
static bool goes_at_once(struct device *dev, uint64_t now_ns)
{
	if (!dev->terms.is_latency || want_of(dev) != TOKEN_ENTITLED)
		return false;
	return dev->bucket.share_ppm <= token_rate_ppm(dev->token) ||
	       token_overtakes(dev->token, now_ns);
}

/* Beside other processes: lets it wait for the token too, unless it goes at once. Whoever has no
 * GPU time left does not want it, nor does one that waits behind a command which may hang. */
static void ask_others(struct device *dev, const struct command *command, struct decision *decision,
	bool *is_wanting, uint64_t now_ns)
{
	unsigned ring = TOKEN_NO_SLOT;
	bool wants = !decision->is_for_time && !books_may_hang(dev, now_ns) &&
		     !goes_at_once(dev, now_ns);

	if (*is_wanting != wants)
		dev->wanting += wants ? 1 : -1u;
	*is_wanting = wants;
	dev->is_denied = false;
	if (wants) {
		uint64_t command_ns = costs_expect(&dev->front->costs, command->key, 0);
		uint64_t pause_ns = token_ask(dev->token, want_of(dev), command_ns, now_ns, &ring);
		dev->is_denied = pause_ns > 0;
		if (pause_ns > decision->pause_ns)
			decision->pause_ns = pause_ns;
		if (decision->pause_ns > TOKEN_FAR_NAP_NS)
			decision->pause_ns = TOKEN_FAR_NAP_NS;
	} else if (dev->wanting == 0) {
		ring = token_leave(dev->token, now_ns);
	}
	token_ring(dev->token, ring);
	decision->others_drain_ns = token_others_drain_ns(dev->token, now_ns);
}

/* Without turns: in its group, who waited for GPU time first goes first. */
static void ask_group(struct device *dev, struct decision *decision, uint64_t now_ns)
{
	if (decision->is_for_time)
		line_join(dev->line, &dev->place);
	if (decision->pause_ns > 0 || !books_has_time(dev)) {
		line_rest(&dev->place);
	} else if (!line_is_next(dev->line, &dev->place, now_ns)) {
		decision->pause_ns = LINE_NAP_NS;
	} else if (dev->waiting > 0) {
		line_join(dev->line, &dev->place);
	}
}

static void rest(struct device *dev, bool is_wanting, uint64_t now_ns)
{
	if (is_wanting && --dev->wanting == 0)
		token_rest(dev->token, now_ns);
}

/* Sleeps, with the lock held before and not after. Others ring our bell when it is our turn. */
static void sleep_at_most(struct device *dev, uint32_t bell, uint64_t ns)
{
	uint32_t turn = atomic_load_explicit(&dev->turn, memory_order_relaxed);
	bool is_shared = dev->is_shared;

	dev->waiting++;
	lock_drop(&dev->lock);
	if (is_shared)
		token_sleep(dev->token, bell, ns);
	else
		wait_at_most(&dev->turn, turn, ns);
	lock_take(&dev->lock);
	dev->waiting--;
	lock_drop(&dev->lock);
}

struct decision turns_wait(struct device *dev, const struct command *command, uint64_t *ret_now_ns)
{
	bool is_wanting = false;

	for (bool has_waited = false;; has_waited = true) {
		lock_take(&dev->lock);
		*ret_now_ns = clock_now_ns();
		books_update(dev, has_waited, *ret_now_ns);
		uint32_t bell = dev->token != NULL ? token_bell(dev->token) : 0;
		struct decision decision = decide(dev, command, *ret_now_ns);
		if (dev->is_shared)
			ask_others(dev, command, &decision, &is_wanting, *ret_now_ns);
		else if (dev->line != NULL && dev->bucket.share_ppm < PPM_WHOLE)
			ask_group(dev, &decision, *ret_now_ns);
		if (decision.pause_ns == 0) {
			rest(dev, is_wanting, *ret_now_ns);
			return decision;
		}
		if (has_waited)
			sleep_at_most(dev, bell, decision.pause_ns);
		else
			lock_drop(&dev->lock);
	}
}
