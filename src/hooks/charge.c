/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "hooks/charge.h"
#include "base/clock.h"
#include "hooks/contexts.h"
#include "hooks/footprint.h"
#include "hooks/graph_memory.h"
#include "hooks/pending_frees.h"
#include "hooks/pools.h"
#include "hooks/process_figure.h"
#include "hooks/reconcile.h"
#include "hooks/refusals.h"
#include "slice/slice.h"

/* How long an allocation waits at most, all in all, for memory that is being freed in stream order,
 * or that the driver may refuse to another, and how often it looks. Enough for a stream that is
 * about to get there; a program that asks for more than there will be soon hears it soon. */
#define PENDING_WAIT_NS (10 * NS_PER_MS)
#define LOOK_AGAIN_NS   (100 * NS_PER_US)

/* How long the driver is asked again at most while it takes down what a dead process had. */
#define AGAIN_WAIT_NS (200 * NS_PER_MS)
#define ASK_AGAIN_NS  NS_PER_MS

bool charge_init(void)
{
	return process_figure_init() && reconcile_init() && footprint_init() && contexts_init() &&
	       refusals_init();
}

static void land(struct charge *charge)
{
	if (charge->flying_bytes > 0)
		ledger_end_flight(charge->reservation.device, charge->flying_bytes);
	charge->flying_bytes = 0;
}

static inline bool take(struct charge *charge, uint64_t bytes)
{
	return ledger_extend_in_flight(&charge->reservation, bytes, &charge->flying_bytes);
}

static bool is_enough_with(uint64_t pending_bytes, unsigned device, uint64_t bytes)
{
	uint64_t quota = ledger_quota(device);

	return pending_bytes > 0 && bytes <= quota &&
	       ledger_used(device) <= quota - bytes + pending_bytes;
}

/* What others are asking the driver for. */
static uint64_t in_flight_elsewhere(const struct charge *charge)
{
	uint64_t bytes = ledger_in_flight(charge->reservation.device);

	return bytes > charge->flying_bytes ? bytes - charge->flying_bytes : 0;
}

static inline uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* A refusal that has nothing to wait for looks at no clock. */
static void wait_a_little(uint64_t *until_ns)
{
	if (*until_ns == 0)
		*until_ns = clock_now_ns() + PENDING_WAIT_NS;
	clock_sleep_ns(LOOK_AGAIN_NS);
}

/* The quota has no room: it may have some without what pools only keep, once streams get to what
 * was freed on them, or once the driver has refused what others have reserved. */
static COLD bool extend_when_freed(struct charge *charge, uint64_t bytes)
{
	struct reservation *reservation = &charge->reservation;
	uint64_t missing_bytes = bytes - reservation->bytes;
	unsigned device = reservation->device;
	bool has_trimmed = false;

	ledger_look_after();
	/* What is charged as other may be gone. */
	if (is_enough_with(ledger_used_for(device, LEDGER_OTHER), device, missing_bytes))
		reconcile_if_stale(device);
	for (;;) {
		/* Before the look that is the last one then: this thread may be held up after it.
		 */
		bool is_over =
			charge->wait_until_ns != 0 && clock_now_ns() >= charge->wait_until_ns;
		uint64_t freed_bytes = pending_frees_collect(device);
		/* What has come back by now is seen by the attempt, what has been taken until then
		 * after it. */
		uint64_t moment = ledger_moment(device);
		uint64_t flying_bytes = in_flight_elsewhere(charge);
		if (take(charge, bytes))
			return true;
		if (!has_trimmed) {
			has_trimmed = true;
			if (pools_trim(device) && take(charge, bytes))
				return true;
			if (graph_memory_trim(device) && take(charge, bytes))
				return true;
		}
		if (ledger_moment(device) != moment)
			flying_bytes = larger(flying_bytes, in_flight_elsewhere(charge));
		if (is_over || !is_enough_with(freed_bytes + flying_bytes, device, missing_bytes)) {
			refusals_add(device, missing_bytes);
			return false;
		}
		wait_a_little(&charge->wait_until_ns);
	}
}

static bool extend(struct charge *charge, uint64_t bytes)
{
	return take(charge, bytes) || extend_when_freed(charge, bytes);
}

