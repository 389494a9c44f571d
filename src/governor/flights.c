/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "governor/flights.h"
#include "base/clock.h"
#include "token/token_protocol.h"

/* By so much a sample may seem longer than the time it stands for: commands that differ much do,
 * and others make up for it. */
#define SAMPLE_ERROR_NS (20 * NS_PER_MS)

void flights_init(struct device *dev)
{
	dev->newest_next = &dev->oldest;
	for (unsigned i = 0; i < MAX_FLIGHTS; i++) {
		dev->flights[i].next = dev->spare;
		dev->spare = &dev->flights[i];
	}
}

void flights_bill(struct device *dev, int64_t used_ns)
{
	bucket_bill(&dev->bucket, used_ns);
	atomic_fetch_add_explicit(&dev->billed_ns, used_ns, memory_order_relaxed);
}

static bool is_later(uint64_t a, uint64_t b)
{
	return (int64_t)(a - b) > 0;
}

/* What other processes have on the device. */
struct others {
	uint64_t used_ns;    /* GPU time, until now: not what should still run */
	uint64_t last_at_ns; /* when they last had it: now, or when all of it should have ended */
};

static struct others look_at_others(struct device *dev, uint64_t now_ns)
{
	if (dev->token == NULL)
		return (struct others){0};
	uint64_t drain_ns = token_others_drain_ns(dev->token, now_ns);
	uint64_t left_ns = drain_ns > now_ns ? drain_ns - now_ns : 0;
	return (struct others){
		.used_ns = token_others_used_ns(dev->token) - left_ns,
		.last_at_ns = drain_ns < now_ns ? drain_ns : now_ns,
	};
}

/* What they had used when the command ended. That may have been a while ago: since then the device
 * was theirs. */
static uint64_t others_at_end_ns(const struct flight *flight, const struct meter_reading *reading,
	const struct others *others)
{
	uint64_t end_ns =
		reading->end_ns > flight->running_ns ? reading->end_ns : flight->running_ns;
	uint64_t since_ns = others->last_at_ns > end_ns ? others->last_at_ns - end_ns : 0;
	uint64_t at_end_ns = others->used_ns - since_ns;

	return is_later(at_end_ns, flight->others_running_ns) ? at_end_ns
							      : flight->others_running_ns;
}

/* GPU time of others that its measurement may contain. Of several that run beside each other each
 * is billed for what no other covered, and contains of others' time what has been used since the
 * end of what these covered. Of one by itself it is the most that may be: the device need not have
 * been theirs all the time since it ended, and what is not taken off is believed to be its own. */
static uint64_t beside_ns(const struct flight *flight, const struct meter_reading *reading,
	const struct others *others)
{
	uint64_t until_ns = others->used_ns, since_ns = flight->others_ns;

	if (flight->is_dense) {
		until_ns = others_at_end_ns(flight, reading, others);
		if (is_later(flight->meter->others_covered_ns, since_ns))
			since_ns = flight->meter->others_covered_ns;
		if (is_later(until_ns, since_ns))
			flight->meter->others_covered_ns = until_ns;
	}
	return is_later(until_ns, since_ns) ? until_ns - since_ns : 0;
}

/* A length is the most that a command took, and where nobody else used the device, just that. */
static void learn_length(struct device *dev, uint64_t length_ns, bool is_alone)
{
	if (dev->lane_length_ns == 0)
		dev->lane_length_ns = length_ns;
	else if (is_alone || length_ns < dev->lane_length_ns)
		dev->lane_length_ns = (3 * dev->lane_length_ns + length_ns) / 4;
}

/* One that still runs covers what those that have ended did not, of which no more can be said than
 * what others covered by themselves. */
static void learn_lanes_end(struct device *dev, const struct meter_reading *reading)
{
	if (reading->fresh_ns == 0)
		return;
	if (dev->lane_fresh_ns == 0)
		dev->lane_fresh_ns = reading->fresh_ns;
	else
		dev->lane_fresh_ns = (3 * dev->lane_fresh_ns + reading->fresh_ns) / 4;
	int64_t next_end_ns = (int64_t)(reading->end_ns + dev->lane_fresh_ns);
	if (dev->lanes_drained_at_ns < next_end_ns)
		dev->lanes_drained_at_ns = next_end_ns;
}

struct flight *flights_begin(
	struct device *dev, const struct command *command, uint64_t predicted_ns, uint64_t now_ns)
{
	struct flight *flight = dev->spare;

	if (flight == NULL)
		return NULL;
	bool is_first = flights_on(dev, command->lane) == NULL;

	dev->spare = flight->next;
	*flight = (struct flight){
		.key = command->key,
		.lane = command->lane,
		.predicted_ns = predicted_ns,
		.admitted_ns = now_ns,
		.running_ns = now_ns,
		.others_ns = look_at_others(dev, now_ns).used_ns,
		.is_first = is_first,
	};
	*dev->newest_next = flight;
	flight->others_running_ns = flight->others_ns;
	dev->newest_next = &flight->next;
	dev->in_flight_ns += predicted_ns;
	if (is_first)
		dev->running_ns += predicted_ns;
	return flight;
}

