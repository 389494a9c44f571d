/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Holds the launches of this process to its share. A launch whose cost is known takes it from the
 * credit of its device, which is all that most launches do. Where there is no credit the governor
 * bills what was spent, waits until GPU time is in the bucket, not more than a little is in flight,
 * and beside other processes until it is this one's turn (token/), and gives new credit; about once
 * a millisecond of work it has a launch measured, to know what its kind costs.
 */
#ifndef CUSLICE_GOVERNOR_GOVERNOR_H
#define CUSLICE_GOVERNOR_GOVERNOR_H

#include "driver/driver.h"
#include "governor/costs.h"
#include "governor/meter.h"

#include <stdbool.h>
#include <stdint.h>

/* One launch as the governor sees it. */
struct command {
	uint64_t key;
	CUstream stream;
	const void *lane;
};

/* What a launch touches that the governor need not be asked about. Wiped at fork: then the credit
 * is the own one again, and there is none. */
struct governor_front {
	_Atomic int64_t own_credit_ns; /* first: credit_at 0 leads here */
	_Atomic uintptr_t credit_at;   /* where the credit is, from here; see token/ */
	const void *_Atomic lane; /* the one on which it may be: all others are for the governor */
	_Atomic bool is_free;     /* no share to hold: let all go, and lane is none */
	struct costs costs;
} __attribute__((aligned(64)));

/* More was never given; with what launches that failed have given back it may be there, and the
 * governor is asked. So nobody who writes there once turns the share off. */
#define GOVERNOR_CREDIT_MOST_NS (UINT64_C(1) << 24)

/* Predicted cost that may be spent. */
static inline _Atomic int64_t *governor_credit(struct governor_front *front)
{
	/* acquire: pairs with the release in governor_move_credit(), for what it leads to was
	 * mapped just before */
	uintptr_t at = atomic_load_explicit(&front->credit_at, memory_order_acquire);

	return (_Atomic int64_t *)((uintptr_t)front + at);
}

/* A launch between governor_admit() and governor_submitted(). */
struct ticket {
	struct governor_front *front; /* NULL: passed through, nothing to do afterwards */
	struct flight *flight;        /* where it is measured or waited for; NULL for most */
	uint64_t cost_ns;             /* as predicted */
	CUstream stream;
	struct meter_pair pair;
	uint64_t begun_at_ns; /* when its begin was recorded */
	bool is_measured;     /* its begin has been recorded */
	bool was_idle;        /* the stream had no work then */
};

/* Internal to the inline functions below. The front of the device where there is but one, and no
 * capture in progress. */
extern struct governor_front *governor_sole_front;
struct governor_front *governor_find_front(void);
void governor_wait(const struct command *command, struct ticket *ret_ticket);
void governor_end(const struct ticket *ticket, CUresult result);

/* Makes the governor, without shares. At the start, once. False without memory. */
bool governor_init(void) MUST_CHECK;

/* How many devices there are. With one, launches need not ask which it is. */
void governor_set_device_count(unsigned count);

/* The share becomes `ppm` if that is less than it is. Threads: any, as for all that follow. */
void governor_tighten_share(unsigned device, uint32_t ppm);
/* The same, but for more too. */
void governor_set_share(unsigned device, uint32_t ppm);
/* The share in force: in a group the smallest that a living member has. PPM_WHOLE without one. */
uint32_t governor_share(unsigned device);
uint64_t governor_billed_ns(unsigned device); /* GPU time billed to this process so far */

/* In a member of a group, now and then: another may have brought a share, made it more or less, or
 * taken the last with it. Without it the next launch that is held up notices, and one that waits
 * after a tenth of a second. Lets those that launch freely come by for news. */
void governor_look_again(void);

/* GPU time that may be used at once after a pause. */
#define GOVERNOR_DEFAULT_BURST_NS (20 * UINT64_C(1000000))
void governor_set_burst(unsigned device, uint64_t burst_ns);