static inline struct charge nothing_yet(CUdevice device, enum ledger_kind kind)
{
	return (struct charge){.reservation = {.device = (unsigned)device, .kind = kind}};
}

bool charge_try_on(
	CUdevice device, enum ledger_kind kind, uint64_t bytes, struct charge *ret_charge)
{
	*ret_charge = nothing_yet(device, kind);
	if (!slice_exists(device))
		return true;
	ret_charge->is_counted = take(ret_charge, ledger_round(bytes));
	return ret_charge->is_counted;
}

static inline bool begin_on(CUdevice device, uint64_t bytes, struct charge *charge)
{
	bytes = ledger_round(bytes);
	reconcile_before((unsigned)device, bytes);
	charge->is_counted = extend(charge, bytes);
	return charge->is_counted;
}

bool charge_begin_on(
	CUdevice device, enum ledger_kind kind, uint64_t bytes, struct charge *ret_charge)
{
	return charge_begin_within(device, kind, bytes, 0, ret_charge);
}

bool charge_begin_within(CUdevice device, enum ledger_kind kind, uint64_t bytes,
	uint64_t wait_until_ns, struct charge *ret_charge)
{
	*ret_charge = nothing_yet(device, kind);
	ret_charge->wait_until_ns = wait_until_ns;
	return !slice_exists(device) || begin_on(device, bytes, ret_charge);
}

/* The current context and its device, where there are such. The one that was seen last where there
 * is but one device needs no second question. */
static inline bool find_current(CUcontext *ret_context, CUdevice *ret_device)
{
	if (driver.cuCtxGetCurrent(ret_context) != CUDA_SUCCESS || *ret_context == NULL)
		return false;
	if (slice_is_only_device() && contexts_is_last_seen(0, *ret_context)) {
		*ret_device = 0;
		return true;
	}
	return driver.cuCtxGetDevice(ret_device) == CUDA_SUCCESS;
}

bool charge_begin(enum ledger_kind kind, uint64_t bytes, struct charge *ret_charge)
{
	CUdevice device = -1;
	CUcontext context;

	bool is_current = find_current(&context, &device);
	*ret_charge = nothing_yet(device, kind);
	if (!is_current || !slice_exists(device))
		return true;
	contexts_find_owner((unsigned)device, &context);
	contexts_see((unsigned)device, context);
	ret_charge->context = context;
	return begin_on(device, bytes, ret_charge);
}

bool charge_extend(struct charge *charge, uint64_t bytes)
{
	if (!charge->is_counted || extend(charge, ledger_round(bytes)))
		return true;
	land(charge);
	ledger_cancel(&charge->reservation);
	return false;
}

static COLD bool ask_again(struct charge *charge)
{
	uint64_t now_ns = clock_now_ns();

	if (charge->again_until_ns == 0)
		charge->again_until_ns = now_ns + AGAIN_WAIT_NS;
	if (now_ns >= charge->again_until_ns || !ledger_expects_memory(charge->reservation.device))
		return false;
	clock_sleep_ns(ASK_AGAIN_NS);
	return true;
}

bool charge_again(struct charge *charge, CUresult res)
{
	return unlikely(res == CUDA_ERROR_OUT_OF_MEMORY) && charge->is_counted && ask_again(charge);
}

static bool settle(struct charge *charge, CUresult res, uint64_t handle, uint64_t bytes)
{
	struct reservation *reservation = &charge->reservation;

	if (res == CUDA_SUCCESS && extend(charge, ledger_round(bytes)) &&
		ledger_commit(reservation, ledger_key(reservation->kind, handle), charge->context))
		return true;
	ledger_cancel(reservation);
	return res != CUDA_SUCCESS;
}

bool charge_end(struct charge *charge, CUresult res, uint64_t handle, uint64_t bytes)
{
	if (!charge->is_counted)
		return true;
	bool is_settled = settle(charge, res, handle, bytes);
	land(charge);
	return is_settled;
}

void charge_move(struct charge *charge, struct reservation *into)
{
	if (!charge->is_counted)
		return;
	into->bytes += charge->reservation.bytes;
	land(charge);
	charge->is_counted = false;
}
