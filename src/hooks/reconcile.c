/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "hooks/reconcile.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/wipe.h"
#include "hooks/process_figure.h"
#include "hooks/settle.h"

#define PERIOD_NS NS_PER_S
/* The least part of the quota to go on before the next reading. */
#define LEAST_STEP 16
#define TRIES      4
/* Readings in a row, at one allocation each, while memory that is being given back makes them
 * doubtful. */
#define MOST_DOUBTS 8

struct reconcile_threshold *reconcile_thresholds;

/* Wiped at fork: a child holds nothing. */
static struct reconcile_state {
	struct reconcile_threshold thresholds[LEDGER_MAX_DEVICES];
	struct reconcile_device {
		atomic_bool is_reading;
		/* Of who is reading. */
		unsigned doubts;
		uint64_t quota_bytes;     /* at the last reading */
		_Atomic uint64_t next_ns; /* when the last reading becomes stale */
		_Atomic uint64_t holders; /* threads that are about to charge what they found */
		_Atomic uint64_t resumed; /* how often one of them was done */
		struct lock lock;         /* of what follows */
		struct reservation other; /* of kind LEDGER_OTHER once something was */
		uint64_t last_bytes;      /* as the last reading had it */
	} devices[LEDGER_MAX_DEVICES];
} * reconciled;

bool reconcile_init(void)
{
	reconciled = wipe_alloc(sizeof(*reconciled));
	if (reconciled == NULL)
		return false;
	reconcile_thresholds = reconciled->thresholds;
	return true;
}

void reconcile_hold(unsigned device)
{
	atomic_fetch_add(&reconciled->devices[device].holders, 1);
}

void reconcile_resume(unsigned device)
{
	atomic_fetch_add(&reconciled->devices[device].resumed, 1);
	atomic_fetch_sub(&reconciled->devices[device].holders, 1);
}

void reconcile_watch(unsigned device, struct reconcile_watch *ret_watch)
{
	/* In this order: who resumes between the two changes what was read first. */
	ret_watch->resumed = atomic_load(&reconciled->devices[device].resumed);
	ret_watch->is_alone = atomic_load(&reconciled->devices[device].holders) == 1;
}

bool reconcile_was_alone(unsigned device, const struct reconcile_watch *watch)
{
	/* In this order: who is no holder any more has been counted as resumed. */
	return watch->is_alone && atomic_load(&reconciled->devices[device].holders) == 1 &&
	       atomic_load(&reconciled->devices[device].resumed) == watch->resumed;
}

