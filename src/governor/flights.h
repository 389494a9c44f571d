/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What the governor keeps of one device: its bucket, what was spent and billed, and the flights:
 * measured commands between their admission and their reading. The caller holds the device's lock
 * for all of it.
 */
#ifndef CUSLICE_GOVERNOR_FLIGHTS_H
#define CUSLICE_GOVERNOR_FLIGHTS_H

#include "base/lock.h"
#include "governor/bucket.h"
#include "governor/governor.h"
#include "governor/line.h"
#include "governor/meter.h"

#define MAX_CONTEXTS 64  /* metered contexts of one device; more are billed as predicted */
#define MAX_FLIGHTS  128 /* measured commands in flight on one device */

/* Commands on several streams run beside each other, and together use less GPU time than the sum of
 * their lengths. So each is measured as long as there are several, and pays for what no other
 * covered. After so much work and so many launches that the governor saw it is looked again whether
 * there are. */
#define LANES_FOR_NS       (10 * NS_PER_MS)
#define LANES_FOR_LAUNCHES 32u

/* A turn is what goes together when GPU time comes in: streams that run beside each other shall do
 * so under a share too, up to so many. */
#define MAX_JOINED 16

struct token_seat;

struct flight {
	struct flight *next;
	uint64_t key; /* 0: it teaches nothing */
	const void *lane;
	uint64_t predicted_ns; /* what was billed at its admission */
	uint64_t admitted_ns;
	uint64_t stands_for_ns; /* predicted work, with its own, that it is the sample of; or 0 */
	uint64_t since_ns;      /* none of which was let go before */
	uint64_t ends_at_ns;    /* where it is dense: when it should */
	uint64_t running_ns;    /* when it was last known not to have ended */
	uint64_t others_ns;     /* GPU time that other processes had used when it was admitted, */
	uint64_t others_running_ns; /* and when it was last known not to have ended */
	struct meter *meter;        /* NULL: not measured, stays billed as predicted */
	struct meter_pair pair;
	struct meter_gaps gaps;
	bool is_submitted;
	bool is_first; /* on its stream */
	bool is_dense; /* its neighbours are measured too: it pays for what it alone covers */
};

/* Everything about one device. Wiped at fork: a child has nothing in flight. */
struct device {
	struct lock lock; /* held for bookkeeping only, never while waiting or launching */
	bool is_started;
	unsigned number;
	struct governor_front *front;
	struct governor_terms terms;

	struct token_seat *token;   /* among the processes at the device; NULL where it has none */
	bool is_shared;             /* there are others */
	unsigned wanting;           /* launches that wait for the token */
	int64_t reported_ns;        /* of billed_ns */
	bool is_denied;             /* others kept us from what is in the bucket, */
	uint64_t denied_at_ns;      /* until then at least */
	uint64_t owed_ns;           /* what was earned meanwhile, and is in the bucket still */
	uint64_t in_flight_most_ns; /* how much work may be, beyond one command a stream */

	_Atomic uint32_t turn; /* what launches that wait sleep on */
	unsigned waiting;
	bucket_word own_words[BUCKET_WORDS]; /* where no group shares a bucket */
	struct bucket bucket;
	line_word *line; /* of the group; NULL where no group shares a bucket */
	struct line_place place;
	_Atomic int64_t billed_ns;

	int64_t granted_ns;       /* the credit that was given, of which the rest was spent */
	uint64_t looked_at_ns;    /* when that was last looked at */
	int64_t drained_at_ns;    /* when all that was let go should have ended, as predicted */
	uint64_t unseen_ns;       /* predicted work since the last measured command */
	uint64_t unsampled_ns;    /* predicted work that was not measured since the last sample */
	uint64_t sample_after_ns; /* how much of it calls for the next */
	uint64_t sampled_at_ns;   /* when that was */
	uint64_t random;

	unsigned lane_count;   /* streams seen since they were last forgotten */
	bool had_lanes;        /* several were seen before that */
	uint64_t lane_work_ns; /* predicted work since then */
	unsigned lane_launches;
	uint64_t lane_length_ns;     /* what commands take beside others, each from begin to end */
	uint64_t lane_fresh_ns;      /* what they cover by themselves, where they do */
	int64_t lanes_drained_at_ns; /* when those that were let go should have ended */

	const void *joined[MAX_JOINED]; /* streams that have gone in this turn */
	unsigned joined_count;

	uint64_t in_flight_ns; /* predicted, of all flights */
	uint64_t running_ns;   /* the same, of the first of each stream */
	uint64_t moved_at_ns;  /* when a flight was last seen to have ended, or went first */
	uint64_t ended_at_ns;  /* when that was; of flights beside each other, when it was seen */
	uint64_t forced_at_ns; /* when a launch last went past others that had stalled */
	struct flight *oldest, **newest_next; /* in order of admission */
	struct flight *spare;
	struct flight flights[MAX_FLIGHTS];
	struct meter meters[MAX_CONTEXTS];
};

void flights_init(struct device *dev);

/* In governor.c. */
struct governor_front *governor_front_of(const struct device *dev);
unsigned governor_number_of(const struct device *dev);
struct governor_terms governor_terms(unsigned device);
void governor_move_credit(struct governor_front *front, _Atomic int64_t *credit_ns);

/* Takes GPU time from the bucket; less than nothing gives some back. */
void flights_bill(struct device *dev, int64_t used_ns);

/* NULL where there are MAX_FLIGHTS. */
struct flight *flights_begin(
	struct device *dev, const struct command *command, uint64_t predicted_ns, uint64_t now_ns);

/* Others can be seen from now on, when they have used so much GPU time. */
void flights_see_others(struct device *dev, uint64_t used_ns);

/* The command was not launched, or could not be measured. */
void flights_forget(struct device *dev, struct flight *flight);

/* Doubts what the key costs, on each of the devices, whose locks it takes. */
void flights_doubt(
	struct device *devices, struct governor_front *fronts, unsigned count, uint64_t key);

/* The oldest on that stream, or NULL. */
const struct flight *flights_on(const struct device *dev, const void *lane);

/* When a command on the stream should end that runs beside others on other streams, and since
 * `since_ns` at the earliest. */
uint64_t flights_lane_end_ns(const struct device *dev, const void *lane, uint64_t since_ns);

/* Reads what has ended, sets its bill right and learns from it, until `most_running` have been seen
 * that have not. */
void flights_harvest(
	struct device *dev, struct costs *costs, unsigned most_running, uint64_t now_ns);

/* The meter of a context; NULL where there are MAX_CONTEXTS, or it is about to end. */
struct meter *flights_meter(struct device *dev, CUcontext context);
bool flights_has(const struct device *dev, const struct meter *meter);

/* The meter's context has died. Events are not touched. What was in flight cannot be asked any
 * more: it is billed as the time since the first of it was admitted, and at least as its longest
 * was predicted. The same happens where events answer with errors and the context is of no more use
 * to the program either; there what was in flight may have ended long ago, and is billed as the
 * time until it was last seen not to have. */
void flights_lose(struct device *dev, struct meter *meter, uint64_t now_ns);

#endif
