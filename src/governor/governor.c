/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "governor/governor.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/units.h"
#include "base/wipe.h"
#include "governor/bucket.h"
#include "governor/costs.h"
#include "slice/slice.h"

#include <stdatomic.h>

#define MAX_DEVICES  CONFIG_MAX_DEVICES
#define MAX_CONTEXTS 64  /* metered contexts of one device; more are billed as predicted */
#define MAX_FLIGHTS  128 /* commands in flight on one device */

/* What a tenant may do at once after a pause, unless governor_set_burst() says otherwise. */
#define DEFAULT_BURST_NS (20 * NS_PER_MS)
/* Predicted time in flight, beyond one command a stream: enough to keep the device busy, little
 * enough to stop soon. */
#define IN_FLIGHT_NS (2 * NS_PER_MS)
/* Commands mostly end in order; a few that have not must not cost a query each at every launch.
 * Before a launch waits, all are asked. */
#define MAX_RUNNING_SEEN 4
/* While commands are in flight, how long to sleep before asking for them again. */
#define LOOK_AGAIN_NS (100 * NS_PER_US)
/* When nothing has ended for this long, and for twice as long as the oldest should take, what is
 * in flight may be waiting for the very command that waits here: a spinning kernel for its partner,
 * a stream for a value that the host writes once all is queued. One more is let go each time. Its
 * bill comes later, so the share holds in the long run; a program that hangs would never get it. */
#define STALLED_NS (10 * NS_PER_MS)

struct flight {
	struct flight *next;
	const void *key;
	CUstream stream;
	uint64_t predicted_ns;
	uint64_t admitted_ns;
	struct meter *meter; /* NULL: not measured, billed as predicted when it is submitted */
	struct meter_pair pair;
	bool is_submitted;
};

/* Everything about one device. Wiped at fork: a child has nothing in flight. */
struct device {
	struct lock lock; /* held for bookkeeping only, never while waiting or launching */
	bool is_started;
	struct bucket bucket;
	uint64_t in_flight_ns; /* predicted */
	uint64_t moved_at_ns;  /* when a command last ended, or went first or past the bound */
	struct costs costs;
	struct flight *oldest, **newest_next; /* in order of admission */
	struct flight *spare;
	struct flight flights[MAX_FLIGHTS];
	struct meter meters[MAX_CONTEXTS];
	_Atomic uint64_t billed_ns;
};

static struct device *devices;
/* Both pass to children. */
static _Atomic uint32_t shares_ppm[MAX_DEVICES];
static _Atomic uint64_t bursts_ns[MAX_DEVICES];

bool governor_init(void)
{
	for (unsigned i = 0; i < MAX_DEVICES; i++) {
		atomic_store_explicit(&shares_ppm[i], PPM_WHOLE, memory_order_relaxed);
		governor_set_burst(i, DEFAULT_BURST_NS);
	}
	devices = wipe_alloc(MAX_DEVICES * sizeof(*devices));
	return devices != NULL;
}

uint32_t governor_share(unsigned device)
{
	return atomic_load_explicit(&shares_ppm[device], memory_order_relaxed);
}

void governor_tighten_share(unsigned device, uint32_t ppm)
{
	uint32_t seen = governor_share(device);

	while (ppm < seen && !atomic_compare_exchange_weak(&shares_ppm[device], &seen, ppm))
		;
}

void governor_set_burst(unsigned device, uint64_t burst_ns)
{
	atomic_store_explicit(&bursts_ns[device], burst_ns, memory_order_relaxed);
}

uint64_t governor_billed_ns(unsigned device)
{
	return atomic_load_explicit(&devices[device].billed_ns, memory_order_relaxed);
}

static void start_device(struct device *dev, uint32_t share_ppm, uint64_t now_ns)
{
	uint64_t burst_ns = atomic_load_explicit(&bursts_ns[dev - devices], memory_order_relaxed);

	bucket_init(&dev->bucket, share_ppm, burst_ns, now_ns);
	dev->newest_next = &dev->oldest;
	for (unsigned i = 0; i < MAX_FLIGHTS; i++) {
		dev->flights[i].next = dev->spare;
		dev->spare = &dev->flights[i];
	}
	dev->is_started = true;
}

static void bill(struct device *dev, uint64_t used_ns)
{
	bucket_bill(&dev->bucket, used_ns);
	atomic_fetch_add_explicit(&dev->billed_ns, used_ns, memory_order_relaxed);
}

/* Takes the flight that *link points to out of the list. */
static void end_flight(struct device *dev, struct flight **link)
{
	struct flight *flight = *link;

	*link = flight->next;
	if (dev->newest_next == &flight->next)
		dev->newest_next = link;
	dev->in_flight_ns -= flight->predicted_ns;
	flight->next = dev->spare;
	dev->spare = flight;
}

