/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What stands in the file of a group's segment. Other versions of this library may have it mapped
 * at the same time: whoever changes anything here raises SEGMENT_VERSION.
 *
 * A file of zeroes behind the header is a group without members and without limits. Memory is
 * counted in units of 512 bytes.
 */
#ifndef CUSLICE_GROUP_SEGMENT_LAYOUT_H
#define CUSLICE_GROUP_SEGMENT_LAYOUT_H

#include "group/segment_words.h"

#include <stddef.h>

#define SEGMENT_VERSION 4u

/* A process holds one slot: a write lock on the byte of this number in the file. */
#define SEGMENT_SLOTS   256u
#define SEGMENT_DEVICES 64u

/* Memory that one member has handed out to others, at a time. */
#define SEGMENT_EXPORTS    512u
#define SEGMENT_NAME_WORDS 8u

struct segment_header {
	char magic[8];
	uint32_t version;
	uint32_t size; /* of the whole file */
	uint32_t slot_count;
	uint32_t device_count;
	uint8_t unused[40];
};

/* What one slot has on one device; segment_protocol.c says how it changes. */
struct segment_account {
	segment_word done;      /* operations of this slot that are known to have won */
	segment_word held[2];   /* units after operation n in held[n % 2] */
	segment_word in_flight; /* units reserved, for which the driver has not answered yet */
	segment_word limit;     /* units + 1 that this member allows its group; 0: no limit */
	segment_word share;     /* ppm that it allows; 0: all */
	/* GPU time, for whoever reaps; segment_share.c has the sense of it. */
	segment_word unbilled_ns;
	segment_word drained_at_ns; /* CLOCK_MONOTONIC */
};

struct segment_device {
	segment_word word; /* total units, last winner, its operation */
	uint64_t unused_1[7];
	segment_word identity;     /* a hash of the device's UUID; 0: nobody has named it yet */
	segment_word quota;        /* the smallest limit of all members, and a version */
	segment_word reaped_at_ns; /* when bytes of a dead member last came back; CLOCK_MONOTONIC */
	segment_word is_damaged;   /* not 0: what stands here cannot be; nobody gets more */
	uint64_t unused_2[4];
	segment_word share;     /* the smallest of all members, and a version */
	segment_word bucket[2]; /* of GPU time, that all spend from: governor/bucket.h */
	segment_word line;      /* of those that wait for that: governor/line.h */
	uint64_t unused_3[4];
	struct segment_account accounts[SEGMENT_SLOTS];
};

/* Memory that several members may hold and one pays for; segment_exports.c says how it changes. */
struct segment_export {
	segment_word state; /* generation, payer, status */
	segment_word units; /* that the payer holds for it */
	segment_word identity;
	uint64_t unused;
	segment_word guests[SEGMENT_SLOTS / 64]; /* a bit for each slot */
	segment_word name[SEGMENT_NAME_WORDS];   /* as others know it */
};

struct segment {
	struct segment_header header;
	segment_word patrolled_at_ns; /* CLOCK_MONOTONIC */
	segment_word slots_used;      /* no slot from this on has ever been taken */
	uint64_t unused[6];
	segment_word owners[SEGMENT_SLOTS]; /* the process's number as it sees it itself; 0: free */
	struct segment_device devices[SEGMENT_DEVICES];
	struct segment_export exports[SEGMENT_EXPORTS];
};

_Static_assert(sizeof(struct segment_header) == 64, "layout");
_Static_assert(sizeof(struct segment_account) == 64, "layout");
_Static_assert(offsetof(struct segment_device, accounts) == 192, "layout");
_Static_assert(offsetof(struct segment, owners) == 128, "layout");
_Static_assert(offsetof(struct segment, devices) == 128 + 8 * 256, "layout");
_Static_assert(sizeof(struct segment_export) == 128, "layout");
_Static_assert(offsetof(struct segment, exports) == 2176 + 64 * (192 + 64 * 256), "layout");
_Static_assert(sizeof(struct segment) == offsetof(struct segment, exports) + 512 * 128, "layout");

#endif
