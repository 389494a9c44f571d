/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What the driver takes by itself during one call: the drop of free memory around it. Neighbours
 * disturb that, so it is held against the driver's own figure for this process (reconcile.h) where
 * there is one. Other threads of ours disturb it too: a measurement during which one of them
 * allocated, freed or measured is not steady, and tells nothing.
 */
#ifndef CUSLICE_HOOKS_FOOTPRINT_H
#define CUSLICE_HOOKS_FOOTPRINT_H

#include "base/compiler.h"
#include "hooks/reconcile.h"

#include <stdbool.h>
#include <stdint.h>

struct footprint {
	unsigned device;
	enum footprint_source { FOOTPRINT_NONE, FOOTPRINT_CONTEXT, FOOTPRINT_NVML } source;
	struct footprint_books {
		bool is_read;
		uint64_t free_bytes; /* as the source tells it */
		uint64_t held_bytes; /* by the ledger */
		uint64_t give_backs;
		uint64_t pending_bytes; /* being given back, and perhaps back */
	} before, after;
	bool is_quiet;      /* nothing was in flight before */
	bool was_disturbed; /* by another thread, up to footprint_lock() */
	struct reconcile_watch others;
};

/* Makes the lock. At the start, once. False without memory. */
bool footprint_init(void) MUST_CHECK;

/* Before the call, for which the caller has `flying_bytes` in flight. From the current context
 * where that is on `device`, else from NVML. Until footprint_done() nothing is charged as other: it
 * may be what the call takes. Threads: any, holding no lock. */
void footprint_begin(unsigned device, uint64_t flying_bytes, struct footprint *ret_footprint);

/* The same for who only charges, without having measured. */
void footprint_hold(unsigned device, struct footprint *ret_footprint);

/* After it: around asking the functions below and charging, so that two threads do not charge the
 * same bytes. Takes the second reading. */
void footprint_lock(struct footprint *footprint);
void footprint_done(const struct footprint *footprint);

/* True where no other thread of ours has disturbed it up to now; the caller has nothing in flight
 * any more. */
bool footprint_is_steady(const struct footprint *footprint);

/* What free memory has dropped by, less what the ledger has charged meanwhile. 0 where it
 * has risen. False where it cannot be seen. */
bool footprint_drop(const struct footprint *footprint, uint64_t *ret_bytes) MUST_CHECK;

/* The other way round: what free memory has risen by; 0 where it has dropped, and where the
 * driver's own figure is not less than the ledger's: then a neighbour has given something back. */
bool footprint_given(const struct footprint *footprint, uint64_t *ret_bytes) MUST_CHECK;

/* What it has dropped by, but not more than what the driver's own figure leaves unaccounted for.
 * Where memory is being given back it is too small by what is back already, and the reconciling is
 * to find that soon. To that all is left, and false returned, where the measurement is not steady,
 * or that memory keeps the figure from telling. */
bool footprint_taken(const struct footprint *footprint, uint64_t *ret_bytes) MUST_CHECK;

#endif