void reconcile_soon(unsigned device)
{
	atomic_store_explicit(&reconcile_thresholds[device].used_bytes, 0, memory_order_relaxed);
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t other_bytes(unsigned device)
{
	return ledger_used_for(device, LEDGER_OTHER);
}

struct reading {
	uint64_t driver_bytes, ledger_bytes; /* without other */
	uint64_t pending_bytes;              /* of the ledger's; the driver's may not have them */
};

/* The ledger is never behind the driver (ledger_used_here()), unless bytes came back meanwhile.
 * What is reserved and not taken yet makes the result too small, never too large; so would what had
 * come back by itself before. */
static enum reconcile_answer read_beyond(unsigned device, struct reading *ret_reading)
{
	for (unsigned i = 0; i < TRIES; i++) {
		uint64_t give_backs = ledger_give_backs(device);
		if (!process_figure_read(device, &ret_reading->driver_bytes))
			return RECONCILE_NOT_TOLD;
		/* In this order: what is charged as other in between is too much, not too little.
		 */
		uint64_t other = other_bytes(device);
		ret_reading->ledger_bytes = ledger_used_here(device) - other;
		ret_reading->pending_bytes = settle_what_came_back(device);
		if (ledger_give_backs(device) == give_backs)
			return RECONCILE_TOLD;
	}
	return RECONCILE_MOVES;
}

enum reconcile_answer reconcile_read(unsigned device, uint64_t *ret_bytes)
{
	struct reading reading;
	enum reconcile_answer answer = read_beyond(device, &reading);

	if (answer != RECONCILE_TOLD)
		return answer;
	uint64_t driver = reading.driver_bytes, ledger = reading.ledger_bytes;
	ledger -= smaller(ledger, ledger_used_for(device, LEDGER_IMPORT));
	if (driver < ledger)
		return ledger - driver <= reading.pending_bytes ? RECONCILE_MOVES
								: RECONCILE_NOT_TOLD;
	uint64_t beyond = driver - ledger, other = other_bytes(device);
	*ret_bytes = beyond > other ? beyond - other : 0;
	return RECONCILE_TOLD;
}

static void settle_other(struct reconcile_device *at, unsigned device, uint64_t bytes)
{
	/* An empty reservation always succeeds, and says whose it is. */
	if (at->other.bytes == 0 && !ledger_reserve(device, LEDGER_OTHER, 0, &at->other))
		return;
	if (bytes != at->other.bytes)
		ledger_settle(&at->other, bytes);
}

/* A reading that is lower than the last is believed when the next one agrees: allocations that
 * were on their way make one too low. One that somebody else charged meanwhile is dropped, and
 * false returned. */
static bool charge_other(unsigned device, uint64_t bytes, uint64_t resumed)
{
	struct reconcile_device *at = &reconciled->devices[device];

	lock_take(&at->lock);
	bool is_nobodys = atomic_load(&at->holders) == 0 && atomic_load(&at->resumed) == resumed;
	if (is_nobodys) {
		settle_other(at, device, bytes > at->last_bytes ? bytes : at->last_bytes);
		at->last_bytes = bytes;
	}
	lock_drop(&at->lock);
	return is_nobodys;
}

void reconcile_name(unsigned device, uint64_t bytes, struct reservation *into)
{
	struct reconcile_device *at = &reconciled->devices[device];

	lock_take(&at->lock);
	uint64_t known_bytes = smaller(at->other.bytes, bytes);
	ledger_move(&at->other, into, known_bytes - known_bytes % LEDGER_GRANULARITY);
	at->last_bytes -= smaller(at->last_bytes, bytes);
	lock_drop(&at->lock);
}

/* Half of what `used` leaves, but not so little that each allocation would ask. */
static uint64_t threshold_beyond(uint64_t quota, uint64_t used)
{
	uint64_t left = quota > used ? quota - used : 0;
	uint64_t step = left / 2 > quota / LEAST_STEP ? left / 2 : quota / LEAST_STEP;

	return used + step;
}

/* Returns false where the reading may be too small by what is being given back, or was dropped. */
static bool read_and_charge(unsigned device, uint64_t quota)
{
	uint64_t resumed = atomic_load(&reconciled->devices[device].resumed);
	struct reading reading;

	if (quota == LEDGER_UNLIMITED)
		return true;
	enum reconcile_answer answer = read_beyond(device, &reading);
	if (answer != RECONCILE_TOLD)
		return answer == RECONCILE_NOT_TOLD;
	bool is_charged = charge_other(device,
		reading.driver_bytes - smaller(reading.driver_bytes, reading.ledger_bytes),
		resumed);
	return is_charged && reading.pending_bytes == 0;
}

/* Where somebody wants it to be read soon, it is read until it is not doubtful. */
static bool is_to_be_read_again(struct reconcile_device *at, bool is_wanted, bool is_certain)
{
	at->doubts = is_wanted && !is_certain && at->doubts < MOST_DOUBTS ? at->doubts + 1 : 0;
	return at->doubts > 0;
}

/* `bytes` are about to be taken. Who wants another reading while this one is under way gets it, and
 * so does a quota that becomes less. While somebody holds, nothing would come of it. */
static COLD void reconcile(unsigned device, uint64_t bytes)
{
	struct reconcile_device *at = &reconciled->devices[device];
	_Atomic uint64_t *threshold = &reconcile_thresholds[device].used_bytes;
	uint32_t changes = atomic_load(&ledger_quota_changes);
	uint64_t untouched = UINT64_MAX, quota = ledger_quota(device);

	if (atomic_load(&at->holders) > 0 ||
		atomic_exchange_explicit(&at->is_reading, true, memory_order_acquire))
		return;
	bool is_wanted = atomic_exchange(threshold, untouched) == 0 || quota < at->quota_bytes;
	at->quota_bytes = quota;
	atomic_store_explicit(
		&reconcile_thresholds[device].quota_changes, changes, memory_order_relaxed);
	bool is_again = is_to_be_read_again(at, is_wanted, read_and_charge(device, quota));
	/* Where there is no NVML now there will be none. */
	bool is_absent = process_figure_is_absent();
	uint64_t next = is_again ? 0 : threshold_beyond(quota, ledger_used(device) + bytes);
	atomic_compare_exchange_strong(threshold, &untouched, is_absent ? UINT64_MAX : next);
	atomic_store_explicit(&at->next_ns, is_absent ? UINT64_MAX : clock_now_ns() + PERIOD_NS,
		memory_order_relaxed);
	atomic_store_explicit(&at->is_reading, false, memory_order_release);
}

void reconcile_for(unsigned device, uint64_t bytes)
{
	uint64_t quota = ledger_quota(device), used = ledger_used(device);

	if (used <= quota && bytes <= quota - used)
		reconcile(device, bytes);
}

void reconcile_if_stale(unsigned device)
{
	uint64_t next_ns =
		atomic_load_explicit(&reconciled->devices[device].next_ns, memory_order_relaxed);

	if (next_ns != UINT64_MAX && clock_now_ns() >= next_ns)
		reconcile(device, 0);
}
