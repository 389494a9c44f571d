/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Memory order: the words carry nothing but themselves, so all accesses are relaxed.
 */
#include "governor/bucket.h"
#include "base/units.h"

/* Whatever is billed, the word stays within 146 years, either way. */
#define FARTHEST_NS (INT64_MAX / 2)

/* A number of millionths of a ns. */
typedef __int128 parts;

/* Rounded down, also below zero. */
static parts divide(parts number, uint64_t by)
{
	parts quotient = number / (parts)by;

	return number % (parts)by < 0 ? quotient - 1 : quotient;
}

static int64_t bound(parts at_ns)
{
	if (at_ns > FARTHEST_NS)
		return FARTHEST_NS;
	return at_ns < -FARTHEST_NS ? -FARTHEST_NS : (int64_t)at_ns;
}

/* What is in it at the last fill, as the word was seen. */
static parts level_of(const struct bucket *bucket)
{
	return ((parts)bucket->filled_at_ns - bucket->seen_ns) * bucket->share_ppm -
	       (parts)bucket->remainder;
}

static void look(struct bucket *bucket)
{
	bucket->seen_ns =
		(int64_t)atomic_load_explicit(&bucket->words[BUCKET_ZERO_AT], memory_order_relaxed);
}

/* Where another has changed the word since it was seen, only looks. */
static bool swap(struct bucket *bucket, int64_t wanted_ns)
{
	uint64_t seen = (uint64_t)bucket->seen_ns;
	bool is_done = atomic_compare_exchange_strong_explicit(&bucket->words[BUCKET_ZERO_AT],
		&seen, (uint64_t)wanted_ns, memory_order_relaxed, memory_order_relaxed);

	bucket->seen_ns = is_done ? wanted_ns : (int64_t)seen;
	return is_done;
}

static bool swap_share(struct bucket *bucket, uint64_t seen, uint64_t wanted)
{
	return atomic_compare_exchange_strong_explicit(&bucket->words[BUCKET_SHARE], &seen, wanted,
		memory_order_relaxed, memory_order_relaxed);
}

/* The word for a level at the last fill, and what it leaves over. */
static int64_t zero_for(const struct bucket *bucket, parts level, uint64_t *ret_remainder)
{
	parts ahead_ns = divide(-level, bucket->share_ppm);

	*ret_remainder = (uint64_t)(-level - ahead_ns * bucket->share_ppm);
	return bound((parts)bucket->filled_at_ns + ahead_ns);
}

static void settle_level(struct bucket *bucket)
{
	bucket->level_ns = (int64_t)divide(level_of(bucket), PPM_WHOLE);
}

void bucket_init(struct bucket *bucket, bucket_word words[BUCKET_WORDS], uint32_t share_ppm,
	uint64_t burst_ns, uint64_t now_ns)
{
	uint64_t remainder;

	*bucket = (struct bucket){
		.words = words,
		.share_ppm = share_ppm,
		.burst_ns = burst_ns,
		.filled_at_ns = now_ns,
	};
	/* With seen_ns as in words that nobody has used: whoever bills first makes it full too,
	 * for zero is long ago. */
	if (swap_share(bucket, 0, share_ppm)) {
		int64_t full_ns = zero_for(bucket, (parts)burst_ns * PPM_WHOLE, &remainder);
		if (swap(bucket, full_ns))
			bucket->remainder = remainder;
	}
	bucket_set_share(bucket, share_ppm);
	bucket_fill(bucket, now_ns, 0);
}

/* The word is moved by what keeps the level as it was seen, and not set: if we are stopped
 * meanwhile, bills of others are not lost, and the move is no wilder for coming late. If we are
 * killed meanwhile, a debt is paid in the time that it would have taken. */
static void move_to(struct bucket *bucket, uint32_t share_ppm)
{
	parts level = level_of(bucket);
	int64_t from_ns = bucket->seen_ns;

	bucket->share_ppm = share_ppm;
	parts moved_ns = (parts)zero_for(bucket, level, &bucket->remainder) - from_ns;
	while (!swap(bucket, bound(bucket->seen_ns + moved_ns)))
		;
}

void bucket_set_share(struct bucket *bucket, uint32_t share_ppm)
{
	uint64_t before_ppm =
		atomic_load_explicit(&bucket->words[BUCKET_SHARE], memory_order_relaxed);

	if (share_ppm == bucket->share_ppm && share_ppm == before_ppm)
		return;
	look(bucket);
	bool is_first = before_ppm != share_ppm && swap_share(bucket, before_ppm, share_ppm);
	/* A remainder that was reckoned by another share is less than a ns of nothing in
	 * particular. */
	if (before_ppm != bucket->share_ppm || !is_first)
		bucket->remainder = 0;
	if (is_first && before_ppm > 0 && before_ppm <= PPM_WHOLE) {
		bucket->share_ppm = (uint32_t)before_ppm;
		move_to(bucket, share_ppm);
	}
	bucket->share_ppm = share_ppm;
	settle_level(bucket);
}

void bucket_fill(struct bucket *bucket, uint64_t now_ns, uint64_t unbilled_ns)
{
	parts most = (parts)(bucket->burst_ns + unbilled_ns) * PPM_WHOLE;
	uint64_t remainder;

	if (now_ns > bucket->filled_at_ns)
		bucket->filled_at_ns = now_ns;
	look(bucket);
	while (level_of(bucket) > most) {
		if (swap(bucket, zero_for(bucket, most, &remainder))) {
			bucket->remainder = remainder;
			break;
		}
	}
	settle_level(bucket);
}

bool bucket_overflows(const struct bucket *bucket, uint64_t now_ns, uint64_t unbilled_ns)
{
	struct bucket copy = *bucket;

	look(&copy);
	if (now_ns > copy.filled_at_ns)
		copy.filled_at_ns = now_ns;
	return level_of(&copy) > (parts)(copy.burst_ns + unbilled_ns) * PPM_WHOLE;
}

void bucket_bill(struct bucket *bucket, int64_t used_ns)
{
	parts used = (parts)used_ns * PPM_WHOLE + (parts)bucket->remainder;
	parts later_ns = divide(used, bucket->share_ppm);

	bucket->remainder = (uint64_t)(used - later_ns * bucket->share_ppm);
	look(bucket);
	while (!swap(bucket, bound(bucket->seen_ns + later_ns)))
		;
	settle_level(bucket);
}

uint64_t bucket_wait_ns(const struct bucket *bucket, uint64_t wanted_ns)
{
	int64_t needed_ns =
		wanted_ns < bucket->burst_ns ? (int64_t)wanted_ns + 1 : (int64_t)bucket->burst_ns;

	if (bucket->level_ns >= needed_ns)
		return 0;
	parts missing = (parts)needed_ns * PPM_WHOLE - level_of(bucket);
	return (uint64_t)-divide(-missing, bucket->share_ppm);
}
