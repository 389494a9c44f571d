/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A bucket of GPU time: it fills at the share's rate up to the burst, and every bill takes from
 * it, if need be below zero (debt). Whoever is let go only while something is in it uses, over any
 * window of W ns, at most share * W + burst + the longest command. Pure arithmetic: the clock is
 * an argument.
 */
#ifndef CUSLICE_GOVERNOR_BUCKET_H
#define CUSLICE_GOVERNOR_BUCKET_H

#include <stdint.h>

struct bucket {
	uint32_t share_ppm;    /* 1 .. 1000000 */
	uint64_t burst_ns;     /* most that it holds */
	int64_t level_ns;      /* GPU time in it; below zero is debt */
	uint64_t filled_at_ns; /* up to when it has been filled */
	uint64_t remainder;    /* millionths of a ns not yet in the level, so that none is lost */
};

/* A full bucket. */
void bucket_init(struct bucket *bucket, uint32_t share_ppm, uint64_t burst_ns, uint64_t now_ns);

/* Goes on at another rate; what was earned up to the last fill stays. */
void bucket_set_share(struct bucket *bucket, uint32_t share_ppm);

/* Brings the level up to now. Time that runs backwards adds nothing. While up to
 * `unbilled_ns` of work may be on its way beyond what was billed for it, the bucket holds so much
 * more than the burst: what a command longer than the burst earns while it runs would be lost
 * otherwise. */
void bucket_fill(struct bucket *bucket, uint64_t now_ns, uint64_t unbilled_ns);

/* Takes used GPU time; less than nothing gives some back. */
void bucket_bill(struct bucket *bucket, int64_t used_ns);

/* How long, from the last fill, until more than `wanted_ns` is in it; 0 where it is already.
 * Where that is more than it can hold, until it is full. */
uint64_t bucket_wait_ns(const struct bucket *bucket, uint64_t wanted_ns);

#endif
