/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "ledger/ledger.h"
#include "base/wipe.h"
#include "group/segment.h"
#include "group/segment_common.h"
#include "ledger/handle_map.h"

#include <stdatomic.h>

_Static_assert(SEGMENT_UNIT == LEDGER_GRANULARITY, "a group counts in what the driver takes");

/* What this process holds; wiped at fork, for a child holds nothing. */
static struct ledger {
	struct {
		/* Without a group; in one the segment has both. */
		_Atomic uint64_t used; /* bytes, and above them how often some came back */
		_Atomic uint64_t in_flight;
		_Atomic uint64_t leaving; /* taken out */
		/* Tells, decides nothing. Linear memory is what remains of all: so the commonest
		 * kind costs no access of its own. */
		_Atomic uint64_t used_for[LEDGER_KIND_COUNT];
	} __attribute__((aligned(64))) devices[LEDGER_MAX_DEVICES];
	_Atomic uint32_t endings; /* calls by which more may leave */
	struct handle_map map;
} * ledger;

/* Limits pass to children. */
static _Atomic uint64_t quotas[LEDGER_MAX_DEVICES];
_Atomic uint32_t ledger_quota_changes;

bool ledger_init(void)
{
	for (unsigned i = 0; i < LEDGER_MAX_DEVICES; i++)
		atomic_store_explicit(&quotas[i], LEDGER_UNLIMITED, memory_order_relaxed);
	ledger = wipe_alloc(sizeof(*ledger));
	return ledger != NULL;
}

#define USED_BITS 45u
#define USED_MASK ((UINT64_C(1) << USED_BITS) - 1)

_Static_assert(LEDGER_MOST == USED_MASK, "no device has more than fits");
_Static_assert(LEDGER_MOST / SEGMENT_UNIT == SEGMENT_NO_LIMIT, "in a group and without one");

/* Differences of this add up, however a reservation grows and shrinks. */
static uint64_t units_of(uint64_t bytes)
{
	return bytes / SEGMENT_UNIT + (bytes % SEGMENT_UNIT != 0);
}

static uint64_t own_quota(unsigned device)
{
	return atomic_load_explicit(&quotas[device], memory_order_relaxed);
}

/* Of two threads the one that is late must not leave the group with what it came with. */
static void tell_group(unsigned device)
{
	uint64_t bytes;

	if (!segment_is_used())
		return;
	do {
		bytes = own_quota(device);
		segment_allow(device,
			bytes == LEDGER_UNLIMITED ? SEGMENT_NO_LIMIT : bytes / SEGMENT_UNIT);
	} while (bytes != own_quota(device));
}

void ledger_tighten_quota(unsigned device, uint64_t bytes)
{
	uint64_t seen = own_quota(device);

	while (bytes < seen && !atomic_compare_exchange_weak(&quotas[device], &seen, bytes))
		;
	tell_group(device);
	atomic_fetch_add(&ledger_quota_changes, 1);
}

void ledger_set_quota(unsigned device, uint64_t bytes)
{
	atomic_store(&quotas[device], bytes);
	tell_group(device);
	atomic_fetch_add(&ledger_quota_changes, 1);
}

void ledger_look_again(unsigned device)
{
	static uint64_t seen[LEDGER_MAX_DEVICES];
	uint64_t quota = ledger_quota(device);

	if (quota != seen[device])
		atomic_fetch_add(&ledger_quota_changes, 1);
	seen[device] = quota;
}

uint64_t ledger_quota(unsigned device)
{
	uint64_t own = own_quota(device);

	if (!segment_is_used())
		return own;
	uint64_t limit = segment_limit(device);
	return limit >= own / SEGMENT_UNIT || limit == SEGMENT_NO_LIMIT ? own
									: limit * SEGMENT_UNIT;
}

/* One word, so that who reads that bytes came back also reads how often. */
static uint64_t load_used(unsigned device)
{
	return atomic_load_explicit(&ledger->devices[device].used, memory_order_acquire);
}

uint64_t ledger_used(unsigned device)
{
	if (segment_is_used())
		return segment_used(device) * SEGMENT_UNIT;
	return load_used(device) & USED_MASK;
}

