/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * How the bytes of a device change hands between processes that may be killed or stopped at any
 * instruction, without a lock between them. Works on the words of a segment alone: it knows no
 * file, no process and no clock.
 */
#ifndef CUSLICE_GROUP_SEGMENT_PROTOCOL_H
#define CUSLICE_GROUP_SEGMENT_PROTOCOL_H

#include "base/compiler.h"
#include "group/segment_layout.h"

/* No device has more units: 32 TiB. Also what stands for no limit. */
#define SEGMENT_MAX_UNITS ((UINT64_C(1) << 36) - 1)

enum segment_answer {
	SEGMENT_DONE,
	SEGMENT_FULL,    /* more than the limit; nothing has changed */
	SEGMENT_DAMAGED, /* the words contradict each other; nothing has changed */
};

/* One operation of a slot: it holds `more` units more, if then all slots together hold at most
 * `limit`; or `less` units less.
 * Threads: those of one process one at a time for each device and slot; processes any. None waits
 * for another.
 */
enum segment_answer segment_grow(
	struct segment_device *device, unsigned slot, uint64_t more, uint64_t limit) MUST_CHECK;
enum segment_answer segment_lessen(
	struct segment_device *device, unsigned slot, uint64_t less) MUST_CHECK;

/* Takes back what the slot of a dead process has beyond `kept` units, and its limits. Whoever calls
 * holds the lock of the slot. May be cut short at any instruction, and is then called again by
 * another. Returns  the units that came back */
uint64_t segment_reap(struct segment_device *device, unsigned slot, uint64_t kept);

/* And its limit on the share. */
void segment_reap_share(struct segment_device *device, unsigned slot);

/* Units of all slots together, and of one that makes no operation meanwhile, or that may. */
uint64_t segment_total(const struct segment_device *device);
uint64_t segment_held(const struct segment_device *device, unsigned slot);
uint64_t segment_held_now(const struct segment_device *device, unsigned slot);

/* The slot allows the group `units` from now on; SEGMENT_MAX_UNITS: as many as others do. The same
 * for a share of GPU time, in ppm; PPM_WHOLE: as much. Threads: as for segment_grow(). */
void segment_set_limit(struct segment_device *device, unsigned slot, uint64_t units);
void segment_set_share(struct segment_device *device, unsigned slot, uint32_t ppm);

/* The smallest limit of all slots, SEGMENT_MAX_UNITS or PPM_WHOLE where none has one. */
uint64_t segment_quota(const struct segment_device *device);
uint32_t segment_least_share(const struct segment_device *device);

/* Units that are in flight in the first slots. Not a moment's truth: slots are read one by one. */
uint64_t segment_sum_in_flight(const struct segment_device *device, uint64_t slot_count);

#endif