/* What else was agreed on for a device. Acts on launches that wait, and on others when they next
 * have to ask: a millisecond of work later at most. Passes to children. */
struct governor_terms {
	bool has_turns;      /* goes by turns with others though it has no share */
	bool may_borrow;     /* may use what is idle beyond its share, where others can be seen */
	bool is_latency;     /* goes without the token while it has GPU time */
	uint32_t weight;     /* 1 .. 10000: its part of what guarantees leave; 0 is 1 */
	uint64_t quantum_ns; /* how long its turns are, about; below 2^32; 0: the usual */
};
void governor_set_terms(unsigned device, const struct governor_terms *terms);

/* A stream began to capture, or ended. While any does, each launch asks the driver about its
 * stream, for captures spread. A count that is wrong costs time, or bills captured work; what
 * captures is never touched, for the driver is always asked before that. */
void governor_capture_began(void);
void governor_capture_ended(void);

/* Takes the cost of a command from the credit. False where the governor has to be asked. */
static inline bool governor_spend(uint64_t key, const void *lane, struct ticket *ret_ticket)
{
	struct governor_front *front = __atomic_load_n(&governor_sole_front, __ATOMIC_RELAXED);

	if (unlikely(front == NULL) && (front = governor_find_front()) == NULL)
		return false;
	ret_ticket->flight = NULL;
	if (unlikely(atomic_load_explicit(&front->lane, memory_order_relaxed) != lane)) {
		ret_ticket->front = NULL;
		return atomic_load_explicit(&front->is_free, memory_order_relaxed);
	}
	uint64_t cost_ns = costs_known(&front->costs, key);
	/* The credit is all that threads agree on here: relaxed. Nothing is taken that is not
	 * there, not even for a moment: whoever takes the credit back would bill that, and for a
	 * command that is not known it is 4 s. */
	_Atomic int64_t *place = governor_credit(front);
	int64_t credit_ns = atomic_load_explicit(place, memory_order_relaxed), left_ns;
	do {
		left_ns = (int64_t)((uint64_t)credit_ns - cost_ns);
		if (unlikely((uint64_t)left_ns > GOVERNOR_CREDIT_MOST_NS))
			return false;
	} while (unlikely(!atomic_compare_exchange_weak_explicit(
		place, &credit_ns, left_ns, memory_order_relaxed, memory_order_relaxed)));
	ret_ticket->front = front;
	ret_ticket->cost_ns = cost_ns;
	return true;
}

/* Waits until the command may go. Never touches a stream that captures, nor a device without a
 * share.
 * key         what its cost is remembered by
 * stream      with CU_STREAM_PER_THREAD in place of a per-thread default stream
 * lane        tells streams apart: the stream, or the thread for per-thread ones
 * ret_ticket  given to governor_submitted() with what the driver answered
 */
static inline void governor_admit(
	uint64_t key, CUstream stream, const void *lane, struct ticket *ret_ticket)
{
	if (unlikely(!governor_spend(key, lane, ret_ticket))) {
		struct command command = {key, stream, lane};
		governor_wait(&command, ret_ticket);
	}
}

static inline CUresult governor_submitted(const struct ticket *ticket, CUresult result)
{
	if (unlikely(result != CUDA_SUCCESS || ticket->flight != NULL))
		governor_end(ticket, result);
	return result;
}

/* What a key stands for has changed, or is about to end: what it cost so far may not be what it
 * costs from now on. COSTS_ALL where it is not known which. */
void governor_doubt(uint64_t key);

/* Before a context may die: bills what has ended in it, and where nothing is left in flight gives
 * its events back. Until one of the two that follow nobody touches its events, for it may die at
 * any moment, while other threads launch in other contexts. */
void governor_settle_context(CUcontext context);

/* It lives on. */
void governor_keep_context(CUcontext context);

/* A context has died. What it still had in flight is billed, and its events are never touched. */
void governor_lose_context(CUcontext context);

#endif