uint64_t ledger_moment(unsigned device)
{
	return segment_is_used() ? segment_moment(device) : load_used(device);
}

uint64_t ledger_used_here(unsigned device)
{
	if (!segment_is_used())
		return ledger_used(device);
	return (segment_used_here(device) + segment_in_common(device)) * SEGMENT_UNIT;
}

uint64_t ledger_used_for(unsigned device, enum ledger_kind kind)
{
	uint64_t bytes = 0, all;

	if (kind != LEDGER_LINEAR)
		return atomic_load_explicit(
			&ledger->devices[device].used_for[kind], memory_order_relaxed);
	for (unsigned i = 0; i < LEDGER_KIND_COUNT; i++)
		bytes += i != LEDGER_LINEAR ? ledger_used_for(device, (enum ledger_kind)i) : 0;
	all = ledger_used_here(device);
	return all > bytes ? all - bytes : 0;
}

uint64_t ledger_give_backs(unsigned device)
{
	if (!segment_is_used())
		return load_used(device) >> USED_BITS;
	return segment_gives_here(device) + segment_common_let_gos(device);
}

const char *ledger_kind_name(enum ledger_kind kind)
{
	static const char *const names[] = {
#define KIND(name, text) text,
		LEDGER_KINDS(KIND)
#undef KIND
	};
	return names[kind];
}

static void note_kind(unsigned device, enum ledger_kind kind, uint64_t added_bytes)
{
	if (kind != LEDGER_LINEAR)
		atomic_fetch_add_explicit(
			&ledger->devices[device].used_for[kind], added_bytes, memory_order_relaxed);
}

/* What this process may have without a group. */
static uint64_t own_limit(unsigned device)
{
	uint64_t quota = own_quota(device);

	return quota < LEDGER_MOST ? quota : LEDGER_MOST;
}

static bool has_room(uint64_t used_word, uint64_t limit, uint64_t bytes)
{
	uint64_t used = used_word & USED_MASK;

	return used <= limit && bytes <= limit - used;
}

/* release: pairs with the acquire of whoever finds no room, and then looks what is in flight. */
static bool take_alone(unsigned device, uint64_t bytes)
{
	_Atomic uint64_t *used = &ledger->devices[device].used;
	uint64_t limit = own_limit(device);
	uint64_t seen = atomic_load_explicit(used, memory_order_acquire);

	do {
		if (!has_room(seen, limit, bytes))
			return false;
	} while (!atomic_compare_exchange_weak_explicit(
		used, &seen, seen + bytes, memory_order_release, memory_order_acquire));
	return true;
}

/* Counts up above the bytes, where the sum may overflow. */
static void give_alone(unsigned device, uint64_t bytes)
{
	atomic_fetch_add_explicit(&ledger->devices[device].used, (UINT64_C(1) << USED_BITS) - bytes,
		memory_order_release);
}

/* From `old` bytes to `bytes`, which is more. */
static bool reserve_more(unsigned device, enum ledger_kind kind, uint64_t old, uint64_t bytes)
{
	bool is_taken = true;

	if (segment_is_used())
		is_taken = bytes == old || segment_take(device, units_of(bytes) - units_of(old));
	else if (bytes != old)
		is_taken = take_alone(device, bytes - old);
	if (is_taken)
		note_kind(device, kind, bytes - old);
	return is_taken;
}

static void reserve_anyway(unsigned device, enum ledger_kind kind, uint64_t old, uint64_t bytes)
{
	if (segment_is_used())
		segment_take_anyway(device, units_of(bytes) - units_of(old));
	else
		atomic_fetch_add_explicit(
			&ledger->devices[device].used, bytes - old, memory_order_relaxed);
	note_kind(device, kind, bytes - old);
}

/* From `old` bytes to `bytes`, which is less. */
static void reserve_less(unsigned device, enum ledger_kind kind, uint64_t old, uint64_t bytes)
{
	if (bytes == old)
		return;
	note_kind(device, kind, bytes - old);
	if (segment_is_used())
		segment_give(device, units_of(old) - units_of(bytes));
	else
		give_alone(device, old - bytes);
}

