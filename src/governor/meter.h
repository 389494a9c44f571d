/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Measures when commands ran on the GPU, by a pair of events around each. One meter a context, for
 * events of two contexts cannot be compared. The caller serialises calls on one meter, but for
 * meter_begin() and meter_end(), which only touch the pair they are given.
 */
#ifndef CUSLICE_GOVERNOR_METER_H
#define CUSLICE_GOVERNOR_METER_H

#include "driver/driver.h"
#include "governor/busy.h"

#include <stdbool.h>
#include <stdint.h>

#define METER_SPARE_PAIRS 64

struct meter_pair {
	CUevent begin, end;
};

struct meter {
	CUcontext context; /* NULL: not in use */
	unsigned endings; /* that are tried just now: the context may die, events are not touched */
	struct busy busy;
	/* Of flights.c: GPU time of other processes until the end of what is in `busy`. */
	uint64_t others_covered_ns;
	/* Times are counted from `base`, which stands at origin_ns on the meter's own time line.
	 * cuEventElapsedTime gives a float of milliseconds, whose steps grow with the distance (4
	 * us after a minute), so the base moves on every few seconds. */
	CUevent base;
	int64_t origin_ns;
	/* At least by so much the host's clock is ahead of that line; and when that was seen. */
	int64_t ahead_ns;
	uint64_t ahead_at_ns;
	unsigned spare_count;
	struct meter_pair spare[METER_SPARE_PAIRS];
};

/* What the host saw of a command that was put on an idle stream: there the GPU comes to an event
 * when it is recorded, not when its neighbour's work begins or ends. Zeroes for a stream that had
 * work, but for the last. */
struct meter_gaps {
	uint64_t before_ns; /* from recording the begin to having launched */
	uint64_t after_ns;  /* from having launched to recording the end */
	uint64_t doubt_ns;  /* the first, on any stream: its work may have ended meanwhile */
};

/* When the host let the command go, before its begin was recorded, and when it asks for it. */
struct meter_times {
	uint64_t admitted_ns, now_ns;
};

/* What a pair says of its command. */
struct meter_reading {
	uint64_t length_ns; /* from its begin to its end; it took at most that */
	uint64_t fresh_ns;  /* the part of it that no other command of this meter was read for */
	uint64_t slack_ns;  /* by so much it may have been shorter */
	uint64_t end_ns;    /* when it ended by the host's clock, or a little before that */
};

/* The state of a command whose pair was recorded. */
enum meter_state {
	METER_RUNNING,
	METER_DONE,
	METER_BROKEN, /* the driver answers with an error: the context is of no more use */
};

/* Gets a pair, with `context` current or not. False where the driver gives none. */
bool meter_take_pair(struct meter *meter, struct meter_pair *ret_pair) MUST_CHECK;

/* Keeps the pair for the next command. */
void meter_keep_pair(struct meter *meter, struct meter_pair pair);

/* Destroys a pair whose meter ends; its command may still be running. */
void meter_drop_pair(struct meter_pair pair);

/* Destroys the meter's own events, while its context still lives, and frees it for another. */
void meter_finish(struct meter *meter);

/* Record around the command on its stream; false where the driver refuses. Threads: any. */
bool meter_begin(struct meter_pair pair, CUstream stream) MUST_CHECK;
bool meter_end(struct meter_pair pair, CUstream stream) MUST_CHECK;

/* Whether nothing is on the stream, as far as the driver tells. Threads: any. */
bool meter_is_idle(CUstream stream) MUST_CHECK;

/* Asks for a command. METER_DONE sets *ret_reading and takes the pair back; after any other answer
 * the pair is still the caller's. */
enum meter_state meter_read(struct meter *meter, struct meter_pair pair,
	const struct meter_gaps *gaps, const struct meter_times *times,
	struct meter_reading *ret_reading) MUST_CHECK;

#endif
