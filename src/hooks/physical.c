/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "hooks/physical.h"
#include "base/lock.h"
#include "base/wipe.h"
#include "hooks/fd_label.h"
#include "hooks/holds.h"
#include "slice/slice.h"

#include <stddef.h>

static struct state {
	struct lock lock;
	uint64_t last_serial;
	struct holds holds;
} * state;

bool physicals_init(void)
{
	state = wipe_alloc(sizeof(*state));
	return state != NULL;
}

static void discharge(struct physical *physical)
{
	struct holding holding;

	/* A context that died has taken along what was opened in it. */
	if (physical->serial != 0 &&
		ledger_take_out(ledger_key(physical->kind, physical->serial), &holding))
		ledger_give_back(&holding);
	physical->serial = 0;
	physical->bytes = 0;
}

static void let_go(struct physical *physical, unsigned count)
{
	while (physical != NULL) {
		struct physical *same = physical->same;
		physical->holds -= count;
		if (physical->holds > 0)
			return;
		discharge(physical);
		holds_give_cell(&state->holds, physical);
		physical = same;
		count = 1;
	}
}

/* What stood under its key is gone, for the driver has given the key anew. */
static void put_in_table(struct hold *hold)
{
	struct hold *stale = holds_find(&state->holds, hold->kind, hold->key);

	if (stale != NULL) {
		holds_remove(&state->holds, stale);
		let_go(stale->physical, stale->count - stale->ending);
		stale->count = stale->ending;
		if (stale->count == 0)
			holds_give_cell(&state->holds, stale);
	}
	holds_add(&state->holds, hold);
}

/* A new hold, which is in its table; the caller has counted it in `physical`. NULL without memory.
 */
static struct hold *add_hold(enum hold_kind kind, uint64_t key, struct physical *physical)
{
	union cell *cell = NULL;

	if (holds_make_room(&state->holds, kind))
		cell = holds_take_cell(&state->holds);
	if (cell == NULL)
		return NULL;
	cell->hold = (struct hold){.physical = physical, .key = key, .kind = kind, .count = 1};
	put_in_table(&cell->hold);
	return &cell->hold;
}

/* Something with one hold. NULL without memory. */
static struct physical *add_physical(const struct physical *as, enum hold_kind kind, uint64_t key)
{
	union cell *cell = holds_take_cell(&state->holds);

	if (cell == NULL)
		return NULL;
	cell->physical = *as;
	cell->physical.holds = 1;
	if (add_hold(kind, key, &cell->physical) != NULL)
		return &cell->physical;
	holds_give_cell(&state->holds, cell);
	return NULL;
}

/* Odd, so that it is no address or handle: those are keys of imports too. */
static uint64_t next_serial(void)
{
	lock_take(&state->lock);
	uint64_t serial = state->last_serial += 2;
	lock_drop(&state->lock);
	return serial - 1;
}

/* False also for what was opened in a context that has died. */
static bool is_alive(const struct hold *hold)
{
	const struct physical *physical = hold->physical;
	struct holding holding;

	if (hold->kind != HOLD_OPENED)
		return true;
	if (!ledger_take_out(ledger_key(physical->kind, physical->serial), &holding))
		return false;
	ledger_put_back(&holding);
	return true;
}

static bool hold_again_locked(enum hold_kind kind, uint64_t key)
{
	struct hold *hold = holds_find(&state->holds, kind, key);

	if (hold == NULL || !is_alive(hold))
		return false;
	hold->count++;
	hold->physical->holds++;
	return true;
}

/* What is booked under the serial of `physical` is held by `key` from now on. False without memory:
 * it is given back then. */
static bool keep(const struct physical *physical, enum hold_kind kind, uint64_t key)
{
	struct physical superfluous = *physical;

	lock_take(&state->lock);
	/* What another thread opened just now is counted already. */
	bool is_known = kind == HOLD_OPENED && hold_again_locked(kind, key);
	bool is_new = !is_known && add_physical(physical, kind, key) != NULL;
	if (!is_new)
		discharge(&superfluous);
	lock_drop(&state->lock);
	return is_known || is_new;
}

