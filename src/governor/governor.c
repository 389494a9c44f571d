/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "governor/governor.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/units.h"
#include "base/wait.h"
#include "base/wipe.h"
#include "governor/flights.h"
#include "governor/shares.h"
#include "slice/slice.h"

#define MAX_DEVICES CONFIG_MAX_DEVICES

/* Predicted time in flight, beyond one command a stream: enough to keep the device busy, little
 * enough to stop soon. */
#define IN_FLIGHT_NS (2 * NS_PER_MS)
/* Predicted work after which a command is measured, and each of that length. Half more or less at
 * random: a program that repeats itself must not always have the same one of its kernels measured.
 */
#define SAMPLE_AFTER_NS NS_PER_MS
/* Who had no GPU time left waits for so much of it: to be woken for every microsecond would cost
 * more than it brings. */
#define TURN_NS (250 * NS_PER_US)
/* The same for several streams. Not all of them are at work while a turn begins and ends: with
 * short turns up to a third of what they do beside each other was lost. */
#define LANES_TURN_NS (2 * NS_PER_MS)
/* Commands mostly end in order; a few that have not must not cost a query each at every launch.
 * Before a launch waits, all are asked. */
#define MAX_RUNNING_SEEN 4
/* While flights are late, how long to sleep before asking for them again. */
#define LOOK_AGAIN_NS (100 * NS_PER_US)
/* When nothing has ended for this long, and for twice as long as the oldest should take, what is
 * in flight may be waiting for the very command that waits here: a spinning kernel for its partner,
 * a stream for a value that the host writes once all is queued. One more is let go each time that
 * this has passed. Its bill comes later, so the share holds in the long run; a program that hangs
 * would never get it. */
#define STALLED_NS (10 * NS_PER_MS)
/* The same for one stream while others move on: so much longer than all that is in flight should
 * take twice. */
#define STREAM_STALLED_NS NS_PER_S
/* Nobody sleeps longer without looking again: what was billed meanwhile may come back, by a launch
 * that fails, and nobody is woken for that. */
#define LONGEST_NAP_NS (100 * NS_PER_MS)

/* No launch's. */
#define NO_LANE ((const void *)-1)

struct governor_front *governor_sole_front; /* read by all threads */

static struct governor_front *fronts; /* one a device */
static struct device *devices;
static _Atomic uint32_t *captures; /* in progress; wiped at fork */
static _Atomic unsigned device_count;

bool governor_init(void)
{
	for (unsigned i = 0; i < MAX_DEVICES; i++) {
		shares_set(i, PPM_WHOLE);
		governor_set_burst(i, SHARES_DEFAULT_BURST_NS);
	}
	devices = wipe_alloc(MAX_DEVICES * sizeof(*devices));
	fronts = wipe_alloc(MAX_DEVICES * sizeof(*fronts));
	captures = wipe_alloc(sizeof(*captures));
	return devices != NULL && fronts != NULL && captures != NULL;
}

/* Between the look and the store a capture may begin in another thread; it will not hurt, for what
 * captures is asked for before it is touched, and captures are no place to save nanoseconds. */
static void set_sole_front(void)
{
	bool is_sole = atomic_load(&device_count) == 1 && atomic_load(captures) == 0;

	__atomic_store_n(&governor_sole_front, is_sole ? fronts : NULL, __ATOMIC_RELAXED);
}

void governor_set_device_count(unsigned count)
{
	atomic_store(&device_count, count);
	set_sole_front();
}

struct governor_front *governor_find_front(void)
{
	CUdevice device;

	if (atomic_load_explicit(captures, memory_order_relaxed) != 0)
		return NULL;
	if (atomic_load_explicit(&device_count, memory_order_relaxed) == 1) {
		set_sole_front(); /* a child, whose parent captured */
		return fronts;
	}
	if (driver.cuCtxGetDevice(&device) != CUDA_SUCCESS ||
		(unsigned)device >= atomic_load_explicit(&device_count, memory_order_relaxed))
		return NULL;
	return &fronts[device];
}

void governor_capture_began(void)
{
	atomic_fetch_add(captures, 1);
	set_sole_front();
}

void governor_capture_ended(void)
{
	uint32_t seen = atomic_load_explicit(captures, memory_order_relaxed);

	while (seen > 0 && !atomic_compare_exchange_weak(captures, &seen, seen - 1))
		;
	set_sole_front();
}

