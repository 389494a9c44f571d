/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The processes of a group that wait for GPU time in one bucket, first come first served: without
 * that, who looks more often gets all of it. Where the processes at a device take turns (token/)
 * they need no line.
 *
 * All that they share is one word: the next ticket, and the ticket that is served, which nobody
 * holds. One that is stopped or killed in the line, or does not want any more, is passed over by
 * the others; whatever stands in the word, nobody waits for longer than that takes.
 */
#ifndef CUSLICE_GOVERNOR_LINE_H
#define CUSLICE_GOVERNOR_LINE_H

#include "base/compiler.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Who is to go and has not come for this long is passed over. */
#define LINE_PATIENCE_NS UINT64_C(5000000)
/* With more than these in it, the word is damaged: a group has 256 processes, of which each stands
 * in it once, and once more if it was passed over. */
#define LINE_MOST 512

/* Zeroes are an empty line. */
typedef _Atomic uint64_t line_word;

/* One process's place. All zero before its first use; the caller guards it. */
struct line_place {
	bool is_in;
	uint32_t ticket;
	uint32_t served;   /* who was to go when the caller last looked, */
	uint64_t since_ns; /* and since when; 0: the caller has not seen GPU time yet */
};

/* Goes to the end of the line, if it has no place. */
void line_join(line_word *line, struct line_place *place);

/* There is GPU time. True where nobody stands before the caller, who goes then and leaves the line;
 * else it has a place, and looks again soon. */
bool line_is_next(line_word *line, struct line_place *place, uint64_t now_ns) MUST_CHECK;

/* There is none now: nobody is late. */
void line_rest(struct line_place *place);

#endif