bool physical_commit(
	struct charge *charge, CUresult res, enum hold_kind kind, uint64_t key, uint64_t bytes)
{
	struct physical physical = {
		.serial = next_serial(),
		.bytes = bytes,
		.kind = charge->reservation.kind,
	};

	if (!charge_end(charge, res, physical.serial, bytes))
		return false;
	return !charge->is_counted || res != CUDA_SUCCESS || keep(&physical, kind, key);
}

static bool hold_again(enum hold_kind kind, uint64_t key)
{
	lock_take(&state->lock);
	bool is_held = hold_again_locked(kind, key);
	lock_drop(&state->lock);
	return is_held;
}

static struct segment_name name_of_label(uint64_t label)
{
	/* Not what a handle of cuIpcGetMemHandle looks like. */
	return (struct segment_name){{label, ~label}};
}

/* Nothing where no other member of the group pays for it. */
static void join_group(struct physical *physical, CUdevice device, const struct segment_name *name,
	CUcontext context)
{
	uint64_t serial = next_serial();

	if (ledger_join((unsigned)device, LEDGER_IMPORT, name, ledger_key(LEDGER_IMPORT, serial),
		    context, &physical->bytes))
		physical->serial = serial;
}

void physical_import(uint64_t handle, CUdevice device, uint64_t label)
{
	const struct segment_name name = name_of_label(label);
	struct physical physical = {.kind = LEDGER_IMPORT,
		.label = label,
		.device = device,
		.is_import = true,
		.is_shared = true};

	if (label != 0)
		join_group(&physical, device, &name, NULL);
	lock_take(&state->lock);
	/* Without memory for the books it goes uncounted: cuda.h knows no out of memory here. */
	if (hold_again_locked(HOLD_HANDLE, handle) ||
		add_physical(&physical, HOLD_HANDLE, handle) == NULL)
		discharge(&physical);
	lock_drop(&state->lock);
}

struct physical *physical_of_handle(uint64_t handle)
{
	lock_take(&state->lock);
	const struct hold *hold = holds_find(&state->holds, HOLD_HANDLE, handle);
	struct physical *physical = hold != NULL ? hold->physical : NULL;
	if (physical != NULL)
		physical->holds++;
	lock_drop(&state->lock);
	return physical;
}

static bool is_at(const struct hold *hold, const void *data)
{
	return *(const uint64_t *)data - hold->key < hold->bytes;
}

struct physical *physical_at(uint64_t address)
{
	lock_take(&state->lock);
	const struct hold *hold = holds_search(&state->holds, HOLD_MAPPING, is_at, &address);
	struct physical *physical = hold != NULL ? hold->physical : NULL;
	if (physical != NULL)
		physical->holds++;
	lock_drop(&state->lock);
	return physical;
}

void physical_let_go(struct physical *physical)
{
	lock_take(&state->lock);
	let_go(physical, 1);
	lock_drop(&state->lock);
}

bool physical_map(struct physical *physical, uint64_t address, uint64_t bytes)
{
	lock_take(&state->lock);
	struct hold *hold = add_hold(HOLD_MAPPING, address, physical);
	if (hold != NULL)
		hold->bytes = bytes;
	lock_drop(&state->lock);
	return hold != NULL;
}

void physical_retain(struct physical *physical, uint64_t handle)
{
	lock_take(&state->lock);
	struct hold *hold = holds_find(&state->holds, HOLD_HANDLE, handle);
	if (hold != NULL && hold->physical == physical)
		hold->count++;
	else if (hold == NULL)
		/* Without memory for the books it stays charged, which errs on the side of the
		 * limit. */
		(void)add_hold(HOLD_HANDLE, handle, physical);
	lock_drop(&state->lock);
}