static struct governor_front *front_of(const struct device *dev)
{
	return &fronts[dev - devices];
}

static void set_lane(struct device *dev, const void *lane)
{
	atomic_store_explicit(&front_of(dev)->lane, lane, memory_order_relaxed);
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
	if (atomic_load_explicit(&front_of(dev)->lane, memory_order_relaxed) == lane)
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

static void start_device(struct device *dev, uint64_t now_ns)
{
	unsigned device = (unsigned)(dev - devices);

	shares_start_bucket(dev, device, now_ns);
	flights_init(dev);
	forget_lanes(dev);
	dev->random = now_ns | 1;
	dev->sample_after_ns = draw_sample_after(dev);
	dev->sampled_at_ns = now_ns;
	dev->is_started = true;
}

/* Predicted work has been let go since `since_ns`. */
static void spend(struct device *dev, uint64_t since_ns, int64_t predicted_ns)
{
	flights_bill(dev, predicted_ns);
	if (dev->drained_at_ns < (int64_t)since_ns)
		dev->drained_at_ns = (int64_t)since_ns;
	dev->drained_at_ns += predicted_ns;
	dev->lane_work_ns += (uint64_t)predicted_ns;
}

/* Takes the credit back and bills what was spent of it. Less than nothing where launches failed and
 * gave theirs back. */
static void settle_credit(struct device *dev, uint64_t now_ns)
{
	int64_t left_ns =
		atomic_exchange_explicit(&front_of(dev)->credit_ns, 0, memory_order_relaxed);
	int64_t granted_ns = dev->granted_ns, spent_ns = granted_ns - left_ns;

	dev->granted_ns = 0;
	spend(dev, dev->looked_at_ns, spent_ns);
	bucket_bill(&dev->bucket, -granted_ns);
	if (spent_ns > 0) {
		dev->unsampled_ns += (uint64_t)spent_ns;
		dev->unseen_ns += (uint64_t)spent_ns;
	}
	dev->looked_at_ns = now_ns;
}

/* Brings the books up to now. The share is read each time: it may have been tightened while a
 * launch waited. */
static void update(struct device *dev, bool has_waited, uint64_t now_ns)
{
	if (!dev->is_started)
		start_device(dev, now_ns);
	settle_credit(dev, now_ns);
	const struct flight *oldest = dev->oldest;
	flights_harvest(
		dev, &front_of(dev)->costs, has_waited ? MAX_FLIGHTS : MAX_RUNNING_SEEN, now_ns);
	if (dev->waiting > 0 && dev->oldest != oldest)
		wait_wake_all(&dev->turn);
	shares_fill(dev, (unsigned)(dev - devices), now_ns);
}

static bool is_stalled(const struct device *dev, const void *lane, uint64_t now_ns)
{
	const struct flight *first = flights_on(dev, lane);

	if (dev->oldest == NULL || now_ns < dev->forced_at_ns + STALLED_NS)
		return false;
	uint64_t patience_ns = 2 * dev->oldest->predicted_ns;
	if (patience_ns < STALLED_NS)
		patience_ns = STALLED_NS;
	if (now_ns > dev->moved_at_ns + patience_ns)
		return true;
	return first != NULL &&
	       now_ns > first->admitted_ns + STREAM_STALLED_NS + 2 * dev->in_flight_ns;
}

/* Predicted work that has been let go and not ended. */
static uint64_t remaining_ns(const struct device *dev, uint64_t now_ns)
{
	int64_t draining_ns = dev->drained_at_ns - (int64_t)now_ns;

	return draining_ns > (int64_t)dev->in_flight_ns ? (uint64_t)draining_ns : dev->in_flight_ns;
}

/* Whether a command may go though there is no GPU time left: beside others of its turn, each stream
 * once, as long as the debt stays within the burst. If they overlap they use little more than one
 * does; if not, the debt is paid before the next turn. */
static bool may_join(const struct device *dev, const struct command *command)
{
	uint64_t predicted_ns = costs_expect(&front_of(dev)->costs, command->key, COSTS_UNKNOWN_NS);

	if (dev->oldest == NULL || dev->joined_count == MAX_JOINED ||
		flights_on(dev, command->lane) != NULL ||
		(int64_t)predicted_ns - dev->bucket.level_ns > (int64_t)dev->bucket.burst_ns)
		return false;
	for (unsigned i = 0; i < dev->joined_count; i++) {
		if (dev->joined[i] == command->lane)
			return false;
	}
	return true;
}

/* What is to be done with a launch. */
struct decision {
	uint64_t pause_ns; /* 0: it may go */
	bool is_beyond;    /* it goes past the bound on work in flight, so its end must be seen */
	bool is_forced;    /* and that although others are in front of it */
};

/* How long to wait while too much is in flight. */
static uint64_t pause_for_room(const struct device *dev, uint64_t queued_ns, uint64_t now_ns)
{
	uint64_t pause_ns = 0;

	if (queued_ns > IN_FLIGHT_NS && dev->drained_at_ns > (int64_t)now_ns)
		pause_ns = queued_ns - IN_FLIGHT_NS;
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

/* The first command of an idle stream may always join those in flight on others: a program that
 * runs kernels side by side goes on doing so. */
static struct decision decide(
	const struct device *dev, const struct command *command, uint64_t now_ns)
{
	uint64_t queued_ns = remaining_ns(dev, now_ns);
	struct decision decision = {
		.is_beyond = queued_ns > IN_FLIGHT_NS || dev->spare == NULL,
	};

	decision.is_forced = decision.is_beyond &&
			     (dev->spare == NULL || flights_on(dev, command->lane) != NULL);
	if (decision.is_forced && !is_stalled(dev, command->lane, now_ns))
		decision.pause_ns = pause_for_room(dev, queued_ns, now_ns);
	else if (dev->bucket.level_ns <= 0 && !may_join(dev, command))
		decision.pause_ns = pause_for_time(dev);
	return decision;
}

/* Waits for its turn. Returns with the lock held. */
static struct decision wait_for_turn(
	struct device *dev, const struct command *command, uint64_t *ret_now_ns)
{
	for (bool has_waited = false;; has_waited = true) {
		lock_take(&dev->lock);
		*ret_now_ns = clock_now_ns();
		update(dev, has_waited, *ret_now_ns);
		struct decision decision = decide(dev, command, *ret_now_ns);
		if (decision.pause_ns == 0)
			return decision;
		uint32_t turn = atomic_load_explicit(&dev->turn, memory_order_relaxed);
		dev->waiting += has_waited ? 1 : 0;
		lock_drop(&dev->lock);
		if (!has_waited)
			continue;
		wait_at_most(&dev->turn, turn, decision.pause_ns);
		lock_take(&dev->lock);
		dev->waiting--;
		lock_drop(&dev->lock);
	}
}

/* Whether the program uses several streams these days. */
static bool has_lanes(struct device *dev, const void *lane)
{
	if (dev->lane_work_ns >= LANES_FOR_NS && dev->lane_launches >= LANES_FOR_LAUNCHES)
		forget_lanes(dev);
	dev->lane_launches++;
	note_lane(dev, lane);
	return dev->lane_count > 1 || dev->had_lanes;
}

/* Has the command measured. Where that cannot be had it stays billed as predicted. */
static struct flight *begin_flight(struct device *dev, const struct command *command,
	CUcontext context, uint64_t predicted_ns, uint64_t now_ns)
{
	struct flight *flight = flights_begin(dev, command, predicted_ns, now_ns);

	if (flight == NULL)
		return NULL;
	dev->unseen_ns = 0;
	flight->meter = flights_meter(dev, context);
	if (flight->meter != NULL && !meter_take_pair(flight->meter, &flight->pair))
		flight->meter = NULL;
	return flight;
}

/* The flight, where it is one, stands for all that was not measured since the last sample. */
static void note_sample(
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

/* Gives as much credit as there is GPU time, room in flight, and work before the next sample. It
 * comes out of the bucket at once: others may spend from that too. */
static void grant(struct device *dev, uint64_t now_ns)
{
	uint64_t queued_ns = remaining_ns(dev, now_ns), amount_ns;

	if (dev->bucket.level_ns <= 0 || queued_ns >= IN_FLIGHT_NS ||
		dev->unsampled_ns >= dev->sample_after_ns)
		return;
	amount_ns = (uint64_t)dev->bucket.level_ns;
	if (amount_ns > IN_FLIGHT_NS - queued_ns)
		amount_ns = IN_FLIGHT_NS - queued_ns;
	if (amount_ns > dev->sample_after_ns - dev->unsampled_ns)
		amount_ns = dev->sample_after_ns - dev->unsampled_ns;
	/* One command that calls for a sample by itself is not let go by credit. */
	dev->granted_ns = (int64_t)(amount_ns < SAMPLE_AFTER_NS ? amount_ns : SAMPLE_AFTER_NS - 1);
	bucket_bill(&dev->bucket, dev->granted_ns);
	atomic_store_explicit(&front_of(dev)->credit_ns, dev->granted_ns, memory_order_relaxed);
}

/* Lets the command go, with the lock held: bills it as predicted, and has it measured where that is
 * due. */
static void let_go(struct device *dev, const struct command *command, CUcontext context,
	const struct decision *decision, uint64_t now_ns, struct ticket *ticket)
{
	struct governor_front *front = front_of(dev);
	uint64_t predicted_ns = costs_expect(&front->costs, command->key, COSTS_UNKNOWN_NS);
	bool is_known = costs_known(&front->costs, command->key) != COSTS_NOT_KNOWN;
	bool is_dense = has_lanes(dev, command->lane);

	ticket->front = front;
	ticket->cost_ns = predicted_ns;
	if (dev->bucket.level_ns > 0)
		dev->joined_count = 0;
	if (dev->joined_count < MAX_JOINED)
		dev->joined[dev->joined_count++] = command->lane;
	if (dev->oldest == NULL)
		dev->moved_at_ns = now_ns;
	if (decision->is_forced)
		dev->forced_at_ns = now_ns;
	spend(dev, now_ns, (int64_t)predicted_ns);
	dev->unseen_ns += predicted_ns;
	bool is_for_itself =
		is_dense || decision->is_beyond || !is_known || predicted_ns >= SAMPLE_AFTER_NS;
	bool is_sample = !is_for_itself && dev->unsampled_ns + predicted_ns >= dev->sample_after_ns;
	if (is_for_itself || is_sample)
		ticket->flight = begin_flight(dev, command, context, predicted_ns, now_ns);
	note_sample(
		dev, is_sample ? ticket->flight : NULL, is_for_itself ? 0 : predicted_ns, now_ns);
	if (ticket->flight != NULL) {
		ticket->flight->is_dense = is_dense;
		ticket->is_measured = ticket->flight->meter != NULL;
		ticket->pair = ticket->flight->pair;
	}
	if (!is_dense)
		grant(dev, now_ns);
	shares_tell_group(dev, (unsigned)(dev - devices), now_ns);
}

/* The context in which a launch on `stream` runs, and that it is none of our business: a stream
 * that captures (or the legacy stream while another captures) is not to be touched, and a launch
 * without a context is the driver's to refuse. */
static bool find_context(CUstream stream, CUcontext *ret_context)
{
	CUstreamCaptureStatus capturing;

	if (driver.cuStreamIsCapturing(stream, &capturing) != CUDA_SUCCESS ||
		capturing != CU_STREAM_CAPTURE_STATUS_NONE)
		return false;
	if (stream == NULL || stream == CU_STREAM_LEGACY || stream == CU_STREAM_PER_THREAD)
		return driver.cuCtxGetCurrent(ret_context) == CUDA_SUCCESS && *ret_context != NULL;
	return driver.cuStreamGetCtx(stream, ret_context) == CUDA_SUCCESS;
}

/* A device without a share is not looked at again, until it gets one. */
static void set_free(struct device *dev)
{
	lock_take(&dev->lock);
	bool is_free = governor_share((unsigned)(dev - devices)) >= PPM_WHOLE;
	atomic_store_explicit(&front_of(dev)->is_free, is_free, memory_order_relaxed);
	if (is_free)
		set_lane(dev, NO_LANE);
	lock_drop(&dev->lock);
}

void governor_tighten_share(unsigned device, uint32_t ppm)
{
	shares_tighten(device, ppm);
	set_free(&devices[device]);
}

void governor_set_share(unsigned device, uint32_t ppm)
{
	shares_set(device, ppm);
	set_free(&devices[device]);
}

void governor_look_again(void)
{
	unsigned count = atomic_load_explicit(&device_count, memory_order_relaxed);

	for (unsigned i = 0; i < count; i++) {
		bool is_free = atomic_load_explicit(&fronts[i].is_free, memory_order_relaxed);
		if (is_free != (governor_share(i) >= PPM_WHOLE))
			set_free(&devices[i]);
	}
}

void governor_wait(const struct command *command, struct ticket *ret_ticket)
{
	CUcontext context = NULL;
	CUdevice device;
	uint64_t now_ns;

	*ret_ticket = (struct ticket){.stream = command->stream};
	if (driver.cuCtxGetDevice(&device) != CUDA_SUCCESS || !slice_exists(device))
		return;
	struct device *dev = &devices[device];
	if (governor_share((unsigned)device) >= PPM_WHOLE) {
		set_free(dev);
		return;
	}
	if (!find_context(command->stream, &context))
		return;
	struct decision decision = wait_for_turn(dev, command, &now_ns);
	let_go(dev, command, context, &decision, now_ns, ret_ticket);
	lock_drop(&dev->lock);

	if (!ret_ticket->is_measured)
		return;
	ret_ticket->was_idle = meter_is_idle(command->stream);
	ret_ticket->is_measured = meter_begin(ret_ticket->pair, command->stream);
	ret_ticket->begun_at_ns = clock_now_ns();
}

/* Sees to it that the end will be known. */
static bool measure_end(const struct ticket *ticket, struct meter_gaps *ret_gaps)
{
	uint64_t launched_at_ns = clock_now_ns();

	*ret_gaps = (struct meter_gaps){0};
	if (!ticket->is_measured || !meter_end(ticket->pair, ticket->stream))
		return false;
	ret_gaps->doubt_ns = launched_at_ns - ticket->begun_at_ns;
	if (ticket->was_idle) {
		ret_gaps->before_ns = ret_gaps->doubt_ns;
		ret_gaps->after_ns = clock_now_ns() - launched_at_ns;
	}
	return true;
}

/* A failed launch costs nothing. One that cannot be measured costs what others did. */
static void end_unmeasured(struct device *dev, struct flight *flight, bool is_launched)
{
	if (!is_launched) {
		flights_bill(dev, -(int64_t)flight->predicted_ns);
		dev->drained_at_ns -= (int64_t)flight->predicted_ns;
	}
	flights_forget(dev, flight);
}

void governor_end(const struct ticket *ticket, CUresult result)
{
	struct meter_gaps gaps;
	bool is_launched = result == CUDA_SUCCESS;

	if (ticket->front == NULL)
		return;
	if (ticket->flight == NULL) {
		if (!is_launched)
			atomic_fetch_add_explicit(&ticket->front->credit_ns,
				(int64_t)ticket->cost_ns, memory_order_relaxed);
		return;
	}
	bool is_measured = is_launched && measure_end(ticket, &gaps);
	struct device *dev = &devices[ticket->front - fronts];
	struct flight *flight = ticket->flight;

	lock_take(&dev->lock);
	if (is_measured && flight->meter != NULL) {
		flight->gaps = gaps;
		flight->is_submitted = true;
	} else {
		end_unmeasured(dev, flight, is_launched);
	}
	lock_drop(&dev->lock);
}

uint64_t governor_billed_ns(unsigned device)
{
	struct device *dev = &devices[device];
	int64_t billed_ns;

	lock_take(&dev->lock);
	if (dev->is_started)
		settle_credit(dev, clock_now_ns());
	billed_ns = atomic_load_explicit(&dev->billed_ns, memory_order_relaxed);
	lock_drop(&dev->lock);
	return billed_ns > 0 ? (uint64_t)billed_ns : 0;
}

/* Calls `action` for the context's meter on each device, with the lock held. */
static void for_context(
	CUcontext context, void (*action)(struct device *dev, struct meter *meter, uint64_t now_ns))
{
	for (unsigned i = 0; i < MAX_DEVICES; i++) {
		struct device *dev = &devices[i];
		/* Also where the share has become the whole since. */
		lock_take(&dev->lock);
		for (unsigned m = 0; dev->is_started && m < MAX_CONTEXTS; m++) {
			if (dev->meters[m].context == context)
				action(dev, &dev->meters[m], clock_now_ns());
		}
		lock_drop(&dev->lock);
	}
}

static void settle_context(struct device *dev, struct meter *meter, uint64_t now_ns)
{
	update(dev, true, now_ns);
	if (meter->context != NULL && !flights_has(dev, meter))
		meter_finish(meter);
}

void governor_settle_context(CUcontext context)
{
	for_context(context, settle_context);
}

void governor_lose_context(CUcontext context)
{
	for_context(context, flights_lose);
}

void governor_doubt(uint64_t key)
{
	flights_doubt(devices, fronts, atomic_load(&device_count), key);
}
