/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What stands in the file of a device's segment, which all processes with a share of that device
 * have mapped. Other versions of this library may have it mapped at the same time: whoever changes
 * anything here raises TOKEN_VERSION.
 *
 * A file of zeroes behind the header is a device that nobody uses. Times are CLOCK_MONOTONIC in ns.
 * Any process may have written anything here: whoever reads clamps.
 */
#ifndef CUSLICE_TOKEN_TOKEN_LAYOUT_H
#define CUSLICE_TOKEN_TOKEN_LAYOUT_H

#include "group/segment_layout.h"
#include "group/segment_words.h"

#include <stddef.h>

#define TOKEN_VERSION 3u
#define TOKEN_SLOTS   256u

/* What one process has here. Its owner writes, but for the credit, which others may revoke, and the
 * bell, which others ring. */
struct token_slot {
	_Atomic int64_t credit_ns; /* what its launches may spend without asking */
	uint64_t unused_1[7];

	segment_word group;         /* a hash of whom it spends its share with; 0: no tenant yet */
	segment_word entitlement;   /* token_pack() */
	segment_word wants;         /* enum token_want */
	segment_word seen_at_ns;    /* when its owner last asked for the token */
	segment_word v;             /* GPU time it used, over its rate: who has least goes next */
	segment_word granted_ns;    /* the credit as it was given */
	segment_word drained_at_ns; /* when all should have ended that it let go before that */
	segment_word used_ns;       /* GPU time billed, without what it has spent of its credit */

	_Atomic uint32_t bell; /* it sleeps on this */
	uint32_t unused_2;
	segment_word back_at_ns; /* when it last came back from a gap; 0: has worked since */
	segment_word gap_ns;     /* how long it usually has nothing there before it launches */
	uint64_t unused_3[5];
};

struct token_segment {
	struct segment_header header;
	segment_word patrolled_at_ns;
	segment_word slots_used; /* no slot from this on has ever been taken */
	segment_word holder;     /* slot + 1, or 0; above 16 bits how often that has changed */
	segment_word newest_v;   /* the greatest v that a bill has led to */
	segment_word changes;    /* how often a tenant came, went, or asked for something else */
	segment_word back_at_ns; /* when anybody last came back from a gap */
	uint64_t unused[2];
	segment_word owners[TOKEN_SLOTS]; /* the process's number as it sees it itself; 0: free */
	struct token_slot slots[TOKEN_SLOTS];
};

_Static_assert(sizeof(struct token_slot) == 192, "layout");
_Static_assert(offsetof(struct token_segment, owners) == 128, "layout");
_Static_assert(sizeof(struct token_segment) == 128 + 256 * (8 + 192), "layout");

#endif
