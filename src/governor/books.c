/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "governor/books.h"
#include "base/clock.h"
#include "base/units.h"
#include "base/wait.h"
#include "governor/shares.h"
#include "token/token.h"

/* Predicted time in flight, beyond one command a stream: enough to keep the device busy, little
 * enough to stop soon. */
#define IN_FLIGHT_NS (2 * NS_PER_MS)
/* The same beside other processes: that much their turn comes later. */
#define IN_FLIGHT_SHARED_NS         NS_PER_MS
#define IN_FLIGHT_BESIDE_LATENCY_NS (500 * NS_PER_US)
/* The same beside one that waits for each of its commands: it comes back from each gap to what we
 * have on the device then. Just enough for us to wake up before it has ended. */
#define IN_FLIGHT_BESIDE_GAPS_NS (100 * NS_PER_US)
/* Commands mostly end in order; a few that have not must not cost a query each at every launch.
 * Before a launch waits, all are asked. */
#define MAX_RUNNING_SEEN 4
/* While a command is late, others are told each time that it will end so soon, but not for longer
 * than LATE_MOST_NS: it may never end, and they have 100 ms to run on. */
#define LATE_AGAIN_NS ((int64_t)(500 * NS_PER_US))
#define LATE_MOST_NS  (90 * NS_PER_MS)
/* Launches that fail give back what they cost, which may have been settled before. */
#define RETURNED_MOST_NS ((int64_t)NS_PER_S)
/* Debt of one that may borrow. */
#define BORROWED_MOST_NS ((int64_t)NS_PER_MS)

