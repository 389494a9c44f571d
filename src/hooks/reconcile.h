/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What the driver holds for this process and no hook saw is charged as LEDGER_OTHER: the driver's
 * own figure (process_figure.h) less what the ledger holds. The figure costs milliseconds, so it is
 * read where it matters and seldom: each time that half of what was left of the quota has been
 * used up since the last reading, or the quota has become less, and at most once a second before a
 * refusal that it could avert and where the program asks for free memory.
 */
#ifndef CUSLICE_HOOKS_RECONCILE_H
#define CUSLICE_HOOKS_RECONCILE_H

#include "base/compiler.h"
#include "ledger/ledger.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Makes the state; a forked child finds its own as if nothing had been read. At the start, once.
 * False without memory. */
bool reconcile_init(void) MUST_CHECK;

/* Reads the figure of `device` and charges what is not accounted for, where the last reading is
 * older than a second.
 * Threads: any, as for all that follow; holding no lock. Does nothing while another thread is at
 * it. Keeps errno. */
void reconcile_if_stale(unsigned device);

/* The same where `bytes` more fit and would use up half of what the last reading left. */
void reconcile_for(unsigned device, uint64_t bytes);
struct reconcile_threshold {
	_Atomic uint64_t used_bytes;
	_Atomic uint32_t quota_changes; /* up to when that was reckoned */
};
extern struct reconcile_threshold *reconcile_thresholds __attribute__((visibility("hidden")));
static inline void reconcile_before(unsigned device, uint64_t bytes)
{
	const struct reconcile_threshold *threshold = &reconcile_thresholds[device];
	uint64_t most = atomic_load_explicit(&threshold->used_bytes, memory_order_relaxed);

	if (unlikely(bytes >= most || ledger_used(device) >= most - bytes ||
		     atomic_load_explicit(&ledger_quota_changes, memory_order_relaxed) !=
			     atomic_load_explicit(&threshold->quota_changes, memory_order_relaxed)))
		reconcile_for(device, bytes);
}

enum reconcile_answer {
	RECONCILE_TOLD,
	/* The figure is not known, or is less than the ledger's: then it leaves something out. */
	RECONCILE_NOT_TOLD,
	/* Memory is being given back, which may be why the figure is less than the ledger's. */
	RECONCILE_MOVES,
};

/* Bytes that the driver holds for this process beyond what the ledger has, other included, imports
 * not: the figure may leave them to the process that made them. Left alone where it is not told. */
enum reconcile_answer reconcile_read(unsigned device, uint64_t *ret_bytes) MUST_CHECK;

/* In between nothing is charged as other: what a reading finds may be what the caller is about to
 * charge. They nest. */
void reconcile_hold(unsigned device);
void reconcile_resume(unsigned device);

/* Whether one holder was alone all the time: what reconcile_watch() gave after its hold is still
 * so before its resume. */
struct reconcile_watch {
	bool is_alone;
	uint64_t resumed;
};
void reconcile_watch(unsigned device, struct reconcile_watch *ret_watch);
bool reconcile_was_alone(unsigned device, const struct reconcile_watch *watch);

/* Something was taken that nobody charged: the next allocation reads the figure, after the last of
 * those who hold. */
void reconcile_soon(unsigned device);

/* Up to `bytes` of what was charged as other have found their name: they are moved to `into`. What
 * is beyond them the caller charges; it is not other either. */
void reconcile_name(unsigned device, uint64_t bytes, struct reservation *into);

#endif
