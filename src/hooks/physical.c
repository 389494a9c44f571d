/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "hooks/physical.h"
#include "base/lock.h"
#include "base/wipe.h"
#include "slice/slice.h"

#include <stddef.h>

#define CHUNK_BYTES   ((size_t)64 << 10)
#define FIRST_BUCKETS 1024u /* a power of two */

struct physical {
	struct physical *same; /* that this turned out to be: counted there, and held by this */
	uint64_t serial;       /* handle in the ledger; 0: nothing is charged */
	uint64_t bytes;        /* as charged */
	uint64_t identity;     /* as the driver numbers it in this process; 0: unknown */
	unsigned holds;        /* references, mappings, and calls under way */
	CUdevice device;       /* of an import */
	enum ledger_kind kind;
	bool is_import, is_shared;
};

struct hold {
	struct hold *next; /* in its bucket, or in a list of those that end */
	struct physical *physical;
	uint64_t key;
	uint64_t bytes; /* of a mapping */
	enum hold_kind kind;
	unsigned count, ending;
	bool is_in_table;
};

struct table {
	struct hold **buckets;
	uint32_t bucket_count, count;
};

/* Nothing of this is given back to the system; it is used again. */
union cell {
	union cell *next_unused;
	struct physical physical;
	struct hold hold;
};

static struct state {
	struct lock lock;
	uint64_t last_serial;
	union cell *unused;
	struct table tables[HOLD_KINDS];
} * state;

bool physicals_init(void)
{
	state = wipe_alloc(sizeof(*state));
	return state != NULL;
}

static bool add_cells(void)
{
	union cell *cells = pages_alloc(CHUNK_BYTES);

	for (size_t i = 0; cells != NULL && i < CHUNK_BYTES / sizeof(*cells); i++) {
		cells[i].next_unused = state->unused;
		state->unused = &cells[i];
	}
	return cells != NULL;
}

static union cell *take_cell(void)
{
	if (state->unused == NULL && !add_cells())
		return NULL;
	union cell *cell = state->unused;
	state->unused = cell->next_unused;
	*cell = (union cell){0};
	return cell;
}

static void give_cell(void *used)
{
	union cell *cell = used;

	cell->next_unused = state->unused;
	state->unused = cell;
}

static struct hold **bucket_of(struct table *table, uint64_t key)
{
	uint64_t hash = key * UINT64_C(0x9e3779b97f4a7c15) >> 32;

	return &table->buckets[hash & (table->bucket_count - 1)];
}

static void put_in_bucket(struct table *table, struct hold *hold)
{
	struct hold **bucket = bucket_of(table, hold->key);

	hold->next = *bucket;
	*bucket = hold;
}

/* Without memory the buckets only grow longer; false where there are none at all. */
static bool make_room(struct table *table)
{
	struct table larger = {.count = table->count,
		.bucket_count = table->bucket_count ? 2 * table->bucket_count : FIRST_BUCKETS};

	if (table->count < table->bucket_count)
		return true;
	larger.buckets = pages_alloc(larger.bucket_count * sizeof(struct hold *));
	if (larger.buckets == NULL)
		return table->bucket_count > 0;
	for (uint32_t i = 0; i < table->bucket_count; i++) {
		for (struct hold *hold = table->buckets[i], *next; hold != NULL; hold = next) {
			next = hold->next;
			put_in_bucket(&larger, hold);
		}
	}
	if (table->bucket_count > 0)
		pages_free(table->buckets, table->bucket_count * sizeof(struct hold *));
	*table = larger;
	return true;
}

static struct hold *find(enum hold_kind kind, uint64_t key)
{
	struct table *table = &state->tables[kind];
	struct hold *hold = table->bucket_count > 0 ? *bucket_of(table, key) : NULL;

	while (hold != NULL && hold->key != key)
		hold = hold->next;
	return hold;
}

