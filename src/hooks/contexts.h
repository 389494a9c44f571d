/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What contexts take, and which of them are charged. No function tells it: it is measured when a
 * context is made, and the least that was ever measured on a device is what the next one there is
 * expected to take.
 */
#ifndef CUSLICE_HOOKS_CONTEXTS_H
#define CUSLICE_HOOKS_CONTEXTS_H

#include "base/compiler.h"
#include "driver/driver.h"
#include "hooks/charge.h"
#include "hooks/footprint.h"
#include "hooks/process_figure.h"

#include <stdatomic.h>
#include <stdbool.h>

/* Makes the state; a forked child finds its own without contexts, but knows what they take. At the
 * start, once. False without memory. */
bool contexts_init(void) MUST_CHECK;

/* A context on its way. */
struct context_charge {
	struct charge charge;
	struct footprint footprint;
	struct process_watch watch;
};

/* Before a context is made on `device`. Reserves what it is expected to take; nothing where that is
 * not known yet.
 * ret_charge  always set
 * Returns     false, and says so at info, where the quota has no room
 * Threads: any, as for all that follow; holding no lock.
 */
bool contexts_begin(CUdevice device, struct context_charge *ret_charge) MUST_CHECK;

/* The driver has answered. Charges what the context took, beyond the quota if need be. */
void contexts_end(struct context_charge *charge, CUresult res, CUcontext context);

/* A context that is in use: charges one that was made without us, as the CUDA runtime makes its
 * own. Cheap for the one that was seen last. */
void contexts_see_unknown(unsigned device, CUcontext context);
extern _Atomic(CUcontext) *contexts_last_seen __attribute__((visibility("hidden")));
static inline bool contexts_is_last_seen(unsigned device, CUcontext context)
{
	return atomic_load_explicit(&contexts_last_seen[device], memory_order_relaxed) == context;
}
static inline void contexts_see(unsigned device, CUcontext context)
{
	if (unlikely(!contexts_is_last_seen(device, context)))
		contexts_see_unknown(device, context);
}

/* Makes the current context, where it is a green one, the primary one: memory and modules are that
 * one's. */
void contexts_find_owner_unknown(CUcontext *context);
static inline void contexts_find_owner(unsigned device, CUcontext *context)
{
	if (unlikely(!contexts_is_last_seen(device, *context)))
		contexts_find_owner_unknown(context);
}

/* It has ended: its handle may be another's soon. The ledger gives its bytes back. */
void contexts_forget(CUcontext context);

#endif
