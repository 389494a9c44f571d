/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A bucket of GPU time: it fills at the share's rate up to the burst, and every bill takes from
 * it, if need be below zero (debt). Whoever is let go only while something is in it uses, over any
 * window of W ns, at most share * W + burst + the longest command. Pure arithmetic: the clock is
 * an argument.
 *
 * What is in it stands in one word, the time at which nothing was or will be in it: so several
 * processes can spend one bucket together, and whatever instruction one of them is stopped or
 * killed at, the others go on. They have the same clock.
 */
#ifndef CUSLICE_GOVERNOR_BUCKET_H
#define CUSLICE_GOVERNOR_BUCKET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* All that the users of a bucket share. Zeroes are a bucket that nobody has used yet. */
enum {
	BUCKET_ZERO_AT, /* int64_t, ns: level = (now - zero_at) * share; ahead of now in debt */
	BUCKET_SHARE,   /* the share by which that was reckoned, ppm; 0: nobody's yet */
	BUCKET_WORDS
};
typedef _Atomic uint64_t bucket_word;

/* One user's sight of it. */
struct bucket {
	bucket_word *words;
	uint32_t share_ppm;    /* 1 .. 1000000 */
	uint64_t burst_ns;     /* most that it holds */
	int64_t level_ns;      /* GPU time in it, as the last call saw it; below zero is debt */
	uint64_t filled_at_ns; /* up to when it has been filled */
	int64_t seen_ns;       /* the word, as the last call saw it */
	/* Billed here, and not yet in the word because it is less than a ns of it makes; in
	 * millionths of a ns. So each user's bills are exact together. */
	uint64_t remainder;
};

/* Comes to use the bucket of `words`, which is full if it is its first user. The words outlive it.
 */
void bucket_init(struct bucket *bucket, bucket_word words[BUCKET_WORDS], uint32_t share_ppm,
	uint64_t burst_ns, uint64_t now_ns);

/* Goes on at another rate; what was in it at the last fill stays. All users are to do so about the
 * same time: the first moves the word, which the others then still reckon by the old share. */
void bucket_set_share(struct bucket *bucket, uint32_t share_ppm);

/* Brings the level up to now. Time that runs backwards adds nothing. While up to
 * `unbilled_ns` of work may be on its way beyond what was billed for it, the bucket holds so much
 * more than the burst: what a command longer than the burst earns while it runs would be lost
 * otherwise. */
void bucket_fill(struct bucket *bucket, uint64_t now_ns, uint64_t unbilled_ns);

/* True where that would find more than it holds, so that something is lost. */
bool bucket_overflows(const struct bucket *bucket, uint64_t now_ns, uint64_t unbilled_ns);

/* Takes used GPU time; less than nothing gives some back. */
void bucket_bill(struct bucket *bucket, int64_t used_ns);

/* How long, from the last fill, until more than `wanted_ns` is in it; 0 where it is already.
 * Where that is more than it can hold, until it is full. */
uint64_t bucket_wait_ns(const struct bucket *bucket, uint64_t wanted_ns);

#endif