static uint64_t lesser(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void set_lane(struct device *dev, const void *lane)
{
	atomic_store_explicit(&dev->front->lane, lane, memory_order_relaxed);
}

static void forget_lanes(struct device *dev)
{
	dev->had_lanes = dev->lane_count > 1;
	dev->lane_count = 0;
	dev->lane_work_ns = 0;
	dev->lane_launches = 0;
	set_lane(dev, NO_LANE);
}

static void note_lane(struct device *dev, const void *lane)
{
	if (atomic_load_explicit(&dev->front->lane, memory_order_relaxed) == lane)
		return;
	dev->lane_count++;
	set_lane(dev, lane);
}

/* Draws how much work there will be before the next sample. */
static uint64_t draw_sample_after(struct device *dev)
{
	dev->random ^= dev->random << 13;
	dev->random ^= dev->random >> 7;
	dev->random ^= dev->random << 17;
	return SAMPLE_AFTER_NS / 2 + dev->random % SAMPLE_AFTER_NS;
}

static void start(struct device *dev, uint64_t now_ns)
{
	dev->front = governor_front_of(dev);
	dev->number = governor_number_of(dev);
	shares_start_bucket(dev, dev->number, now_ns);
	flights_init(dev);
	forget_lanes(dev);
	dev->random = now_ns | 1;
	dev->sample_after_ns = draw_sample_after(dev);
	dev->sampled_at_ns = now_ns;
	dev->is_started = true;
}

/* Predicted work has been let go since `since_ns`. */
void books_spend(struct device *dev, uint64_t since_ns, int64_t predicted_ns)
{
	flights_bill(dev, predicted_ns);
	if (dev->drained_at_ns < (int64_t)since_ns)
		dev->drained_at_ns = (int64_t)since_ns;
	dev->drained_at_ns += predicted_ns;
	dev->lane_work_ns += (uint64_t)predicted_ns;
}

/* What is left of the credit. Other processes can write there: whatever they do, it comes to no
 * bill that is never paid, nor to more given back than launches may have. */
static int64_t take_credit(struct device *dev)
{
	int64_t left_ns = token_take_credit(governor_credit(dev->front));

	if (left_ns < 0)
		return 0;
	return left_ns < dev->granted_ns + RETURNED_MOST_NS ? left_ns
							    : dev->granted_ns + RETURNED_MOST_NS;
}

/* Less than nothing where launches failed and gave theirs back. */
void books_settle_credit(struct device *dev, uint64_t now_ns)
{
	int64_t left_ns = take_credit(dev);
	int64_t granted_ns = dev->granted_ns, spent_ns = granted_ns - left_ns;

	dev->granted_ns = 0;
	/* Also where that is nothing: who waits for its own share looks again and again, and does
	 * not pause meanwhile. */
	books_spend(dev, dev->looked_at_ns, spent_ns);
	bucket_bill(&dev->bucket, -granted_ns);
	if (spent_ns > 0) {
		dev->unsampled_ns += (uint64_t)spent_ns;
		dev->unseen_ns += (uint64_t)spent_ns;
	}
	dev->looked_at_ns = now_ns;
}

/* Looks who else is at the device. */
static void look_around(struct device *dev, uint64_t now_ns)
{
	dev->in_flight_most_ns = IN_FLIGHT_NS;
	dev->is_shared = dev->token != NULL && token_has_others(dev->token);
	if (!dev->is_shared) {
		dev->is_denied = false;
		return;
	}
	dev->in_flight_most_ns = IN_FLIGHT_SHARED_NS;
	if (dev->terms.is_latency)
		return;
	if (token_has_latency(dev->token))
		dev->in_flight_most_ns = IN_FLIGHT_BESIDE_LATENCY_NS;
	if (token_expects_back(dev->token, now_ns))
		dev->in_flight_most_ns = IN_FLIGHT_BESIDE_GAPS_NS;
}

bool books_may_hang(const struct device *dev, uint64_t now_ns)
{
	const struct flight *oldest = dev->oldest;

	if (oldest == NULL)
		return false;
	uint64_t since_ns =
		oldest->admitted_ns > dev->moved_at_ns ? oldest->admitted_ns : dev->moved_at_ns;
	return now_ns >= since_ns + oldest->predicted_ns + LATE_MOST_NS;
}

/* While a measured command takes longer than predicted, others wait for its end a little longer. */
void books_report(struct device *dev, uint64_t now_ns)
{
	int64_t drained_at_ns = dev->drained_at_ns > dev->lanes_drained_at_ns
					? dev->drained_at_ns
					: dev->lanes_drained_at_ns;

	if (dev->token == NULL)
		return;
	int64_t billed_ns = atomic_load_explicit(&dev->billed_ns, memory_order_relaxed);
	if (billed_ns != dev->reported_ns)
		token_bill(dev->token, billed_ns - dev->reported_ns);
	dev->reported_ns = billed_ns;
	if (dev->oldest != NULL && drained_at_ns < (int64_t)now_ns && !books_may_hang(dev, now_ns))
		drained_at_ns = (int64_t)(now_ns + LATE_AGAIN_NS);
	token_publish(dev->token, (uint64_t)dev->granted_ns,
		drained_at_ns > 0 ? (uint64_t)drained_at_ns : 0, now_ns);
}

/* What was borrowed is not owed. */
static void forgive(struct device *dev)
{
	if (dev->terms.may_borrow && dev->token != NULL && dev->bucket.level_ns < -BORROWED_MOST_NS)
		bucket_bill(&dev->bucket, dev->bucket.level_ns + BORROWED_MOST_NS);
}

static void wake_waiting(struct device *dev)
{
	wait_wake_all(&dev->turn);
	if (dev->is_shared)
		token_ring(dev->token, dev->token->slot);
}

static void read_terms(struct device *dev, uint32_t share_ppm)
{
	dev->terms = governor_terms(dev->number);
	if (dev->token == NULL)
		return;
	const struct token_entitlement entitlement = {
		.guarantee_ppm = share_ppm,
		.weight = dev->terms.weight,
		.class = dev->terms.is_latency ? TOKEN_LATENCY : TOKEN_BATCH,
		.may_borrow = dev->terms.may_borrow,
	};
	token_agree(dev->token, &entitlement, dev->terms.quantum_ns);
}

/* It may have to be tried for. What was let go before is no business of the others', and what they
 * have used until then is in no measurement. */
static void take_seat(struct device *dev, uint64_t now_ns)
{
	struct token_seat *seat = token_joined(dev->number);

	if (seat == NULL)
		return;
	books_settle_credit(dev, now_ns);
	dev->token = seat;
	dev->reported_ns = atomic_load_explicit(&dev->billed_ns, memory_order_relaxed);
	flights_see_others(dev, token_others_used_ns(seat));
	governor_move_credit(dev->front, token_credit(seat));
}

void books_agree(struct device *dev)
{
	if (!dev->is_started)
		return;
	read_terms(dev, governor_share(dev->number));
	if (dev->waiting > 0)
		wake_waiting(dev);
}

void books_update(struct device *dev, bool has_waited, uint64_t now_ns)
{
	if (!dev->is_started)
		start(dev, now_ns);
	if (dev->token == NULL)
		take_seat(dev, now_ns);
	books_settle_credit(dev, now_ns);
	const struct flight *oldest = dev->oldest;
	flights_harvest(
		dev, &dev->front->costs, has_waited ? MAX_FLIGHTS : MAX_RUNNING_SEEN, now_ns);
	if (dev->waiting > 0 && dev->oldest != oldest)
		wake_waiting(dev);
	shares_fill(dev, dev->number, now_ns);
	read_terms(dev, dev->bucket.share_ppm);
	forgive(dev);
	look_around(dev, now_ns);
	books_report(dev, now_ns);
}

/* By the clock, or by the flights that have not ended, of which the first of each stream have run
 * since the oldest was let go, or since the one before ended. */
uint64_t books_remaining_ns(const struct device *dev, uint64_t now_ns)
{
	int64_t draining_ns = dev->drained_at_ns - (int64_t)now_ns;
	uint64_t remaining_ns = dev->in_flight_ns;

	if (dev->oldest != NULL) {
		uint64_t since_ns = dev->oldest->admitted_ns > dev->ended_at_ns
					    ? dev->oldest->admitted_ns
					    : dev->ended_at_ns;
		uint64_t ran_ns = now_ns > since_ns ? now_ns - since_ns : 0;
		remaining_ns -= lesser(ran_ns, dev->running_ns);
	}
	return draining_ns > (int64_t)remaining_ns ? (uint64_t)draining_ns : remaining_ns;
}

bool books_note_lane(struct device *dev, const void *lane)
{
	if (dev->lane_work_ns >= LANES_FOR_NS && dev->lane_launches >= LANES_FOR_LAUNCHES)
		forget_lanes(dev);
	dev->lane_launches++;
	note_lane(dev, lane);
	return dev->lane_count > 1 || dev->had_lanes;
}

void books_note_sample(
	struct device *dev, struct flight *flight, uint64_t unmeasured_ns, uint64_t now_ns)
{
	dev->unsampled_ns += unmeasured_ns;
	if (flight == NULL)
		return;
	flight->stands_for_ns = dev->unsampled_ns;
	flight->since_ns = dev->sampled_at_ns;
	dev->unsampled_ns = 0;
	dev->sampled_at_ns = now_ns;
	dev->sample_after_ns = draw_sample_after(dev);
}

void books_return_sample(struct device *dev, const struct flight *flight)
{
	if (flight->stands_for_ns == 0)
		return;
	dev->unsampled_ns += flight->stands_for_ns - flight->predicted_ns;
	if (flight->since_ns < dev->sampled_at_ns)
		dev->sampled_at_ns = flight->since_ns;
}

bool books_has_time(const struct device *dev)
{
	return dev->bucket.level_ns > 0 || dev->bucket.share_ppm >= PPM_WHOLE ||
	       (dev->terms.may_borrow && dev->token != NULL);
}

/* As much as there is GPU time, room in flight, and work before the next sample; and beside other
 * processes, only in our turn. */
static uint64_t credit_to_give(struct device *dev, uint64_t now_ns)
{
	uint64_t queued_ns = books_remaining_ns(dev, now_ns), most_ns = dev->in_flight_most_ns;

	if (!books_has_time(dev) || queued_ns >= most_ns ||
		dev->unsampled_ns >= dev->sample_after_ns ||
		(dev->is_shared && !token_is_held(dev->token)))
		return 0;
	/* One command that calls for a sample by itself is not let go by credit. */
	uint64_t amount_ns = lesser(most_ns - queued_ns, SAMPLE_AFTER_NS - 1);
	amount_ns = lesser(amount_ns, dev->sample_after_ns - dev->unsampled_ns);
	if (dev->bucket.level_ns > 0)
		amount_ns = lesser(amount_ns, (uint64_t)dev->bucket.level_ns);
	if (dev->is_shared)
		amount_ns = lesser(amount_ns, token_turn_ns(dev->token, now_ns));
	return amount_ns;
}

/* It comes out of the bucket at once: others may spend from that too. Where another process has
 * taken the token meanwhile it has revoked what it saw, and we take back what it did not. */
void books_grant(struct device *dev, uint64_t now_ns)
{
	uint64_t amount_ns = credit_to_give(dev, now_ns);

	if (amount_ns > 0) {
		_Atomic int64_t *credit_ns = governor_credit(dev->front);
		dev->granted_ns = (int64_t)amount_ns;
		bucket_bill(&dev->bucket, dev->granted_ns);
		/* Added, for a launch that failed may have given back its own meanwhile. seq_cst:
		 * either who takes the token sees it and revokes it, or we see who has */
		atomic_fetch_add_explicit(credit_ns, dev->granted_ns, memory_order_seq_cst);
		if (dev->is_shared && !token_is_held(dev->token))
			books_settle_credit(dev, now_ns);
	}
	books_report(dev, now_ns);
}