static bool has_flights(const struct device *dev, const struct meter *meter)
{
	for (const struct flight *flight = dev->oldest; flight != NULL; flight = flight->next) {
		if (flight->meter == meter)
			return true;
	}
	return false;
}

/* The meter's context has died, or its events answer with errors and it is of no more use to the
 * program either. Events are not touched. What was in flight cannot be asked any more: it is billed
 * as the time since the first of it was admitted, and at least as its longest was predicted. */
static void lose_meter(struct device *dev, struct meter *meter, uint64_t now_ns)
{
	uint64_t since_ns = now_ns, longest_ns = 0;

	for (struct flight **link = &dev->oldest; *link != NULL;) {
		struct flight *flight = *link;
		if (flight->meter != meter) {
			link = &flight->next;
		} else if (!flight->is_submitted) {
			flight->meter = NULL;
			link = &flight->next;
		} else {
			if (flight->admitted_ns < since_ns)
				since_ns = flight->admitted_ns;
			if (flight->predicted_ns > longest_ns)
				longest_ns = flight->predicted_ns;
			end_flight(dev, link);
		}
	}
	bill(dev, now_ns - since_ns > longest_ns ? now_ns - since_ns : longest_ns);
	*meter = (struct meter){0};
}

/* Bills what has ended, until `most_running` have been seen that have not. */
static void harvest(struct device *dev, unsigned most_running, uint64_t now_ns)
{
	unsigned running = 0;

	for (struct flight **link = &dev->oldest; *link != NULL && running < most_running;) {
		struct flight *flight = *link;
		uint64_t fresh_ns, length_ns;
		if (!flight->is_submitted) {
			link = &flight->next;
			continue;
		}
		switch (meter_read(flight->meter, flight->pair, &fresh_ns, &length_ns)) {
		case METER_RUNNING:
			running++;
			link = &flight->next;
			break;
		case METER_DONE:
			bill(dev, fresh_ns);
			costs_learn(&dev->costs, flight->key, length_ns);
			end_flight(dev, link);
			dev->moved_at_ns = now_ns;
			break;
		case METER_BROKEN:
			lose_meter(dev, flight->meter, now_ns);
			link = &dev->oldest;
			break;
		}
	}
}

static bool is_stalled(const struct device *dev, uint64_t now_ns)
{
	uint64_t patience_ns = 2 * dev->oldest->predicted_ns;

	if (patience_ns < STALLED_NS)
		patience_ns = STALLED_NS;
	return now_ns > dev->moved_at_ns + patience_ns;
}

/* The first command of an idle stream may always join those in flight on others: a program that
 * runs kernels side by side goes on doing so. */
static bool is_full(const struct device *dev, CUstream stream, uint64_t predicted_ns)
{
	const struct flight *flight = dev->oldest;
	uint64_t queued_ns = dev->in_flight_ns - dev->oldest->predicted_ns;

	if (dev->spare == NULL)
		return true;
	while (flight != NULL && flight->stream != stream)
		flight = flight->next;
	return flight != NULL && queued_ns + predicted_ns > IN_FLIGHT_NS;
}

/* How long this command has to wait at least, 0 where it may go. */
static uint64_t wait_ns(
	const struct device *dev, CUstream stream, uint64_t predicted_ns, uint64_t now_ns)
{
	uint64_t tokens_ns = bucket_wait_ns(&dev->bucket, dev->in_flight_ns);

	if (dev->oldest == NULL)
		return tokens_ns;
	if (is_full(dev, stream, predicted_ns) && !is_stalled(dev, now_ns))
		return LOOK_AGAIN_NS;
	/* What is in flight may turn out cheaper than predicted. */
	return tokens_ns < LOOK_AGAIN_NS ? tokens_ns : LOOK_AGAIN_NS;
}

static struct meter *find_meter(struct device *dev, CUcontext context)
{
	struct meter *unused = NULL;

	for (unsigned i = 0; i < MAX_CONTEXTS; i++) {
		if (dev->meters[i].context == context)
			return &dev->meters[i];
		if (dev->meters[i].context == NULL && unused == NULL)
			unused = &dev->meters[i];
	}
	if (unused != NULL)
		unused->context = context;
	return unused;
}

/* NULL where too many are in flight to remember another; it is billed as predicted then. */
static struct flight *begin_flight(
	struct device *dev, const struct command *command, uint64_t predicted_ns)
{
	struct flight *flight = dev->spare;

	if (flight == NULL)
		return NULL;
	dev->spare = flight->next;
	*flight = (struct flight){
		.key = command->key,
		.stream = command->stream,
		.predicted_ns = predicted_ns,
		.admitted_ns = dev->bucket.filled_at_ns,
	};
	*dev->newest_next = flight;
	dev->newest_next = &flight->next;
	dev->in_flight_ns += predicted_ns;
	return flight;
}

/* Brings the books up to now. The share is read each time: it may have been tightened while a
 * launch waited. */
