/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "hooks/pending_frees.h"
#include "base/lock.h"
#include "base/wipe.h"
#include "driver/stream_context.h"
#include "hooks/capture_mode.h"

#include <stdatomic.h>

#define FIRST_CAPACITY 64
/* Asked at each further free: more than one, so that the list shrinks while frees go on. */
#define LOOKS_PER_ADD 4

struct pending_free {
	struct holding holding;
	CUevent event;
	CUcontext context; /* of the event */
	bool is_held;
};

/* In no order. */
static struct pending {
	struct lock lock;
	_Atomic size_t count; /* that there are none is seen without the lock */
	size_t capacity;
	size_t next_look; /* where the next free goes on asking */
	struct pending_free *table;
} * pending;

bool pending_frees_init(void)
{
	pending = wipe_alloc(sizeof(*pending));
	return pending != NULL;
}

/* Events are made in the context that is current. */
static bool create_event(CUcontext context, CUevent *ret_event)
{
	if (driver.cuCtxPushCurrent_v2(context) != CUDA_SUCCESS)
		return false;
	bool is_made = driver.cuEventCreate(ret_event, CU_EVENT_DISABLE_TIMING) == CUDA_SUCCESS;
	driver.cuCtxPopCurrent_v2(&context);
	return is_made;
}

static bool record_event(CUstream stream, struct pending_free *ret_free)
{
	if (!stream_find_context(stream, &ret_free->context) ||
		!create_event(ret_free->context, &ret_free->event))
		return false;
	if (driver.cuEventRecord(ret_free->event, stream) == CUDA_SUCCESS)
		return true;
	driver.cuEventDestroy_v2(ret_free->event);
	return false;
}

static void end_pending(size_t i)
{
	ledger_give_back(&pending->table[i].holding);
	pending->table[i] = pending->table[--pending->count];
}

/* True where entry i was reached; another stands there then. An event that answers with an error
 * will tell no more, and neither will its context hold anything for long: its memory comes back,
 * and the event is left alone. */
static bool end_if_reached(size_t i)
{
	const struct pending_free *entry = &pending->table[i];

	if (entry->is_held)
		return false;
	CUresult res = driver.cuEventQuery(entry->event);
	if (res == CUDA_ERROR_NOT_READY)
		return false;
	if (res == CUDA_SUCCESS)
		driver.cuEventDestroy_v2(entry->event);
	end_pending(i);
	return true;
}

static void look_at_some(void)
{
	for (unsigned looks = 0; looks < LOOKS_PER_ADD && pending->count > 0; looks++) {
		if (pending->next_look >= pending->count)
			pending->next_look = 0;
		pending->next_look += !end_if_reached(pending->next_look);
	}
}

static bool has_room(void)
{
	size_t capacity = pending->capacity == 0 ? FIRST_CAPACITY : pending->capacity * 2;

	if (pending->count < pending->capacity)
		return true;
	struct pending_free *table = pages_alloc(capacity * sizeof(*table));
	if (table == NULL)
		return false;
	for (size_t i = 0; i < pending->count; i++)
		table[i] = pending->table[i];
	pages_free(pending->table, pending->capacity * sizeof(*table));
	pending->table = table;
	pending->capacity = capacity;
	return true;
}

static bool remember(const struct pending_free *entry)
{
	lock_take(&pending->lock);
	look_at_some();
	bool is_kept = has_room();
	if (is_kept)
		pending->table[pending->count++] = *entry;
	lock_drop(&pending->lock);
	return is_kept;
}

void pending_frees_add(const struct holding *holding, CUstream stream)
{
	struct pending_free entry = {.holding = *holding};
	CUstreamCaptureMode mode = relax_capture();
	bool is_recorded = record_event(stream, &entry);

	if (!is_recorded || !remember(&entry)) {
		if (is_recorded)
			driver.cuEventDestroy_v2(entry.event);
		ledger_give_back(holding);
	}
	restore_capture(mode);
}

/* With the lock held. */
static uint64_t collect(unsigned device)
{
	CUstreamCaptureMode mode = relax_capture();
	uint64_t left_bytes = 0;

	for (size_t i = 0; i < pending->count;) {
		if (end_if_reached(i))
			continue;
		if (pending->table[i].holding.device == device)
			left_bytes += pending->table[i].holding.bytes;
		i++;
	}
	restore_capture(mode);
	return left_bytes;
}

uint64_t pending_frees_collect(unsigned device)
{
	if (atomic_load_explicit(&pending->count, memory_order_relaxed) == 0)
		return 0;
	lock_take(&pending->lock);
	uint64_t left_bytes = collect(device);
	lock_drop(&pending->lock);
	return left_bytes;
}

static void set_held(CUcontext context, bool is_held)
{
	lock_take(&pending->lock);
	for (size_t i = 0; i < pending->count; i++) {
		if (pending->table[i].context == context)
			pending->table[i].is_held = is_held;
	}
	lock_drop(&pending->lock);
}

void pending_frees_hold_context(CUcontext context)
{
	set_held(context, true);
}

void pending_frees_resume_context(CUcontext context)
{
	set_held(context, false);
}

void pending_frees_drop_context(CUcontext context)
{
	lock_take(&pending->lock);
	for (size_t i = 0; i < pending->count;) {
		if (pending->table[i].context == context)
			end_pending(i);
		else
			i++;
	}
	lock_drop(&pending->lock);
}
