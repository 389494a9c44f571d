/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Device-memory ledger: who holds which bytes, and whether more may be had. Bytes are reserved
 * before the driver is asked, then committed under the address it gave, or cancelled; so no race
 * of threads takes a device beyond its quota. Never calls the driver.
 */
#ifndef CUSLICE_LEDGER_LEDGER_H
#define CUSLICE_LEDGER_LEDGER_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

#define LEDGER_MAX_DEVICES 64
#define LEDGER_UNLIMITED   ((uint64_t)INT64_MAX)

/* Linear device memory is counted in multiples of this, as simgpu hands it out by default. What a
 * real driver takes, and adds for its own blocks, has not been measured yet. */
#define LEDGER_GRANULARITY 512ull

/* Bytes promised on a device but not yet under an address. */
struct reservation {
	uint64_t bytes;
	unsigned device;
};

/* What stands under one address. */
struct holding {
	uint64_t address;
	uint64_t bytes; /* as charged */
	void *context;  /* the CUcontext in which it was allocated; it dies with it */
	unsigned device;
};

/* Makes the ledger, empty and without quotas. At the start, once. False without memory.
 * A forked child finds its own ledger empty, with the quotas of the parent. */
bool ledger_init(void) MUST_CHECK;

/* The quota becomes `bytes` if that is less than it is. Below what is held it denies growth.
 * Threads: any, as for all that follow. */
void ledger_tighten_quota(unsigned device, uint64_t bytes);
uint64_t ledger_quota(unsigned device); /* LEDGER_UNLIMITED without one */
uint64_t ledger_used(unsigned device);  /* bytes reserved and held */

/* `bytes` rounded up to what the driver takes; UINT64_MAX where that overflows. */
uint64_t ledger_round(uint64_t bytes);

/* Reserves `bytes`, already rounded; 0 always succeeds. One compare-and-swap.
 * ret_reservation  valid only when true is returned: to be committed or cancelled, exactly once
 * Returns          false when the quota would be exceeded; nothing is changed then
 */
bool ledger_reserve(
	unsigned device, uint64_t bytes, struct reservation *ret_reservation) MUST_CHECK;

/* Makes a reservation larger, to what the driver really took. False as ledger_reserve(). */
bool ledger_extend(struct reservation *reservation, uint64_t bytes) MUST_CHECK;

/* Books the reservation under `address`; what stood there before is given back. False where the
 * ledger itself is out of memory; the reservation then still stands. */
bool ledger_commit(
	const struct reservation *reservation, uint64_t address, void *context) MUST_CHECK;
void ledger_cancel(const struct reservation *reservation);

/* A free in two steps, for the driver may refuse it: taking the holding out comes before the
 * driver is asked (afterwards another thread may be given the same address), giving its bytes
 * back, or putting it back, after. False for an address that is not ours to count. */
bool ledger_take_out(uint64_t address, struct holding *ret_holding) MUST_CHECK;
void ledger_give_back(const struct holding *holding);
void ledger_put_back(const struct holding *holding);

/* A context has died and took its memory with it. */
void ledger_drop_context(const void *context);

#endif