void flights_see_others(struct device *dev, uint64_t used_ns)
{
	for (struct flight *flight = dev->oldest; flight != NULL; flight = flight->next) {
		flight->others_ns = used_ns;
		flight->others_running_ns = used_ns;
	}
	for (unsigned i = 0; i < MAX_CONTEXTS; i++)
		dev->meters[i].others_covered_ns = used_ns;
}

/* Takes the flight that *link points to out of the list. The next one on its stream runs now. */
static void end_flight(struct device *dev, struct flight **link)
{
	struct flight *flight = *link, *next = flight->next;

	while (flight->is_first && next != NULL && next->lane != flight->lane)
		next = next->next;
	if (flight->is_first) {
		dev->running_ns -= flight->predicted_ns;
		if (next != NULL) {
			next->is_first = true;
			dev->running_ns += next->predicted_ns;
		}
	}

	*link = flight->next;
	if (dev->newest_next == &flight->next)
		dev->newest_next = link;
	dev->in_flight_ns -= flight->predicted_ns;
	flight->next = dev->spare;
	dev->spare = flight;
}

void flights_forget(struct device *dev, struct flight *flight)
{
	struct flight **link = &dev->oldest;

	while (*link != flight)
		link = &(*link)->next;
	if (flight->meter != NULL)
		meter_keep_pair(flight->meter, flight->pair);
	end_flight(dev, link);
}

/* What was measured of the old teaches nothing of the new. */
void flights_doubt(
	struct device *devices, struct governor_front *fronts, unsigned count, uint64_t key)
{
	for (unsigned i = 0; i < count; i++) {
		struct device *dev = &devices[i];
		lock_take(&dev->lock);
		costs_doubt(&fronts[i].costs, key);
		for (struct flight *flight = dev->oldest; flight != NULL; flight = flight->next) {
			if (key == COSTS_ALL || flight->key == key)
				flight->key = 0;
		}
		lock_drop(&dev->lock);
	}
}

const struct flight *flights_on(const struct device *dev, const void *lane)
{
	const struct flight *flight = dev->oldest;

	while (flight != NULL && flight->lane != lane)
		flight = flight->next;
	return flight;
}

struct meter *flights_meter(struct device *dev, CUcontext context)
{
	struct meter *unused = NULL;

	for (unsigned i = 0; i < MAX_CONTEXTS; i++) {
		if (dev->meters[i].context == context)
			return dev->meters[i].endings > 0 ? NULL : &dev->meters[i];
		if (dev->meters[i].context == NULL && unused == NULL)
			unused = &dev->meters[i];
	}
	if (unused != NULL)
		unused->context = context;
	return unused;
}

uint64_t flights_lane_end_ns(const struct device *dev, const void *lane, uint64_t since_ns)
{
	for (const struct flight *flight = dev->oldest; flight != NULL; flight = flight->next) {
		if (flight->lane == lane && flight->ends_at_ns > since_ns)
			since_ns = flight->ends_at_ns;
	}
	return since_ns + dev->lane_length_ns;
}

bool flights_has(const struct device *dev, const struct meter *meter)
{
	for (const struct flight *flight = dev->oldest; flight != NULL; flight = flight->next) {
		if (flight->meter == meter)
			return true;
	}
	return false;
}

/* Ends what was in flight, which ran until `until_ns`, or where that is 0, until last seen. */
static void lose(struct device *dev, struct meter *meter, uint64_t until_ns)
{
	uint64_t since_ns = UINT64_MAX, longest_ns = 0, billed_ns = 0;

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
			if (flight->running_ns > until_ns)
				until_ns = flight->running_ns;
			if (flight->predicted_ns > longest_ns)
				longest_ns = flight->predicted_ns;
			billed_ns += flight->predicted_ns;
			end_flight(dev, link);
		}
	}
	uint64_t used_ns = billed_ns > 0 ? until_ns - since_ns : 0;
	if (used_ns < longest_ns)
		used_ns = longest_ns;
	flights_bill(dev, (int64_t)(used_ns - billed_ns));
	*meter = (struct meter){0};
}

void flights_lose(struct device *dev, struct meter *meter, uint64_t now_ns)
{
	lose(dev, meter, now_ns);
}

/* What a command took, between the least and the most that its measurement allows: what its kind
 * was seen to take so far, where that is between them. Beside others on other streams it is billed
 * for what they did not cover, of which no kind says what is usual. */
static uint64_t likely_ns(const struct costs *costs, const struct flight *flight,
	const struct meter_reading *reading, uint64_t beside_ns)
{
	uint64_t most_ns = flight->is_dense ? reading->fresh_ns : reading->length_ns;
	uint64_t slack_ns = beside_ns + (flight->is_dense ? 0 : reading->slack_ns);
	uint64_t least_ns = most_ns > slack_ns ? most_ns - slack_ns : 0;
	uint64_t usual_ns = flight->is_dense ? least_ns : costs_expect(costs, flight->key, most_ns);

	if (usual_ns < least_ns)
		return least_ns;
	return usual_ns < most_ns ? usual_ns : most_ns;
}

