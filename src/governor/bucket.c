/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "governor/bucket.h"
#include "base/units.h"

void bucket_init(struct bucket *bucket, uint32_t share_ppm, uint64_t burst_ns, uint64_t now_ns)
{
	*bucket = (struct bucket){
		.share_ppm = share_ppm,
		.burst_ns = burst_ns,
		.level_ns = (int64_t)burst_ns,
		.filled_at_ns = now_ns,
	};
}

void bucket_set_share(struct bucket *bucket, uint32_t share_ppm)
{
	bucket->share_ppm = share_ppm;
}

void bucket_fill(struct bucket *bucket, uint64_t now_ns, uint64_t unbilled_ns)
{
	int64_t most_ns = (int64_t)(bucket->burst_ns + unbilled_ns);

	if (now_ns > bucket->filled_at_ns) {
		unsigned __int128 gained =
			(unsigned __int128)(now_ns - bucket->filled_at_ns) * bucket->share_ppm +
			bucket->remainder;
		bucket->filled_at_ns = now_ns;
		bucket->level_ns += (int64_t)(gained / PPM_WHOLE);
		bucket->remainder = (uint64_t)(gained % PPM_WHOLE);
	}
	if (bucket->level_ns >= most_ns) {
		bucket->level_ns = most_ns;
		bucket->remainder = 0;
	}
}

void bucket_bill(struct bucket *bucket, int64_t used_ns)
{
	bucket->level_ns -= used_ns;
}

uint64_t bucket_wait_ns(const struct bucket *bucket, uint64_t wanted_ns)
{
	int64_t needed_level = (int64_t)wanted_ns + 1;

	if (needed_level > (int64_t)bucket->burst_ns)
		needed_level = (int64_t)bucket->burst_ns;
	if (bucket->level_ns >= needed_level)
		return 0;
	unsigned __int128 missing =
		(unsigned __int128)(uint64_t)(needed_level - bucket->level_ns) * PPM_WHOLE -
		bucket->remainder;
	return (uint64_t)((missing + bucket->share_ppm - 1) / bucket->share_ppm);
}