static bool is_hold_of(const struct hold *hold, const void *data)
{
	return hold->physical == data;
}

static struct physical *root_of(const struct physical *physical)
{
	while (physical->same != NULL)
		physical = physical->same;
	return (struct physical *)physical;
}

/* With the lock held. One label for all descriptors; that of an import came with it. 0 where
 * nothing is charged, or there is no group: then nobody else is to count on it. */
static uint64_t label_of(const struct physical *physical)
{
	struct physical *counted = root_of(physical);

	if (counted->serial == 0 || counted->is_import)
		return counted->label;
	if (counted->label == 0)
		counted->label = fd_label_make();
	const struct segment_name name = name_of_label(counted->label);
	if (counted->label == 0 ||
		!ledger_export(ledger_key(counted->kind, counted->serial), &name))
		return 0;
	return counted->label;
}

uint64_t physical_export(uint64_t handle)
{
	uint64_t address = 0, label = 0;

	lock_take(&state->lock);
	const struct hold *reference = holds_find(&state->holds, HOLD_HANDLE, handle);
	struct physical *physical = reference != NULL ? reference->physical : NULL;
	if (physical != NULL) {
		physical->is_shared = true;
		const struct hold *mapping =
			holds_search(&state->holds, HOLD_MAPPING, is_hold_of, physical);
		address = mapping != NULL ? mapping->key : 0;
		physical->holds++;
		label = label_of(physical);
	}
	lock_drop(&state->lock);
	if (address != 0)
		physical_identify(physical, address);
	physical_let_go(physical);
	return label;
}

static bool is_other_name(const struct hold *hold, const void *data)
{
	const struct physical *physical = data;

	return hold->physical != NULL && hold->physical->identity == physical->identity &&
	       root_of(hold->physical) != root_of(physical);
}

/* Two that are one: an import of what is counted here, or two imports of one. */
static void join(struct physical *a, struct physical *b)
{
	struct physical *extra = a->is_import ? a : b;
	struct physical *counted = extra == a ? b : a;

	if (!extra->is_import)
		return;
	discharge(extra);
	extra->same = counted;
	counted->holds++;
}

/* Whether the driver is to be asked; it is so only once. */
static bool is_of_interest(const struct physical *physical)
{
	lock_take(&state->lock);
	bool is_it = physical->is_shared && physical->identity == 0;
	lock_drop(&state->lock);
	return is_it;
}

void physical_identify(struct physical *physical, uint64_t address)
{
	unsigned long long identity = 0;

	if (!is_of_interest(physical) ||
		driver.cuPointerGetAttribute(
			&identity, CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID, address) != CUDA_SUCCESS ||
		identity == 0)
		return;
	lock_take(&state->lock);
	physical->identity = identity;
	const struct hold *other =
		holds_search(&state->holds, HOLD_MAPPING, is_other_name, physical);
	if (other == NULL)
		other = holds_search(&state->holds, HOLD_HANDLE, is_other_name, physical);
	if (other != NULL)
		join(root_of(physical), root_of(other->physical));
	lock_drop(&state->lock);
}

static bool covers(const struct physical *physical, uint64_t bytes)
{
	return !physical->is_import || physical->same != NULL || bytes <= physical->bytes;
}

static bool is_covered(const struct physical *physical, uint64_t bytes)
{
	lock_take(&state->lock);
	bool is_it = covers(physical, bytes);
	lock_drop(&state->lock);
	return is_it;
}

bool physical_charge_import(struct physical *physical, uint64_t bytes)
{
	struct physical extra = {.serial = next_serial(), .bytes = bytes, .kind = LEDGER_IMPORT};
	struct charge charge;

	if (is_covered(physical, bytes) || !slice_exists(physical->device))
		return true;
	if (!charge_begin_on(physical->device, LEDGER_IMPORT, bytes, &charge) ||
		!charge_end(&charge, CUDA_SUCCESS, extra.serial, bytes))
		return false;
	lock_take(&state->lock);
	/* The new charge takes the place of a smaller one, unless another thread was faster. */
	if (!covers(physical, bytes)) {
		uint64_t serial = physical->serial;
		physical->serial = extra.serial;
		physical->bytes = bytes;
		extra.serial = serial;
	}
	discharge(&extra);
	lock_drop(&state->lock);
	return true;
}

