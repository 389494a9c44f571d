/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Tenants with the real governor and the real token in virtual time, over a device that gives each
 * process time slices. Each tenant is a device of the one governor and a thread of control of its
 * own, which runs until it sleeps; in place of the files of token/token.c there is memory.
 */
#ifndef CUSLICE_TESTS_UNIT_TENANTS_H
#define CUSLICE_TESTS_UNIT_TENANTS_H

#include "driver/driver.h"
#include "token/token.h"

#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

#define TENANTS_STEP_NS     (10 * NS_PER_US) /* lengths of kernels are multiples of it */
#define TENANTS_LATE_NS     (50 * NS_PER_US) /* by which sleeps end too late, as real ones do */
#define TENANTS_MAX         4
#define TENANTS_STREAMS     8
#define TENANTS_MAX_QUEUED  1024u
#define TENANTS_MAX_EVENTS  1024u
#define TENANTS_MAX_PARTS   8
#define TENANTS_STACK_BYTES (256 * 1024)

struct CUevent_st {
	uint64_t at_ns;
	bool is_reached;
	struct CUevent_st *next_spare;
};

/* On a stream: a kernel, or where `event` is not NULL, that. */
struct operation {
	CUevent event;
	uint64_t length_ns;
	uint64_t ready;   /* kernels are served in the order of this; 0: not yet ready */
	unsigned waiting; /* blocks that have no place yet */
	unsigned part_count;
	struct part { /* blocks that began together */
		unsigned blocks;
		uint64_t left_ns;
	} parts[TENANTS_MAX_PARTS];
};

struct tenant {
	/* What it is; to be changed by the test. */
	uint64_t kernel_ns;
	unsigned blocks;       /* of a kernel; 1 */
	unsigned stream_count; /* it uses so many in turn; 1 */
	uint64_t think_ns;     /* after each kernel that it has waited for */
	bool syncs;            /* waits for each of its kernels */

	/* What it does. */
	uint64_t used_ns; /* in which at least one block ran */
	struct token_seat seat;
	ucontext_t control;
	uint64_t wakes_at_ns;
	bool is_syncing;
	struct stream {
		struct operation queue[TENANTS_MAX_QUEUED];
		unsigned first, behind;
	} streams[TENANTS_STREAMS];
	struct CUevent_st events[TENANTS_MAX_EVENTS];
	unsigned event_count;
	CUevent spare_event;
	char stack[TENANTS_STACK_BYTES];
};
extern struct tenant tenants[TENANTS_MAX];

/* Blocks that a process may have on the device at a time; 1 after tenants_reset(). */
extern unsigned tenants_places;
extern uint64_t tenants_now_ns;

/* A fresh device without tenants. */
void tenants_reset(void);

/* One that launches kernels of one block on one stream, as fast as it is let. */
struct tenant *tenants_add(unsigned percent, uint64_t kernel_ns);

void tenants_run(uint64_t span_ns);

/* Kernels that have not ended, of at least that length. */
unsigned tenants_queued(const struct tenant *tenant, uint64_t length_ns);

/* What each used, in percent of the span that follows. */
void tenants_measure(uint64_t span_ns, double ret_percent[TENANTS_MAX]);

#endif
