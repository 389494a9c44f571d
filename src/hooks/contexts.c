/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "hooks/contexts.h"
#include "base/wipe.h"
#include "driver/stream_context.h"
#include "hooks/reconcile.h"
#include "hooks/settle.h"
#include "slice/slice.h"

/* No context takes more; what is more was somebody else's. */
#define PLAUSIBLE_BYTES (2ull << 30)

_Atomic(CUcontext) *contexts_last_seen;

/* Contexts do not pass to children. Which are charged the ledger knows. */
static struct contexts {
	_Atomic(CUcontext) last_seen[LEDGER_MAX_DEVICES];
} * contexts;

/* The least that was measured; 0 before that. Passes to children. */
static _Atomic uint64_t expected[LEDGER_MAX_DEVICES];

bool contexts_init(void)
{
	contexts = wipe_alloc(sizeof(*contexts));
	if (contexts == NULL)
		return false;
	contexts_last_seen = contexts->last_seen;
	return true;
}

static uint64_t expect(unsigned device)
{
	return atomic_load_explicit(&expected[device], memory_order_relaxed);
}

static void expect_at_most(unsigned device, uint64_t bytes)
{
	uint64_t seen = expect(device);

	while (bytes > 0 && bytes <= PLAUSIBLE_BYTES && (seen == 0 || bytes < seen) &&
		!atomic_compare_exchange_weak_explicit(&expected[device], &seen, bytes,
			memory_order_relaxed, memory_order_relaxed))
		;
}

bool contexts_begin(CUdevice device, struct context_charge *ret_charge)
{
	*ret_charge = (struct context_charge){0};
	if (!slice_exists(device))
		return true;
	if (!charge_begin_on(device, LEDGER_CONTEXT, expect((unsigned)device), &ret_charge->charge))
		return false;
	process_figure_watch((unsigned)device, &ret_charge->watch);
	footprint_begin((unsigned)device, ret_charge->charge.flying_bytes, &ret_charge->footprint);
	return true;
}

/* What was taken since contexts_begin(). The driver's own figure is exact; a drop may be less than
 * that, or more. False where neither tells. */
static bool read_taken(const struct context_charge *charge, const struct reservation *reserved,
	uint64_t *ret_bytes)
{
	enum reconcile_answer answer = reconcile_read(reserved->device, ret_bytes);

	if (answer == RECONCILE_TOLD &&
		(*ret_bytes + reserved->bytes > 0 || process_figure_is_listed(reserved->device))) {
		*ret_bytes += reserved->bytes;
		return true;
	}
	return answer != RECONCILE_MOVES && footprint_drop(&charge->footprint, ret_bytes) &&
	       *ret_bytes <= PLAUSIBLE_BYTES;
}

static bool read_beyond_reserved(const struct reservation *reserved, uint64_t *ret_bytes)
{
	if (reconcile_read(reserved->device, ret_bytes) != RECONCILE_TOLD)
		return false;
	*ret_bytes += reserved->bytes;
	return true;
}

/* While other threads take memory, what was taken is not the context's alone: then it is as
 * expected. The first one, of which nothing is expected, is charged what nobody else was. */
static uint64_t measure(const struct context_charge *charge, const struct reservation *reserved)
{
	unsigned device = reserved->device;
	uint64_t bytes, known = expect(device);

	bool is_steady = footprint_is_steady(&charge->footprint);
	bool is_taken = is_steady ? read_taken(charge, reserved, &bytes)
				  : known == 0 && read_beyond_reserved(reserved, &bytes);

	/* What is about to come back makes it too small. */
	if (!is_steady || !is_taken || charge->footprint.after.pending_bytes > 0) {
		reconcile_soon(device);
		return known > 0 || !is_taken ? known : bytes;
	}
	expect_at_most(device, bytes);
	if (known == 0 || bytes < known)
		return expect(device);
	/* What is beyond the known size may be what another thread's launch has loaded. */
	if (bytes > known)
		reconcile_soon(device);
	return known;
}