static void update(struct device *dev, bool has_waited, uint64_t now_ns)
{
	uint32_t share_ppm = governor_share((unsigned)(dev - devices));

	if (!dev->is_started)
		start_device(dev, share_ppm, now_ns);
	bucket_fill(&dev->bucket, now_ns, dev->in_flight_ns);
	bucket_set_share(&dev->bucket, share_ppm);
	harvest(dev, has_waited ? MAX_FLIGHTS : MAX_RUNNING_SEEN, now_ns);
}

/* Waits for its turn; returns the predicted cost, with the lock held. */
static uint64_t wait_for_turn(struct device *dev, const struct command *command)
{
	for (bool has_waited = false;; has_waited = true) {
		lock_take(&dev->lock);
		uint64_t now_ns = clock_now_ns();
		update(dev, has_waited, now_ns);
		uint64_t predicted_ns = costs_predict(&dev->costs, command->key);
		uint64_t pause_ns = wait_ns(dev, command->stream, predicted_ns, now_ns);
		if (pause_ns == 0) {
			if (dev->oldest == NULL || is_stalled(dev, now_ns))
				dev->moved_at_ns = now_ns;
			return predicted_ns;
		}
		lock_drop(&dev->lock);
		if (has_waited)
			clock_sleep_ns(pause_ns);
	}
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

void governor_admit(const struct command *command, struct ticket *ret_ticket)
{
	CUcontext context = NULL;
	CUdevice device;

	*ret_ticket = (struct ticket){.stream = command->stream};
	if (driver.cuCtxGetDevice(&device) != CUDA_SUCCESS || !slice_exists(device))
		return;
	if (governor_share((unsigned)device) >= PPM_WHOLE ||
		!find_context(command->stream, &context))
		return;

	struct device *dev = &devices[device];
	uint64_t predicted_ns = wait_for_turn(dev, command);
	struct flight *flight = begin_flight(dev, command, predicted_ns);
	if (flight != NULL) {
		flight->meter = find_meter(dev, context);
		if (flight->meter != NULL && !meter_take_pair(flight->meter, &flight->pair))
			flight->meter = NULL;
		ret_ticket->is_measured = flight->meter != NULL;
		ret_ticket->pair = flight->pair;
	}
	lock_drop(&dev->lock);

	ret_ticket->is_governed = true;
	ret_ticket->device = (unsigned)device;
	ret_ticket->flight = flight;
	ret_ticket->predicted_ns = predicted_ns;
	if (ret_ticket->is_measured)
		ret_ticket->is_measured = meter_begin(ret_ticket->pair, command->stream);
}

/* The link that points to `flight`. */
static struct flight **link_to(struct device *dev, const struct flight *flight)
{
	struct flight **link = &dev->oldest;

	while (*link != flight)
		link = &(*link)->next;
	return link;
}

/* A failed launch costs nothing. One that cannot be measured costs what others did. */
static void end_unmeasured(struct device *dev, const struct ticket *ticket, bool is_launched)
{
	struct flight *flight = ticket->flight;

	if (is_launched)
		bill(dev, ticket->predicted_ns);
	if (flight == NULL)
		return;
	if (flight->meter != NULL)
		meter_keep_pair(flight->meter, flight->pair);
	end_flight(dev, link_to(dev, flight));
}

void governor_submitted(const struct ticket *ticket, CUresult result)
{
	if (!ticket->is_governed)
		return;
	struct device *dev = &devices[ticket->device];
	bool is_launched = result == CUDA_SUCCESS;
	bool is_measured =
		is_launched && ticket->is_measured && meter_end(ticket->pair, ticket->stream);

	lock_take(&dev->lock);
	if (is_measured && ticket->flight->meter != NULL)
		ticket->flight->is_submitted = true;
	else
		end_unmeasured(dev, ticket, is_launched);
	lock_drop(&dev->lock);
}

/* Calls `action` for the context's meter on each device, with the lock held. */
static void for_context(
	CUcontext context, void (*action)(struct device *dev, struct meter *meter, uint64_t now_ns))
{
	for (unsigned i = 0; i < MAX_DEVICES; i++) {
		struct device *dev = &devices[i];
		if (governor_share(i) >= PPM_WHOLE)
			continue;
		lock_take(&dev->lock);
		for (unsigned m = 0; m < MAX_CONTEXTS; m++) {
			if (dev->meters[m].context == context)
				action(dev, &dev->meters[m], clock_now_ns());
		}
		lock_drop(&dev->lock);
	}
}

static void settle(struct device *dev, struct meter *meter, uint64_t now_ns)
{
	update(dev, true, now_ns);
	if (meter->context != NULL && !has_flights(dev, meter))
		meter_finish(meter);
}

void governor_settle_context(CUcontext context)
{
	for_context(context, settle);
}

void governor_lose_context(CUcontext context)
{
	for_context(context, lose_meter);
}