void ledger_end_flight(unsigned device, uint64_t bytes)
{
	if (segment_is_used())
		segment_end_in_flight(device, units_of(bytes));
	else
		atomic_fetch_sub_explicit(
			&ledger->devices[device].in_flight, bytes, memory_order_relaxed);
}

uint64_t ledger_in_flight(unsigned device)
{
	if (segment_is_used())
		return segment_in_flight(device) * SEGMENT_UNIT;
	return atomic_load_explicit(&ledger->devices[device].in_flight, memory_order_relaxed);
}

uint64_t ledger_in_flight_here(unsigned device)
{
	return segment_is_used() ? segment_in_flight_here(device) * SEGMENT_UNIT
				 : ledger_in_flight(device);
}

void ledger_look_after(void)
{
	if (segment_is_used())
		segment_look_after();
}

bool ledger_expects_memory(unsigned device)
{
	return segment_is_used() && segment_expects_memory(device);
}

bool ledger_reserve(
	unsigned device, enum ledger_kind kind, uint64_t bytes, struct reservation *ret_reservation)
{
	if (!reserve_more(device, kind, 0, bytes))
		return false;
	*ret_reservation = (struct reservation){.bytes = bytes, .device = device, .kind = kind};
	return true;
}

bool ledger_extend(struct reservation *reservation, uint64_t bytes)
{
	if (bytes <= reservation->bytes)
		return true;
	if (!reserve_more(reservation->device, reservation->kind, reservation->bytes, bytes))
		return false;
	reservation->bytes = bytes;
	return true;
}

/* Told first, so that nobody is refused for bytes that may come back and that it could not know
 * of. */
static bool take_alone_in_flight(unsigned device, uint64_t bytes)
{
	_Atomic uint64_t *in_flight = &ledger->devices[device].in_flight;

	atomic_fetch_add_explicit(in_flight, bytes, memory_order_relaxed);
	if (likely(take_alone(device, bytes)))
		return true;
	atomic_fetch_sub_explicit(in_flight, bytes, memory_order_relaxed);
	return false;
}

/* What has no room will not be asked for, and is not told. */
static bool take_in_flight(unsigned device, uint64_t old, uint64_t bytes)
{
	if (segment_is_used())
		return segment_take_in_flight(device, units_of(old), units_of(bytes));
	return has_room(load_used(device), own_limit(device), bytes - old) &&
	       take_alone_in_flight(device, bytes - old);
}

bool ledger_extend_in_flight(
	struct reservation *reservation, uint64_t bytes, uint64_t *flying_bytes)
{
	uint64_t old = reservation->bytes;

	if (bytes <= old)
		return true;
	if (!take_in_flight(reservation->device, old, bytes))
		return false;
	note_kind(reservation->device, reservation->kind, bytes - old);
	reservation->bytes = bytes;
	*flying_bytes += bytes - old;
	return true;
}

void ledger_move(struct reservation *from, struct reservation *into, uint64_t bytes)
{
	note_kind(from->device, from->kind, -bytes);
	note_kind(into->device, into->kind, bytes);
	from->bytes -= bytes;
	into->bytes += bytes;
}

void ledger_shrink(struct reservation *reservation, uint64_t bytes)
{
	if (bytes >= reservation->bytes)
		return;
	reserve_less(reservation->device, reservation->kind, reservation->bytes, bytes);
	reservation->bytes = bytes;
}

void ledger_settle(struct reservation *reservation, uint64_t bytes)
{
	/* A figure that cannot be must not spoil the count. */
	if (bytes > LEDGER_MOST / 2)
		bytes = LEDGER_MOST / 2;
	if (bytes > reservation->bytes)
		reserve_anyway(reservation->device, reservation->kind, reservation->bytes, bytes);
	else
		reserve_less(reservation->device, reservation->kind, reservation->bytes, bytes);
	reservation->bytes = bytes;
}