/* Charged as if it were allocated here; to others of the group that open it, it is. */
static bool open_charged(
	CUdeviceptr address, CUdevice device, const struct segment_name *name, CUcontext context)
{
	struct physical physical = {.serial = next_serial(), .kind = LEDGER_IMPORT};
	struct charge charge;
	size_t bytes;

	if (driver.cuMemGetAddressRange_v2(NULL, &bytes, address) != CUDA_SUCCESS)
		return true;
	if (!charge_begin_on(device, LEDGER_IMPORT, bytes, &charge))
		return false;
	charge.context = context;
	if (!charge_end(&charge, CUDA_SUCCESS, physical.serial, bytes))
		return false;
	(void)ledger_export(ledger_key(LEDGER_IMPORT, physical.serial), name);
	physical.bytes = bytes;
	return keep(&physical, HOLD_OPENED, address);
}

bool physical_open(CUdeviceptr address, CUdevice device, const struct segment_name *name)
{
	struct physical physical = {.kind = LEDGER_IMPORT};
	CUcontext context;

	if (hold_again(HOLD_OPENED, address) || !slice_exists(device) ||
		driver.cuCtxGetCurrent(&context) != CUDA_SUCCESS)
		return true;
	join_group(&physical, device, name, context);
	if (physical.serial == 0)
		return open_charged(address, device, name, context);
	return keep(&physical, HOLD_OPENED, address);
}

struct hold *hold_begin_end(enum hold_kind kind, uint64_t key)
{
	ledger_begin_end();
	lock_take(&state->lock);
	struct hold *hold = holds_find(&state->holds, kind, key);
	if (hold != NULL && ++hold->ending == hold->count)
		holds_remove(&state->holds, hold);
	lock_drop(&state->lock);
	return hold;
}

/* Where the driver refused it goes back to its table, unless its key was given anew meanwhile: then
 * it was gone before. */
static void end_one(struct hold *hold, CUresult res)
{
	bool is_taken =
		!hold->is_in_table && holds_find(&state->holds, hold->kind, hold->key) != NULL;

	hold->ending--;
	if (res == CUDA_SUCCESS || is_taken) {
		hold->count--;
		let_go(hold->physical, 1);
	}
	if (hold->count == 0) {
		if (hold->is_in_table)
			holds_remove(&state->holds, hold);
		holds_give_cell(&state->holds, hold);
	} else if (!hold->is_in_table && hold->count > hold->ending && !is_taken) {
		put_in_table(hold);
	}
}

void hold_end(struct hold *hold, CUresult res)
{
	lock_take(&state->lock);
	if (hold != NULL)
		end_one(hold, res);
	lock_drop(&state->lock);
	ledger_end_end();
}

struct hold *holds_begin_unmap(uint64_t address, uint64_t bytes)
{
	struct hold *first = NULL, *hold;
	uint64_t done_bytes = 0;

	ledger_begin_end();
	lock_take(&state->lock);
	while (done_bytes < bytes &&
		(hold = holds_find(&state->holds, HOLD_MAPPING, address + done_bytes)) != NULL) {
		holds_remove(&state->holds, hold);
		hold->ending++;
		hold->next = first;
		first = hold;
		done_bytes += hold->bytes;
	}
	lock_drop(&state->lock);
	return first;
}

void holds_unmap(struct hold *holds, CUresult res)
{
	struct hold *next;

	lock_take(&state->lock);
	for (struct hold *hold = holds; hold != NULL; hold = next) {
		next = hold->next;
		end_one(hold, res);
	}
	lock_drop(&state->lock);
	ledger_end_end();
}