static void take_from_table(struct hold *hold)
{
	struct table *table = &state->tables[hold->kind];
	struct hold **link = bucket_of(table, hold->key);

	while (*link != hold)
		link = &(*link)->next;
	*link = hold->next;
	table->count--;
	hold->is_in_table = false;
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
		give_cell(physical);
		physical = same;
		count = 1;
	}
}

/* What stood under its key is gone, for the driver has given the key anew. */
static void put_in_table(struct hold *hold)
{
	struct hold *stale = find(hold->kind, hold->key);

	if (stale != NULL) {
		take_from_table(stale);
		let_go(stale->physical, stale->count - stale->ending);
		stale->count = stale->ending;
		if (stale->count == 0)
			give_cell(stale);
	}
	put_in_bucket(&state->tables[hold->kind], hold);
	state->tables[hold->kind].count++;
	hold->is_in_table = true;
}

/* A new hold, which is in its table; the caller has counted it in `physical`. NULL without memory.
 */
static struct hold *add_hold(enum hold_kind kind, uint64_t key, struct physical *physical)
{
	union cell *cell = make_room(&state->tables[kind]) ? take_cell() : NULL;

	if (cell == NULL)
		return NULL;
	cell->hold = (struct hold){.physical = physical, .key = key, .kind = kind, .count = 1};
	put_in_table(&cell->hold);
	return &cell->hold;
}

/* Something with one hold. NULL without memory. */
static struct physical *add_physical(const struct physical *as, enum hold_kind kind, uint64_t key)
{
	union cell *cell = take_cell();

	if (cell == NULL)
		return NULL;
	cell->physical = *as;
	cell->physical.holds = 1;
	if (add_hold(kind, key, &cell->physical) != NULL)
		return &cell->physical;
	give_cell(cell);
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
	struct hold *hold = find(kind, key);

	if (hold == NULL || !is_alive(hold))
		return false;
	hold->count++;
	hold->physical->holds++;
	return true;
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
	if (!charge->is_counted || res != CUDA_SUCCESS)
		return true;
	lock_take(&state->lock);
	/* What another thread opened just now is counted already. */
	bool is_known = kind == HOLD_OPENED && hold_again_locked(kind, key);
	bool is_new = !is_known && add_physical(&physical, kind, key) != NULL;
	if (!is_new)
		discharge(&physical);
	lock_drop(&state->lock);
	return is_known || is_new;
}

static bool hold_again(enum hold_kind kind, uint64_t key)
{
	lock_take(&state->lock);
	bool is_held = hold_again_locked(kind, key);
	lock_drop(&state->lock);
	return is_held;
}

void physical_import(uint64_t handle, CUdevice device)
{
	const struct physical physical = {
		.kind = LEDGER_IMPORT, .device = device, .is_import = true, .is_shared = true};

	lock_take(&state->lock);
	/* Without memory for the books it goes uncounted: cuda.h knows no out of memory here. */
	if (!hold_again_locked(HOLD_HANDLE, handle))
		(void)add_physical(&physical, HOLD_HANDLE, handle);
	lock_drop(&state->lock);
}

struct physical *physical_of_handle(uint64_t handle)
{
	lock_take(&state->lock);
	const struct hold *hold = find(HOLD_HANDLE, handle);
	struct physical *physical = hold != NULL ? hold->physical : NULL;
	if (physical != NULL)
		physical->holds++;
	lock_drop(&state->lock);
	return physical;
}

/* The first hold of a kind for which `is_it` is true. Looks at all: only for what is rare. */
static struct hold *search(
	enum hold_kind kind, bool (*is_it)(const struct hold *, const void *), const void *data)
{
	const struct table *table = &state->tables[kind];

	for (uint32_t i = 0; i < table->bucket_count; i++) {
		for (struct hold *hold = table->buckets[i]; hold != NULL; hold = hold->next) {
			if (is_it(hold, data))
				return hold;
		}
	}
	return NULL;
}

