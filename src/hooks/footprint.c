/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "hooks/footprint.h"
#include "base/lock.h"
#include "base/wipe.h"
#include "driver/driver.h"
#include "hooks/capture_mode.h"
#include "hooks/process_figure.h"
#include "hooks/settle.h"
#include "ledger/ledger.h"

#define TRIES 4

static struct lock *charging; /* wiped at fork, so that no child waits for a lost holder */

bool footprint_init(void)
{
	charging = wipe_alloc(sizeof(*charging));
	return charging != NULL;
}

static bool read_free(unsigned device, enum footprint_source source, uint64_t *ret_bytes)
{
	size_t free_bytes = 0, total_bytes;

	if (source == FOOTPRINT_NVML)
		return process_figure_read_free(device, ret_bytes);
	if (source == FOOTPRINT_NONE)
		return false;
	CUstreamCaptureMode mode = relax_capture();
	CUresult res = driver.cuMemGetInfo_v2(&free_bytes, &total_bytes);
	restore_capture(mode);
	*ret_bytes = free_bytes;
	return res == CUDA_SUCCESS;
}

void footprint_hold(unsigned device, struct footprint *ret_footprint)
{
	/* Here, for afterwards there is a lock. */
	(void)process_figure_is_there();
	reconcile_hold(device);
	*ret_footprint = (struct footprint){.device = device, .source = FOOTPRINT_NONE};
}

/* What comes back by itself between the two readings would be taken for part of the measurement, so
 * both are taken when the ledger knows of all that had come back by then. */
static void read_books(struct footprint *footprint, struct footprint_books *ret_books)
{
	unsigned device = footprint->device, tries = 0;

	if (footprint->source == FOOTPRINT_NONE)
		return;
	do {
		settle_what_came_back(device);
		ret_books->give_backs = ledger_give_backs(device);
		ret_books->held_bytes = ledger_used_here(device);
		ret_books->is_read = read_free(device, footprint->source, &ret_books->free_bytes);
		ret_books->pending_bytes = settle_what_came_back(device);
	} while (ledger_give_backs(device) != ret_books->give_backs && ++tries < TRIES);
}

void footprint_begin(unsigned device, uint64_t flying_bytes, struct footprint *ret_footprint)
{
	CUdevice current;
	bool is_current =
		driver.cuCtxGetDevice(&current) == CUDA_SUCCESS && current == (CUdevice)device;

	footprint_hold(device, ret_footprint);
	reconcile_watch(device, &ret_footprint->others);
	ret_footprint->source = is_current ? FOOTPRINT_CONTEXT : FOOTPRINT_NVML;
	/* What is in flight has been reserved, and may be taken after free memory is read. */
	ret_footprint->is_quiet = ledger_in_flight_here(device) == flying_bytes;
	read_books(ret_footprint, &ret_footprint->before);
}

static bool is_as_read(unsigned device, const struct footprint_books *books)
{
	return ledger_in_flight_here(device) == 0 &&
	       ledger_used_here(device) == books->held_bytes &&
	       ledger_give_backs(device) == books->give_backs;
}

void footprint_lock(struct footprint *footprint)
{
	lock_take(charging);
	footprint->was_disturbed = !is_as_read(footprint->device, &footprint->before);
	read_books(footprint, &footprint->after);
}

void footprint_done(const struct footprint *footprint)
{
	lock_drop(charging);
	reconcile_resume(footprint->device);
}

bool footprint_is_steady(const struct footprint *footprint)
{
	return footprint->is_quiet && !footprint->was_disturbed &&
	       is_as_read(footprint->device, &footprint->after) &&
	       reconcile_was_alone(footprint->device, &footprint->others);
}

/* What free memory has dropped by, less what the ledger has charged meanwhile. */
static bool find_change(const struct footprint *footprint, int64_t *ret_bytes)
{
	const struct footprint_books *before = &footprint->before, *after = &footprint->after;

	*ret_bytes = (int64_t)(before->free_bytes - after->free_bytes) -
		     (int64_t)(after->held_bytes - before->held_bytes);
	return before->is_read && after->is_read;
}

bool footprint_drop(const struct footprint *footprint, uint64_t *ret_bytes)
{
	int64_t change;

	if (!find_change(footprint, &change))
		return false;
	*ret_bytes = change > 0 ? (uint64_t)change : 0;
	return true;
}

bool footprint_given(const struct footprint *footprint, uint64_t *ret_bytes)
{
	uint64_t unaccounted;
	int64_t change;

	if (!find_change(footprint, &change))
		return false;
	bool is_ours =
		change < 0 && reconcile_read(footprint->device, &unaccounted) == RECONCILE_NOT_TOLD;
	if (change < 0)
		reconcile_soon(footprint->device);
	*ret_bytes = is_ours ? (uint64_t)-change : 0;
	return true;
}

bool footprint_taken(const struct footprint *footprint, uint64_t *ret_bytes)
{
	enum reconcile_answer answer = RECONCILE_NOT_TOLD;
	uint64_t unaccounted;

	if (!footprint_drop(footprint, ret_bytes))
		return false;
	bool is_steady = footprint_is_steady(footprint);
	if (is_steady && *ret_bytes > 0)
		answer = reconcile_read(footprint->device, &unaccounted);
	bool is_told = is_steady && answer != RECONCILE_MOVES;
	if (!is_told || footprint->after.pending_bytes > 0)
		reconcile_soon(footprint->device);
	if (!is_told)
		return false;
	if (answer == RECONCILE_TOLD && unaccounted < *ret_bytes)
		*ret_bytes = unaccounted;
	return true;
}
