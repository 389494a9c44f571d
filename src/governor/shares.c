/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "governor/shares.h"
#include "base/clock.h"
#include "base/units.h"
#include "group/segment.h"
#include "slice/slice.h"

/* A command that runs longer than was billed for it earns meanwhile, at most for so long. */
#define UNBILLED_MOST_NS NS_PER_S

/* Pass to children. */
static _Atomic uint32_t shares_ppm[CONFIG_MAX_DEVICES];
static _Atomic uint64_t bursts_ns[CONFIG_MAX_DEVICES];

static uint32_t own_share(unsigned device)
{
	return atomic_load_explicit(&shares_ppm[device], memory_order_relaxed);
}

uint32_t governor_share(unsigned device)
{
	uint32_t own = own_share(device);
	uint32_t least = segment_is_used() ? segment_share(device) : PPM_WHOLE;

	return own < least ? own : least;
}

/* Of two threads the one that is late must not leave the group with what it came with. */
static void tell_share(unsigned device)
{
	uint32_t ppm;

	if (!segment_is_used())
		return;
	do {
		ppm = own_share(device);
		segment_allow_share(device, ppm);
	} while (ppm != own_share(device));
}

void shares_tighten(unsigned device, uint32_t ppm)
{
	uint32_t seen = own_share(device);

	while (ppm < seen && !atomic_compare_exchange_weak(&shares_ppm[device], &seen, ppm))
		;
	tell_share(device);
}

void shares_set(unsigned device, uint32_t ppm)
{
	atomic_store(&shares_ppm[device], ppm);
	tell_share(device);
}

void governor_set_burst(unsigned device, uint64_t burst_ns)
{
	atomic_store_explicit(&bursts_ns[device], burst_ns, memory_order_relaxed);
}

void shares_start_bucket(struct device *dev, unsigned device, uint64_t now_ns)
{
	bucket_word *words = segment_is_used() ? segment_bucket(device) : NULL;

	dev->line = words != NULL ? segment_line(device) : NULL;
	bucket_init(&dev->bucket, words != NULL ? words : dev->own_words, governor_share(device),
		atomic_load_explicit(&bursts_ns[device], memory_order_relaxed), now_ns);
}

static bool has_group(const struct device *dev)
{
	return dev->bucket.words != dev->own_words;
}

void shares_tell_group(const struct device *dev, unsigned device, uint64_t now_ns)
{
	uint64_t ran_ns = dev->oldest != NULL ? now_ns - dev->oldest->admitted_ns : 0;
	uint64_t billed_ns = dev->in_flight_ns;
	uint64_t drained_at_ns = dev->drained_at_ns > 0 ? (uint64_t)dev->drained_at_ns : 0;

	if (has_group(dev))
		segment_note_in_flight_ns(
			device, ran_ns > billed_ns ? ran_ns - billed_ns : 0, drained_at_ns);
}

/* What is earned while other processes have the device is kept beyond the burst, for their commands
 * may be long. */
static void note_owed(struct device *dev, uint64_t now_ns)
{
	if (dev->is_denied)
		dev->owed_ns += (now_ns - dev->denied_at_ns) * dev->bucket.share_ppm / PPM_WHOLE;
	if (dev->owed_ns > UNBILLED_MOST_NS)
		dev->owed_ns = UNBILLED_MOST_NS;
	dev->denied_at_ns = now_ns;
}

static void spend_owed(struct device *dev)
{
	int64_t beyond_ns = dev->bucket.level_ns - (int64_t)dev->bucket.burst_ns;

	if (beyond_ns < (int64_t)dev->owed_ns)
		dev->owed_ns = beyond_ns > 0 ? (uint64_t)beyond_ns : 0;
}

/* Bills come before what was earned meanwhile, of which too much would be lost. */
void shares_fill(struct device *dev, unsigned device, uint64_t now_ns)
{
	uint64_t unbilled_ns = dev->oldest != NULL ? now_ns - dev->oldest->admitted_ns : 0;

	if (unbilled_ns > UNBILLED_MOST_NS)
		unbilled_ns = UNBILLED_MOST_NS;
	note_owed(dev, now_ns);
	unbilled_ns += dev->owed_ns;
	if (has_group(dev) && bucket_overflows(&dev->bucket, now_ns, unbilled_ns))
		unbilled_ns += segment_unbilled_ns(device);
	dev->bucket.burst_ns = atomic_load_explicit(&bursts_ns[device], memory_order_relaxed);
	bucket_fill(&dev->bucket, now_ns, unbilled_ns);
	spend_owed(dev);
	bucket_set_share(&dev->bucket, governor_share(device));
	shares_tell_group(dev, device, now_ns);
}