static bool is_at(const struct hold *hold, const void *data)
{
	return *(const uint64_t *)data - hold->key < hold->bytes;
}

struct physical *physical_at(uint64_t address)
{
	lock_take(&state->lock);
	const struct hold *hold = search(HOLD_MAPPING, is_at, &address);
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
	struct hold *hold = find(HOLD_HANDLE, handle);
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

void physical_export(uint64_t handle)
{
	uint64_t address = 0;

	lock_take(&state->lock);
	const struct hold *reference = find(HOLD_HANDLE, handle);
	struct physical *physical = reference != NULL ? reference->physical : NULL;
	if (physical != NULL) {
		physical->is_shared = true;
		const struct hold *mapping = search(HOLD_MAPPING, is_hold_of, physical);
		address = mapping != NULL ? mapping->key : 0;
		physical->holds++;
	}
	lock_drop(&state->lock);
	if (address != 0)
		physical_identify(physical, address);
	physical_let_go(physical);
}

static struct physical *root_of(const struct physical *physical)
{
	while (physical->same != NULL)
		physical = physical->same;
	return (struct physical *)physical;
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
	const struct hold *other = search(HOLD_MAPPING, is_other_name, physical);
	if (other == NULL)
		other = search(HOLD_HANDLE, is_other_name, physical);
	if (other != NULL)
		join(root_of(physical), root_of(other->physical));
	lock_drop(&state->lock);
}

/* Whether what another process allocated is charged to the one that opens it. Within a group it
 * should not be, for it is charged there already; but whose it is the driver does not tell, and to
 * count it twice errs on the side of the limit. */
static bool import_is_charged(CUdevice device)
{
	return slice_exists(device);
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

	if (is_covered(physical, bytes) || !import_is_charged(physical->device))
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

bool physical_open(CUdeviceptr address, CUdevice device)
{
	struct charge charge;
	CUcontext context;
	size_t bytes;

	if (hold_again(HOLD_OPENED, address) || !import_is_charged(device))
		return true;
	if (driver.cuMemGetAddressRange_v2(NULL, &bytes, address) != CUDA_SUCCESS ||
		driver.cuCtxGetCurrent(&context) != CUDA_SUCCESS)
		return true;
	if (!charge_begin_on(device, LEDGER_IMPORT, bytes, &charge))
		return false;
	charge.context = context;
	return physical_commit(&charge, CUDA_SUCCESS, HOLD_OPENED, address, bytes);
}

struct hold *hold_begin_end(enum hold_kind kind, uint64_t key)
{
	lock_take(&state->lock);
	struct hold *hold = find(kind, key);
	if (hold != NULL && ++hold->ending == hold->count)
		take_from_table(hold);
	lock_drop(&state->lock);
	return hold;
}

/* Where the driver refused it goes back to its table, unless its key was given anew meanwhile: then
 * it was gone before. */
static void end_one(struct hold *hold, CUresult res)
{
	bool is_taken = !hold->is_in_table && find(hold->kind, hold->key) != NULL;

	hold->ending--;
	if (res == CUDA_SUCCESS || is_taken) {
		hold->count--;
		let_go(hold->physical, 1);
	}
	if (hold->count == 0) {
		if (hold->is_in_table)
			take_from_table(hold);
		give_cell(hold);
	} else if (!hold->is_in_table && hold->count > hold->ending && !is_taken) {
		put_in_table(hold);
	}
}

void hold_end(struct hold *hold, CUresult res)
{
	if (hold == NULL)
		return;
	lock_take(&state->lock);
	end_one(hold, res);
	lock_drop(&state->lock);
}

struct hold *holds_begin_unmap(uint64_t address, uint64_t bytes)
{
	struct hold *first = NULL, *hold;
	uint64_t done_bytes = 0;

	lock_take(&state->lock);
	while (done_bytes < bytes && (hold = find(HOLD_MAPPING, address + done_bytes)) != NULL) {
		take_from_table(hold);
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
}
