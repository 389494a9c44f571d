/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "hooks/charge.h"
#include "base/clock.h"
#include "base/log.h"
#include "hooks/pending_frees.h"
#include "slice/slice.h"

/* How long an allocation waits at most for memory that is being freed in stream order, and how
 * often it looks. Enough for a stream that is about to get there; a program that asks for more than
 * there will be soon hears it soon. */
#define PENDING_WAIT_NS (10 * NS_PER_MS)
#define LOOK_AGAIN_NS   (100 * NS_PER_US)

static COLD bool refuse(unsigned device, uint64_t bytes)
{
	log_at(LOG_INFO, "ledger", "refused %s on GPU %u: %s of %s used",
		units_format_bytes(bytes).text, device,
		units_format_bytes(ledger_used(device)).text,
		units_format_bytes(ledger_quota(device)).text);
	return false;
}

static bool is_enough_with(uint64_t pending_bytes, unsigned device, uint64_t bytes)
{
	uint64_t quota = ledger_quota(device);

	return pending_bytes > 0 && bytes <= quota &&
	       ledger_used(device) <= quota - bytes + pending_bytes;
}

/* The quota has no room: it may have some once streams get to what was freed on them. */
static COLD bool extend_when_freed(struct reservation *reservation, uint64_t bytes)
{
	uint64_t until_ns = clock_now_ns() + PENDING_WAIT_NS;
	uint64_t missing_bytes = bytes - reservation->bytes;
	unsigned device = reservation->device;

	for (;;) {
		uint64_t now_ns = clock_now_ns();
		uint64_t pending_bytes = pending_frees_collect(device);
		if (ledger_extend(reservation, bytes))
			return true;
		if (now_ns >= until_ns || !is_enough_with(pending_bytes, device, missing_bytes))
			return refuse(device, missing_bytes);
		clock_sleep_ns(LOOK_AGAIN_NS);
	}
}

static bool extend(struct reservation *reservation, uint64_t bytes)
{
	return ledger_extend(reservation, bytes) || extend_when_freed(reservation, bytes);
}

bool charge_begin_on(
	CUdevice device, enum ledger_kind kind, uint64_t bytes, struct charge *ret_charge)
{
	*ret_charge = (struct charge){0};
	if (!slice_exists(device))
		return true;
	bytes = ledger_round(bytes);
	struct reservation *reservation = &ret_charge->reservation;
	ret_charge->is_counted = ledger_reserve((unsigned)device, kind, bytes, reservation) ||
				 (ledger_reserve((unsigned)device, kind, 0, reservation) &&
					 extend_when_freed(reservation, bytes));
	return ret_charge->is_counted;
}

bool charge_begin(enum ledger_kind kind, uint64_t bytes, struct charge *ret_charge)
{
	CUdevice device;
	CUcontext context;

	*ret_charge = (struct charge){0};
	if (driver.cuCtxGetDevice(&device) != CUDA_SUCCESS ||
		driver.cuCtxGetCurrent(&context) != CUDA_SUCCESS)
		return true;
	if (!charge_begin_on(device, kind, bytes, ret_charge))
		return false;
	ret_charge->context = context;
	return true;
}

bool charge_extend(struct charge *charge, uint64_t bytes)
{
	if (!charge->is_counted || extend(&charge->reservation, ledger_round(bytes)))
		return true;
	ledger_cancel(&charge->reservation);
	return false;
}

bool charge_end(struct charge *charge, CUresult res, uint64_t handle, uint64_t bytes)
{
	struct reservation *reservation = &charge->reservation;

	if (!charge->is_counted)
		return true;
	if (res == CUDA_SUCCESS && extend(reservation, ledger_round(bytes)) &&
		ledger_commit(reservation, ledger_key(reservation->kind, handle), charge->context))
		return true;
	ledger_cancel(reservation);
	return res != CUDA_SUCCESS;
}
