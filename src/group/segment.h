/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * This process's membership in a group: its slot in the group's segment, which holds who has how
 * many bytes of which device, and how much GPU time the group may spend. A slot goes with its
 * process, however that ends, and what it held comes back to the group; a thread of each member
 * looks after the others (segment_patrol.c). A forked child is no member until it first asks for
 * something here; then it becomes one of its own.
 *
 * Memory is counted in units of SEGMENT_UNIT bytes; devices by the number that the driver gives
 * them in this process.
 */
#ifndef CUSLICE_GROUP_SEGMENT_H
#define CUSLICE_GROUP_SEGMENT_H

#include "base/compiler.h"
#include "group/segment_words.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEGMENT_UNIT 512u

/* Makes this process a member of the group whose segment is the file `path`, which is made where
 * there is none: a full name; its directory exists and is trusted. Once; a second call with the
 * same name changes nothing. Starts a thread. Keeps errno, as all that follow.
 * ret_reason  static text that goes on from the name of the file; set where false is returned
 * Threads: one caller at a time; any for all that follow.
 */
bool segment_attach(const char *path, const char **ret_reason) MUST_CHECK;

/* True once segment_attach() has returned true, in children too. The others below are only for
 * processes of which this is true. */
extern atomic_bool segment_has_attached __attribute__((visibility("hidden")));
static inline bool segment_is_used(void)
{
	/* acquire: pairs with the release in segment_attach() */
	return atomic_load_explicit(&segment_has_attached, memory_order_acquire);
}

/* Says which device the group knows under this UUID. Before anything is done with the device, in
 * a member; children inherit it. False where the group knows 64 others. */
bool segment_name_device(
	unsigned device, const unsigned char uuid[16], const char **ret_reason) MUST_CHECK;

/* The group gets `units` more on the device, if its quota has room for them, or in any case (no
 * device has as many as would not fit into the word). False changes nothing. One compare-and-swap.
 */
bool segment_take(unsigned device, uint64_t units) MUST_CHECK;
bool segment_take_anyway(unsigned device, uint64_t units);
void segment_give(unsigned device, uint64_t units);

/* From `old` units of this member to `units`, which are more. What is added is in flight, before
 * others can find it taken, until segment_end_in_flight(). False as above, and where the quota has
 * never room for `units`. */
bool segment_take_in_flight(unsigned device, uint64_t old, uint64_t units);

/* What all members hold together, and the smallest limit that one of them has set; no more than
 * SEGMENT_NO_LIMIT. */
#define SEGMENT_NO_LIMIT ((UINT64_C(1) << 36) - 1)
uint64_t segment_used(unsigned device);
uint64_t segment_moment(unsigned device);     /* another number after each change of it */
uint64_t segment_used_here(unsigned device);  /* what this member holds of that */
uint64_t segment_gives_here(unsigned device); /* how often it has given any back up to now */
uint64_t segment_limit(unsigned device);

/* This member, and children of it that become one, allow their group at most `units` from now on,
 * SEGMENT_NO_LIMIT: as much as the others do. */
void segment_allow(unsigned device, uint64_t units);

/* The same for the share of the device's compute, in ppm: PPM_WHOLE is no limit. */
void segment_allow_share(unsigned device, uint32_t ppm);
uint32_t segment_share(unsigned device); /* the smallest that a member allows */

/* The two words of the bucket of GPU time that all members spend from (governor/bucket.h). NULL
 * where this process is no member. Theirs for as long as it lives. */
segment_word *segment_bucket(unsigned device);

/* The same for the word of the line in which they wait for it (governor/line.h). */
segment_word *segment_line(unsigned device);

/* For the others, and for whoever reaps this member: by how much GPU time its commands were last
 * seen to have run longer than was billed for them, and until when (CLOCK_MONOTONIC) those that
 * were billed should take; 0: nothing is in flight. One caller at a time for a device. */
void segment_note_in_flight_ns(unsigned device, uint64_t unbilled_ns, uint64_t drained_at_ns);
uint64_t segment_unbilled_ns(unsigned device); /* of all others */

/* Units that members have taken and for which the driver has not answered yet. */
void segment_add_in_flight(unsigned device, uint64_t units); /* takes nothing */
void segment_end_in_flight(unsigned device, uint64_t units);
uint64_t segment_in_flight(unsigned device);
uint64_t segment_in_flight_here(unsigned device); /* of that this member's */

/* True for 200 ms after the bytes of a dead member came back: the driver may still be about to
 * take its memory down. */
bool segment_expects_memory(unsigned device);

/* Before a refusal. Gives back what this member paid for others that have let go. Where nobody has
 * looked after the members for long, for no member could make a thread, it is done here; otherwise
 * one look at the clock. */
void segment_look_after(void);

/* For people: what stands in the segment at `path`. Reads only; false with a reason where it is
 * no segment, or there is none. */
struct segment_view {
	unsigned member_count; /* processes that live */
	unsigned device_count;
	struct {
		uint64_t identity; /* segment_identity() of its UUID */
		uint64_t used_bytes;
		uint64_t quota_bytes; /* UINT64_MAX: no limit */
		uint32_t share_ppm;   /* PPM_WHOLE: no limit */
	} devices[64];
};
bool segment_peek(
	const char *path, struct segment_view *ret_view, const char **ret_reason) MUST_CHECK;
uint64_t segment_identity(const unsigned char uuid[16]);

#endif
