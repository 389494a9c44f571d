/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "governor/governor.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/units.h"
#include "base/wipe.h"
#include "driver/stream_context.h"
#include "governor/books.h"
#include "governor/shares.h"
#include "governor/turns.h"
#include "slice/slice.h"
#include "slice/watch.h"
#include "token/token.h"

#define MAX_DEVICES CONFIG_MAX_DEVICES

struct governor_front *governor_sole_front; /* read by all threads */

static struct governor_front *fronts; /* one a device */
static struct device *devices;
static _Atomic uint32_t *captures; /* in progress; wiped at fork */
static _Atomic unsigned device_count;
/* struct governor_terms in one word, so that nobody reads half of a change. Pass to children. */
static _Atomic uint64_t terms_of[MAX_DEVICES];

bool governor_init(void)
{
	for (unsigned i = 0; i < MAX_DEVICES; i++) {
		shares_set(i, PPM_WHOLE);
		governor_set_burst(i, GOVERNOR_DEFAULT_BURST_NS);
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

static uint64_t pack(const struct governor_terms *terms)
{
	return (uint64_t)(uint32_t)terms->quantum_ns | (uint64_t)(terms->weight & 0xffff) << 32 |
	       (uint64_t)terms->has_turns << 48 | (uint64_t)terms->may_borrow << 49 |
	       (uint64_t)terms->is_latency << 50;
}

struct governor_terms governor_terms(unsigned device)
{
	uint64_t word = atomic_load_explicit(&terms_of[device], memory_order_relaxed);

	return (struct governor_terms){
		.has_turns = (word >> 48 & 1) != 0,
		.may_borrow = (word >> 49 & 1) != 0,
		.is_latency = (word >> 50 & 1) != 0,
		.weight = (uint32_t)(word >> 32) & 0xffff,
		.quantum_ns = (uint32_t)word,
	};
}

/* Whether launches on it are any business of ours. */
static bool is_governed(unsigned device)
{
	return governor_share(device) < PPM_WHOLE || governor_terms(device).has_turns;
}

void governor_move_credit(struct governor_front *front, _Atomic int64_t *credit_ns)
{
	/* release: pairs with the acquire in governor_credit() */
	atomic_store_explicit(
		&front->credit_at, (uintptr_t)credit_ns - (uintptr_t)front, memory_order_release);
}

struct governor_front *governor_front_of(const struct device *dev)
{
	return &fronts[dev - devices];
}

unsigned governor_number_of(const struct device *dev)
{
	return (unsigned)(dev - devices);
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

/* Lets the command go, with the lock held: bills it as predicted, and has it measured where that is
 * due. */
static void let_go(struct device *dev, const struct command *command, CUcontext context,
	const struct decision *decision, uint64_t now_ns, struct ticket *ticket)
{
	struct governor_front *front = governor_front_of(dev);
	uint64_t predicted_ns = costs_expect(&front->costs, command->key, COSTS_UNKNOWN_NS);
	bool is_known = costs_known(&front->costs, command->key) != COSTS_NOT_KNOWN;
	bool is_dense = books_note_lane(dev, command->lane);

	ticket->front = front;
	ticket->cost_ns = predicted_ns;
	turns_join(dev, command->lane);
	if (dev->oldest == NULL)
		dev->moved_at_ns = now_ns;
	if (decision->is_forced)
		dev->forced_at_ns = now_ns;
	/* It runs behind what other processes still have on the device. */
	uint64_t since_ns = decision->others_drain_ns > now_ns ? decision->others_drain_ns : now_ns;
	books_spend(dev, since_ns, (int64_t)predicted_ns);
	/* However little of it others do not cover, it runs from begin to end. */
	uint64_t lane_end_ns = is_dense ? flights_lane_end_ns(dev, command->lane, since_ns) : 0;
	if (dev->lanes_drained_at_ns < (int64_t)lane_end_ns)
		dev->lanes_drained_at_ns = (int64_t)lane_end_ns;
	dev->unseen_ns += predicted_ns;
	bool is_for_itself =
		is_dense || decision->is_beyond || !is_known || predicted_ns >= SAMPLE_AFTER_NS;
	bool is_sample = !is_for_itself && dev->unsampled_ns + predicted_ns >= dev->sample_after_ns;
	if (is_for_itself || is_sample)
		ticket->flight = begin_flight(dev, command, context, predicted_ns, now_ns);
	books_note_sample(
		dev, is_sample ? ticket->flight : NULL, is_for_itself ? 0 : predicted_ns, now_ns);
	if (ticket->flight != NULL) {
		ticket->flight->is_dense = is_dense;
		ticket->flight->ends_at_ns = lane_end_ns;
		ticket->is_measured = ticket->flight->meter != NULL;
		ticket->pair = ticket->flight->pair;
	}
	if (is_dense)
		books_report(dev, now_ns);
	else
		books_grant(dev, now_ns);
	shares_tell_group(dev, dev->number, now_ns);
}

/* Launches that nothing holds come by once all the same where there is something to tell. */
static bool may_be_free(unsigned device)
{
	return !is_governed(device) && !atomic_load_explicit(&watch_has_news, memory_order_relaxed);
}

/* A device without a share is not looked at again, until it gets one. Others are told at once what
 * has changed, for this process may not launch for a while. */
static void set_free(struct device *dev)
{
	lock_take(&dev->lock);
	books_agree(dev);
	struct governor_front *front = governor_front_of(dev);
	bool is_free = may_be_free(governor_number_of(dev));
	atomic_store_explicit(&front->is_free, is_free, memory_order_relaxed);
	if (is_free)
		atomic_store_explicit(&front->lane, NO_LANE, memory_order_relaxed);
	lock_drop(&dev->lock);
}

void governor_set_terms(unsigned device, const struct governor_terms *terms)
{
	atomic_store_explicit(&terms_of[device], pack(terms), memory_order_relaxed);
	set_free(&devices[device]);
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
	static uint32_t seen_ppm[MAX_DEVICES];
	unsigned count = atomic_load_explicit(&device_count, memory_order_relaxed);

	for (unsigned i = 0; i < count; i++) {
		bool is_free = atomic_load_explicit(&fronts[i].is_free, memory_order_relaxed);
		uint32_t ppm = governor_share(i);
		/* Launches that wait go by what the share was when they looked. */
		if (is_free != may_be_free(i) || ppm != seen_ppm[i])
			set_free(&devices[i]);
		seen_ppm[i] = ppm;
	}
}

/* The device that does the work: the stream's, for a copy, a memset or a graph need not be launched
 * in its context, nor in any. */
static bool find_device(CUstream stream, CUdevice *ret_device)
{
	CUcontext current = NULL, context;
	bool is_known = driver.cuCtxGetDevice(ret_device) == CUDA_SUCCESS;
	bool is_sole = atomic_load_explicit(&device_count, memory_order_relaxed) == 1;

	if ((is_known && is_sole) || stream_is_default(stream) ||
		driver.cuCtxGetCurrent(&current) != CUDA_SUCCESS ||
		!stream_get_context(stream, &context) || context == current ||
		driver.cuCtxPushCurrent_v2(context) != CUDA_SUCCESS)
		return is_known;
	is_known = driver.cuCtxGetDevice(ret_device) == CUDA_SUCCESS;
	driver.cuCtxPopCurrent_v2(&context);
	return is_known;
}

void governor_wait(const struct command *command, struct ticket *ret_ticket)
{
	CUcontext context = NULL;
	CUdevice device;
	uint64_t now_ns;

	*ret_ticket = (struct ticket){.stream = command->stream};
	if (!find_device(command->stream, &device) || !slice_exists(device))
		return;
	watch_tell();
	struct device *dev = &devices[device];
	if (!is_governed((unsigned)device)) {
		set_free(dev);
		return;
	}
	if (!stream_find_context(command->stream, &context))
		return;
	/* Before the lock is taken: the thread that takes our slot may be about to set a share,
	 * for which it needs the lock. */
	(void)token_join((unsigned)device);
	struct decision decision = turns_wait(dev, command, &now_ns);
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
		books_return_sample(dev, flight);
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
			atomic_fetch_add_explicit(governor_credit(ticket->front),
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
		books_settle_credit(dev, clock_now_ns());
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
	books_update(dev, true, now_ns);
	if (meter->context == NULL)
		return;
	if (flights_has(dev, meter))
		meter->endings++;
	else
		meter_finish(meter);
}

void governor_settle_context(CUcontext context)
{
	for_context(context, settle_context);
}

static void keep_context(struct device *dev, struct meter *meter, uint64_t now_ns)
{
	(void)dev;
	(void)now_ns;
	if (meter->endings > 0)
		meter->endings--;
}

void governor_keep_context(CUcontext context)
{
	for_context(context, keep_context);
}

void governor_lose_context(CUcontext context)
{
	for_context(context, flights_lose);
}

void governor_doubt(uint64_t key)
{
	flights_doubt(devices, fronts, atomic_load(&device_count), key);
}