static void give_back(const struct holding *holding)
{
	if (holding->common == 0) {
		reserve_less(holding->device, holding->kind, holding->bytes, 0);
		return;
	}
	note_kind(holding->device, holding->kind, -holding->bytes);
	segment_let_go(holding->common);
}

bool ledger_commit(const struct reservation *reservation, uint64_t key, void *context)
{
	struct holding holding = {
		.key = key,
		.bytes = reservation->bytes,
		.context = context,
		.device = (uint16_t)reservation->device,
		.kind = reservation->kind,
	};
	struct holding displaced;

	if (!handle_map_insert(&ledger->map, &holding, &displaced))
		return false;
	/* The driver gave the key anew, so what stood there is gone: the memory of a context
	 * that died while a free of it was on its way. */
	give_back(&displaced);
	return true;
}

void ledger_cancel(const struct reservation *reservation)
{
	reserve_less(reservation->device, reservation->kind, reservation->bytes, 0);
}

bool ledger_take_out(uint64_t key, struct holding *ret_holding)
{
	if (key == 0 || !handle_map_remove(&ledger->map, key, ret_holding))
		return false;
	atomic_fetch_add_explicit(&ledger->devices[ret_holding->device].leaving, ret_holding->bytes,
		memory_order_relaxed);
	return true;
}

/* release: who sees that it leaves no more also sees how often something came back. */
void ledger_take_over(const struct holding *holding)
{
	atomic_fetch_sub_explicit(
		&ledger->devices[holding->device].leaving, holding->bytes, memory_order_release);
}

void ledger_give_back(const struct holding *holding)
{
	give_back(holding);
	ledger_take_over(holding);
}

void ledger_begin_end(void)
{
	atomic_fetch_add_explicit(&ledger->endings, 1, memory_order_relaxed);
}

void ledger_end_end(void)
{
	atomic_fetch_sub_explicit(&ledger->endings, 1, memory_order_release);
}

uint64_t ledger_leaving(unsigned device)
{
	if (atomic_load_explicit(&ledger->endings, memory_order_acquire) > 0)
		return UINT64_MAX;
	return atomic_load_explicit(&ledger->devices[device].leaving, memory_order_acquire);
}

struct export
{
	const struct segment_name *name;
	bool is_known;
};

static void export_holding(struct holding *holding, void *data)
{
	struct export *export = data;

	if (holding->common == 0)
		holding->common = (uint16_t)segment_export(
			holding->device, units_of(holding->bytes), export->name);
	export->is_known = holding->common != 0;
}

/* With its shard's lock held, so that it is not given back meanwhile. */
bool ledger_export(uint64_t key, const struct segment_name *name)
{
	struct export export = {.name = name};

	return segment_is_used() && handle_map_change(&ledger->map, key, export_holding, &export) &&
	       export.is_known;
}

bool ledger_join(unsigned device, enum ledger_kind kind, const struct segment_name *name,
	uint64_t key, void *context, uint64_t *ret_bytes)
{
	struct holding holding = {
		.key = key,
		.context = context,
		.device = (uint16_t)device,
		.kind = kind,
	};
	struct holding displaced;
	uint64_t units = 0;

	if (!segment_is_used())
		return false;
	holding.common = (uint16_t)segment_join(device, name, &units);
	if (holding.common == 0)
		return false;
	holding.bytes = units * SEGMENT_UNIT;
	if (!handle_map_insert(&ledger->map, &holding, &displaced)) {
		segment_let_go(holding.common);
		return false;
	}
	give_back(&displaced);
	note_kind(device, kind, holding.bytes);
	*ret_bytes = holding.bytes;
	return true;
}

void ledger_put_back(const struct holding *holding)
{
	struct holding displaced;

	/* Its place was free a moment ago; should the table have to grow now and cannot, the bytes
	 * stay counted, which errs on the side of the limit. Where the key has been given anew
	 * since, the memory was gone before the driver refused to free it. */
	if (handle_map_put_back(&ledger->map, holding, &displaced))
		give_back(&displaced);
	ledger_take_over(holding);
}

void ledger_drop_context(const void *context)
{
	handle_map_remove_context(&ledger->map, context, give_back);
}