static void commit(struct reservation *reservation, uint64_t bytes, CUcontext context)
{
	ledger_settle(reservation, ledger_round(bytes));
	/* Without memory for the entry it is left to the reconciling. */
	if (!ledger_commit(reservation, ledger_key(LEDGER_CONTEXT, (uintptr_t)context), context))
		ledger_cancel(reservation);
}

void contexts_end(struct context_charge *charge, CUresult res, CUcontext context)
{
	struct reservation reserved = {.bytes = 0}, *reservation = &reserved;

	if (!charge->charge.is_counted)
		return;
	reserved = charge->charge.reservation;
	reserved.bytes = 0;
	charge_move(&charge->charge, &reserved);
	if (res != CUDA_SUCCESS) {
		footprint_lock(&charge->footprint);
		ledger_cancel(reservation);
		footprint_done(&charge->footprint);
		return;
	}
	process_figure_learn(&charge->watch);
	footprint_lock(&charge->footprint);
	commit(reservation, measure(charge, reservation), context);
	footprint_done(&charge->footprint);
	atomic_store_explicit(
		&contexts->last_seen[reservation->device], context, memory_order_relaxed);
}

/* With the footprints locked, so that nobody sees it out. */
static bool is_charged(CUcontext context)
{
	struct holding holding;

	if (!ledger_take_out(ledger_key(LEDGER_CONTEXT, (uintptr_t)context), &holding))
		return false;
	ledger_put_back(&holding);
	return true;
}

/* What is not accounted for may be this context, all or part of it: it is charged as other already,
 * or not yet. Contexts that have their name now are not to be charged twice. */
static uint64_t find_bytes(unsigned device)
{
	uint64_t bytes, most = expect(device), other = ledger_used_for(device, LEDGER_OTHER);

	if (reconcile_read(device, &bytes) != RECONCILE_TOLD)
		return most;
	bytes += other;
	if (most == 0)
		most = PLAUSIBLE_BYTES;
	return bytes < most ? bytes : most;
}

/* What others are about to take makes it too small, and what is being given back too. What is left
 * over is for the next allocation to find. */
static uint64_t find_unknown(unsigned device)
{
	uint64_t give_backs = ledger_give_backs(device), used = ledger_used_here(device);
	bool is_at_rest = ledger_in_flight_here(device) == 0;
	uint64_t bytes = find_bytes(device);

	is_at_rest = is_at_rest && settle_what_came_back(device) == 0 &&
		     ledger_in_flight_here(device) == 0 && ledger_used_here(device) == used &&
		     ledger_give_backs(device) == give_backs;
	if (is_at_rest)
		expect_at_most(device, bytes);
	reconcile_soon(device);
	return bytes;
}

COLD void contexts_find_owner_unknown(CUcontext *context)
{
	CUcontext owner;

	if (stream_get_context(NULL, &owner))
		*context = owner;
}

COLD void contexts_see_unknown(unsigned device, CUcontext context)
{
	struct reservation reservation;
	struct footprint footprint;

	if (context == NULL)
		return;
	footprint_hold(device, &footprint);
	footprint_lock(&footprint);
	if (!is_charged(context) && ledger_reserve(device, LEDGER_CONTEXT, 0, &reservation)) {
		uint64_t bytes = find_unknown(device);
		reconcile_name(device, bytes, &reservation);
		commit(&reservation, bytes, context);
	}
	footprint_done(&footprint);
	atomic_store_explicit(&contexts->last_seen[device], context, memory_order_relaxed);
}

void contexts_forget(CUcontext context)
{
	for (unsigned i = 0; i < LEDGER_MAX_DEVICES; i++) {
		CUcontext seen = context;
		atomic_compare_exchange_strong_explicit(&contexts->last_seen[i], &seen, NULL,
			memory_order_relaxed, memory_order_relaxed);
	}
}