/* What the command took, and what was billed too little or too much for all that it is the sample
 * of: as much more or less than predicted as the command itself. Of those that cost now little and
 * now much the average is low while many go, and high while few do, so that without this a third of
 * their time went unbilled. One that may have been held up by the host speaks for itself alone, and
 * nothing takes longer than the time that has passed. */
static int64_t sampled_ns(
	const struct flight *flight, uint64_t used_ns, uint64_t doubt_ns, uint64_t now_ns)
{
	uint64_t apart_ns = used_ns > flight->predicted_ns ? used_ns - flight->predicted_ns
							   : flight->predicted_ns - used_ns;
	uint64_t most_ns = now_ns - flight->since_ns + SAMPLE_ERROR_NS;

	if (flight->stands_for_ns <= flight->predicted_ns || flight->predicted_ns == 0 ||
		apart_ns <= doubt_ns)
		return (int64_t)used_ns;
	uint64_t others_ns = flight->stands_for_ns - flight->predicted_ns;
	unsigned __int128 scaled_ns =
		(unsigned __int128)others_ns * used_ns / flight->predicted_ns + used_ns;
	if (scaled_ns > most_ns && used_ns > flight->predicted_ns)
		scaled_ns = most_ns > others_ns + used_ns ? most_ns : others_ns + used_ns;
	return (int64_t)scaled_ns - (int64_t)others_ns;
}

/* Of commands that run beside each other one pays for all, and many for nothing: an average of a
 * few would be next to nothing just before a turn begins, and all of them would be let go. */
static uint64_t smooth(const struct costs *costs, const struct flight *flight, uint64_t used_ns)
{
	return (3 * costs_expect(costs, flight->key, used_ns) + used_ns) / 4;
}

/* The first of its kind has ended. What was let go of it before was billed as if it were short; it
 * is billed, and others are told, how long it will take by all that is known. Samples were billed
 * by what was known then, though that may have made room for another since. */
static void predict_again(struct device *dev, const struct flight *ended, uint64_t length_ns)
{
	for (struct flight *flight = dev->oldest; flight != NULL; flight = flight->next) {
		if (flight == ended || flight->key != ended->key || flight->is_dense ||
			flight->stands_for_ns != 0)
			continue;
		uint64_t more_ns = length_ns - flight->predicted_ns;
		flights_bill(dev, (int64_t)more_ns);
		dev->drained_at_ns += (int64_t)more_ns;
		dev->in_flight_ns += more_ns;
		if (flight->is_first)
			dev->running_ns += more_ns;
		flight->predicted_ns = length_ns;
	}
}

static void settle(struct device *dev, struct costs *costs, const struct flight *flight,
	const struct meter_reading *reading, const struct others *others, uint64_t now_ns)
{
	uint64_t others_ns = beside_ns(flight, reading, others);
	uint64_t used_ns = likely_ns(costs, flight, reading, others_ns);
	int64_t beyond_ns = sampled_ns(flight, used_ns, flight->gaps.doubt_ns + others_ns, now_ns) -
			    (int64_t)flight->predicted_ns;
	bool is_first = costs_expect(costs, flight->key, 0) == 0;

	flights_bill(dev, beyond_ns);
	dev->drained_at_ns += beyond_ns;
	if (flight->is_dense) {
		learn_length(dev, reading->length_ns, others_ns == 0);
		learn_lanes_end(dev, reading);
	} else if (is_first && flight->key != 0) {
		predict_again(dev, flight, used_ns);
	}
	costs_learn(
		costs, flight->key, flight->is_dense ? smooth(costs, flight, used_ns) : used_ns);
}

void flights_harvest(
	struct device *dev, struct costs *costs, unsigned most_running, uint64_t now_ns)
{
	struct meter_reading reading;
	struct others others = {0};
	unsigned running = 0;

	if (dev->oldest != NULL)
		others = look_at_others(dev, now_ns);
	for (struct flight **link = &dev->oldest; *link != NULL && running < most_running;) {
		struct flight *flight = *link;
		if (!flight->is_submitted || flight->meter->endings > 0) {
			link = &flight->next;
			continue;
		}
		struct meter_times times = {flight->admitted_ns, now_ns};
		switch (meter_read(flight->meter, flight->pair, &flight->gaps, &times, &reading)) {
		case METER_RUNNING:
			running++;
			flight->running_ns = now_ns;
			flight->others_running_ns = others.used_ns;
			link = &flight->next;
			break;
		case METER_DONE:
			settle(dev, costs, flight, &reading, &others, now_ns);
			dev->ended_at_ns = flight->is_dense ? now_ns : reading.end_ns;
			end_flight(dev, link);
			dev->moved_at_ns = now_ns;
			break;
		case METER_BROKEN:
			lose(dev, flight->meter, 0);
			link = &dev->oldest;
			break;
		}
	}
	/* Nothing was let go since the last that was measured, and that has ended. */
	if (dev->oldest == NULL && dev->unseen_ns == 0 && dev->drained_at_ns > (int64_t)now_ns)
		dev->drained_at_ns = (int64_t)now_ns;
	if (dev->oldest == NULL)
		dev->lanes_drained_at_ns = 0;
}
