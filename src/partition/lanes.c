/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * All order goes through the legacy stream. Before work on
 *   legacy   it waits for the lanes that have had work, and for the whole stream
 *   a lane   that waits for the legacy stream, which has waited for the whole stream
 *   whole    the legacy stream waits as for work of its own, and the whole stream for it
 * A wait is an event, recorded where the work was and waited for at once, so each stream needs only
 * one. Streams that capture are left alone: what they take down runs another time.
 */
#include "partition/lanes.h"
#include "base/cancel.h"
#include "base/wipe.h"
#include "hooks/capture_mode.h"

#include <pthread.h>
#include <stddef.h>
#include <string.h>

static CUresult make_event(CUevent *ret_event)
{
	return driver_real.cuEventCreate(ret_event, CU_EVENT_DISABLE_TIMING);
}

/* Goes on in forked children. */
static _Atomic uint64_t lives;

/* Where the calling thread's lane was found last. */
static __thread struct {
	uint64_t life;
	CUstream stream;
} own __attribute__((tls_model("initial-exec")));

static void begin_life(struct lanes *lanes)
{
	atomic_store(&lanes->life, atomic_fetch_add(&lives, 1) + 1);
}

bool lanes_open(struct lanes *lanes, CUcontext primary, CUgreenCtx green)
{
	struct lanes made = {.primary = primary, .green = green};
	CUstream capturing;

	if (lanes->lanes == NULL)
		lanes->lanes = wipe_alloc(LANES_MAX * sizeof(*lanes->lanes));
	if (lanes->lanes == NULL)
		return false;
	if (driver_real.cuCtxFromGreenCtx(&made.green_context, green) != CUDA_SUCCESS ||
		driver_real.cuGreenCtxStreamCreate(
			&made.legacy, green, CU_STREAM_NON_BLOCKING, 0) != CUDA_SUCCESS)
		return false;
	if (make_event(&made.legacy_event) != CUDA_SUCCESS) {
		driver_real.cuStreamDestroy_v2(made.legacy);
		return false;
	}
	if (make_event(&made.whole_event) != CUDA_SUCCESS) {
		driver_real.cuEventDestroy_v2(made.legacy_event);
		driver_real.cuStreamDestroy_v2(made.legacy);
		return false;
	}
	if (driver_real.cuGreenCtxStreamCreate(&capturing, green, CU_STREAM_NON_BLOCKING, 0) !=
		CUDA_SUCCESS) {
		driver_real.cuEventDestroy_v2(made.whole_event);
		driver_real.cuEventDestroy_v2(made.legacy_event);
		driver_real.cuStreamDestroy_v2(made.legacy);
		return false;
	}
	lanes->primary = primary;
	lanes->green = green;
	lanes->green_context = made.green_context;
	lanes->legacy = made.legacy;
	lanes->legacy_event = made.legacy_event;
	lanes->whole_event = made.whole_event;
	lanes->is_refused = false;
	lanes->nodes.stream = capturing;
	return true;
}

static void leave_all(struct lanes *lanes)
{
	for (unsigned i = 0; i < lanes->lane_count; i++)
		lanes->lanes[i] = (struct lane){0};
	memset(lanes->rows, 0, sizeof(lanes->rows));
	lanes->lane_count = lanes->working = 0;
	begin_life(lanes);
}

void lanes_clear(struct lanes *lanes)
{
	lock_take(&lanes->lock);
	for (unsigned i = 0; i < lanes->lane_count; i++) {
		if (lanes->lanes[i].stream == NULL)
			continue;
		driver_real.cuEventDestroy_v2(lanes->lanes[i].event);
		driver_real.cuStreamDestroy_v2(lanes->lanes[i].stream);
	}
	leave_all(lanes);
	lock_drop(&lanes->lock);
}

void lanes_close(struct lanes *lanes)
{
	lanes_clear(lanes);
	driver_real.cuEventDestroy_v2(lanes->whole_event);
	driver_real.cuEventDestroy_v2(lanes->legacy_event);
	driver_real.cuStreamDestroy_v2(lanes->legacy);
	driver_real.cuStreamDestroy_v2(lanes->nodes.stream);
	lanes_drop(lanes);
}

void lanes_drop(struct lanes *lanes)
{
	lock_take(&lanes->lock);
	leave_all(lanes);
	lanes->primary = NULL;
	lanes->green = NULL;
	lanes->green_context = NULL;
	lanes->legacy = NULL;
	lanes->nodes.stream = NULL;
	lanes->nodes.get_out = false;
	lanes->nodes.no_bodies = false;
	lanes->legacy_work = lanes->whole_work = 0;
	lanes->legacy_waited_for = lanes->whole_waited_for = 0;
	lock_drop(&lanes->lock);
}

/* NULL where there are too many. */
static struct lane *free_place(struct lanes *lanes)
{
	for (unsigned i = 0; i < lanes->lane_count; i++) {
		if (lanes->lanes[i].stream == NULL)
			return &lanes->lanes[i];
	}
	return lanes->lane_count < LANES_MAX ? &lanes->lanes[lanes->lane_count++] : NULL;
}

/* Streams are addresses of some hundred bytes each. */
static uint16_t *row_of(struct lanes *lanes, CUstream stream)
{
	uint64_t mixed = (uint64_t)(uintptr_t)stream * UINT64_C(0x9e3779b97f4a7c15);

	return &lanes->rows[mixed >> (64 - LANES_ROW_BITS)];
}

static struct lane *find(struct lanes *lanes, CUstream stream)
{
	for (uint16_t i = *row_of(lanes, stream); i != 0; i = lanes->lanes[i - 1].next) {
		if (lanes->lanes[i - 1].stream == stream)
			return &lanes->lanes[i - 1];
	}
	return NULL;
}

static void enter(struct lanes *lanes, struct lane *lane)
{
	uint16_t *row = row_of(lanes, lane->stream);

	lane->next = *row;
	*row = (uint16_t)(lane - lanes->lanes + 1);
}

static void leave(struct lanes *lanes, struct lane *lane)
{
	uint16_t *link = row_of(lanes, lane->stream);
	uint16_t number = (uint16_t)(lane - lanes->lanes + 1);

	while (*link != number)
		link = &lanes->lanes[*link - 1].next;
	*link = lane->next;
	lanes->working -= lane->has_work ? 1 : 0;
	*lane = (struct lane){0};
}

/* With the lock held. */
static CUresult add_lane(
	struct lanes *lanes, CUstream *ret_stream, int priority, const void *thread)
{
	struct lane *place = free_place(lanes);
	struct lane lane = {.thread = thread};

	if (place == NULL)
		return CUDA_ERROR_OUT_OF_MEMORY;
	CUresult result = make_event(&lane.event);
	if (result != CUDA_SUCCESS)
		return result;
	result = driver_real.cuGreenCtxStreamCreate(
		&lane.stream, lanes->green, CU_STREAM_NON_BLOCKING, priority);
	if (result != CUDA_SUCCESS) {
		driver_real.cuEventDestroy_v2(lane.event);
		return result;
	}
	*place = lane;
	enter(lanes, place);
	*ret_stream = lane.stream;
	return CUDA_SUCCESS;
}

CUresult lanes_create(struct lanes *lanes, CUstream *ret_stream, unsigned flags, int priority)
{
	if (ret_stream == NULL || (flags & ~(unsigned)CU_STREAM_NON_BLOCKING) != 0)
		return driver_real.cuStreamCreateWithPriority(ret_stream, flags, priority);
	if ((flags & CU_STREAM_NON_BLOCKING) != 0)
		return driver_real.cuGreenCtxStreamCreate(
			ret_stream, lanes->green, flags, priority);
	int cancelled = cancel_hold();
	lock_take(&lanes->lock);
	CUresult result = add_lane(lanes, ret_stream, priority, NULL);
	lock_drop(&lanes->lock);
	cancel_restore(cancelled);
	return result;
}

bool lanes_blocks(struct lanes *lanes, CUstream stream)
{
	if (lanes->lane_count == 0)
		return false;
	lock_take(&lanes->lock);
	bool blocks = find(lanes, stream) != NULL;
	lock_drop(&lanes->lock);
	return blocks;
}

/* With the lock held. */
static CUstream find_or_add_own(struct lanes *lanes)
{
	const void *thread = (const void *)pthread_self();
	CUstream stream = NULL;

	for (unsigned i = 0; i < lanes->lane_count; i++) {
		if (lanes->lanes[i].stream != NULL && lanes->lanes[i].thread == thread)
			return lanes->lanes[i].stream;
	}
	int cancelled = cancel_hold();
	CUstreamCaptureMode mode = relax_capture();
	if (add_lane(lanes, &stream, 0, thread) != CUDA_SUCCESS)
		stream = NULL;
	restore_capture(mode);
	cancel_restore(cancelled);
	return stream;
}

CUstream lanes_of_thread(struct lanes *lanes)
{
	if (own.stream != NULL && own.life == atomic_load(&lanes->life))
		return own.stream;
	lock_take(&lanes->lock);
	own.stream = find_or_add_own(lanes);
	own.life = atomic_load(&lanes->life);
	lock_drop(&lanes->lock);
	return own.stream;
}

static void note(struct lanes *lanes, CUresult result)
{
	if (result != CUDA_SUCCESS)
		lanes->is_refused = true;
}

/* A stream that cannot be asked is left alone: it may be gone. */
static bool is_capturing(struct lanes *lanes, CUstream stream)
{
	CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_ACTIVE;

	note(lanes, driver_real.cuStreamIsCapturing(stream, &status));
	return status != CU_STREAM_CAPTURE_STATUS_NONE;
}

bool lanes_are_captured(struct lanes *lanes, bool is_used)
{
	bool are_captured = false;

	lock_take(&lanes->lock);
	for (unsigned i = 0; i < lanes->lane_count; i++) {
		CUstream stream = lanes->lanes[i].stream;
		if (stream == NULL || !is_capturing(lanes, stream))
			continue;
		are_captured = true;
		if (is_used)
			driver_real.cuStreamSynchronize(stream);
	}
	lock_drop(&lanes->lock);
	return are_captured;
}

/* `waiter` waits for what `worker` has been given. Where the driver refuses that, we wait here, so
 * that the order is kept; what it says to that is left to the call that follows. */
static void wait_for(struct lanes *lanes, CUstream waiter, CUstream worker, CUevent event)
{
	int cancelled = cancel_hold();
	CUstreamCaptureMode mode = relax_capture();
	CUresult result = driver_real.cuEventRecord(event, worker);

	if (result == CUDA_SUCCESS)
		result = driver_real.cuStreamWaitEvent(waiter, event, CU_EVENT_WAIT_DEFAULT);
	if (result != CUDA_SUCCESS)
		driver_real.cuStreamSynchronize(worker);
	note(lanes, result);
	restore_capture(mode);
	cancel_restore(cancelled);
}

/* The driver's default streams are those of the current context, which may be any, or none, where
 * the call is about a stream. */
static bool enter_primary(const struct lanes *lanes)
{
	CUcontext current;

	return driver_real.cuCtxGetCurrent(&current) == CUDA_SUCCESS && current != lanes->primary &&
	       driver_real.cuCtxPushCurrent_v2(lanes->primary) == CUDA_SUCCESS;
}

static void leave_primary(bool is_entered)
{
	CUcontext primary;

	if (is_entered)
		driver_real.cuCtxPopCurrent_v2(&primary);
}

static void wait_for_whole(struct lanes *lanes)
{
	if (lanes->legacy_waited_for == lanes->whole_work)
		return;
	lanes->legacy_waited_for = lanes->whole_work;
	lanes->legacy_work++;
	bool is_entered = enter_primary(lanes);
	wait_for(lanes, lanes->legacy, CU_STREAM_LEGACY, lanes->whole_event);
	leave_primary(is_entered);
}

static void note_work(struct lanes *lanes, struct lane *lane)
{
	lanes->working += lane->has_work ? 0 : 1;
	lane->has_work = true;
}

static void wait_for_lanes(struct lanes *lanes)
{
	for (unsigned i = 0; i < lanes->lane_count && lanes->working != 0; i++) {
		struct lane *lane = &lanes->lanes[i];
		if (lane->stream == NULL || !lane->has_work || is_capturing(lanes, lane->stream))
			continue;
		lane->has_work = false;
		lanes->working--;
		lanes->legacy_work++;
		wait_for(lanes, lanes->legacy, lane->stream, lane->event);
	}
}

void lanes_order_legacy(struct lanes *lanes)
{
	lock_take(&lanes->lock);
	wait_for_whole(lanes);
	wait_for_lanes(lanes);
	lanes->legacy_work++;
	lock_drop(&lanes->lock);
}

/* With the lock held. */
static void order_lane(struct lanes *lanes, struct lane *lane)
{
	bool is_late = lane->has_waited_for != lanes->legacy_work ||
		       lanes->legacy_waited_for != lanes->whole_work || lane->is_behind;

	if (is_late && !is_capturing(lanes, lane->stream)) {
		wait_for_whole(lanes);
		wait_for(lanes, lane->stream, lanes->legacy, lanes->legacy_event);
		lane->has_waited_for = lanes->legacy_work;
		if (lane->is_behind) {
			bool is_entered = enter_primary(lanes);
			wait_for(lanes, lane->stream, CU_STREAM_PER_THREAD, lane->event);
			leave_primary(is_entered);
		}
		lane->is_behind = false;
	}
	note_work(lanes, lane);
}

void lanes_order(struct lanes *lanes, CUstream stream)
{
	if (lanes->lane_count == 0)
		return;
	lock_take(&lanes->lock);
	struct lane *lane = find(lanes, stream);
	if (lane != NULL)
		order_lane(lanes, lane);
	lock_drop(&lanes->lock);
}

void lanes_catch_up(struct lanes *lanes, CUstream stream)
{
	if (lanes->lane_count == 0)
		return;
	lock_take(&lanes->lock);
	struct lane *lane = find(lanes, stream);
	if (lane != NULL && lane->is_behind)
		order_lane(lanes, lane);
	lock_drop(&lanes->lock);
}

/* With the lock held. */
static CUresult query_others_of_legacy(struct lanes *lanes)
{
	CUresult result = CUDA_SUCCESS;

	for (unsigned i = 0; i < lanes->lane_count && result == CUDA_SUCCESS; i++) {
		struct lane *lane = &lanes->lanes[i];
		if (lane->stream != NULL && lane->has_work && !is_capturing(lanes, lane->stream))
			result = driver_real.cuStreamQuery(lane->stream);
	}
	if (result == CUDA_SUCCESS && lanes->legacy_waited_for != lanes->whole_work)
		result = driver_real.cuStreamQuery(CU_STREAM_LEGACY);
	return result;
}

CUresult lanes_query_others(struct lanes *lanes, CUstream stream)
{
	CUresult result = CUDA_SUCCESS;

	lock_take(&lanes->lock);
	struct lane *lane = find(lanes, stream);
	if (lane != NULL && lane->is_behind)
		result = driver_real.cuStreamQuery(CU_STREAM_PER_THREAD);
	else if (stream != NULL && stream == lanes->legacy)
		result = query_others_of_legacy(lanes);
	lock_drop(&lanes->lock);
	return result;
}

/* The driver's two default streams wait for one another by themselves. */
void lanes_order_whole_thread(struct lanes *lanes)
{
	CUstream stream = lanes_of_thread(lanes);

	if (stream == NULL) {
		lanes_order_whole(lanes);
		return;
	}
	lock_take(&lanes->lock);
	struct lane *lane = find(lanes, stream);
	if (lane != NULL) {
		order_lane(lanes, lane);
		wait_for(lanes, CU_STREAM_PER_THREAD, stream, lane->event);
		lane->is_behind = true;
		lanes->whole_work++;
	}
	lock_drop(&lanes->lock);
}

void lanes_order_whole(struct lanes *lanes)
{
	lock_take(&lanes->lock);
	wait_for_lanes(lanes);
	if (lanes->whole_waited_for != lanes->legacy_work)
		wait_for(lanes, CU_STREAM_LEGACY, lanes->legacy, lanes->legacy_event);
	lanes->whole_waited_for = lanes->legacy_work;
	lanes->whole_work++;
	lock_drop(&lanes->lock);
}

void lanes_done(struct lanes *lanes, CUstream stream)
{
	if (lanes->legacy != stream && lanes->lane_count == 0)
		return;
	lock_take(&lanes->lock);
	struct lane *lane = find(lanes, stream);
	if (lane != NULL)
		note_work(lanes, lane);
	else if (stream != NULL && lanes->legacy == stream)
		lanes->legacy_work++;
	lock_drop(&lanes->lock);
}

void lanes_done_whole(struct lanes *lanes)
{
	lock_take(&lanes->lock);
	lanes->whole_work++;
	lock_drop(&lanes->lock);
}

void lanes_done_whole_thread(struct lanes *lanes)
{
	CUstream stream = lanes_of_thread(lanes);

	lock_take(&lanes->lock);
	struct lane *lane = find(lanes, stream);
	if (lane != NULL)
		lane->is_behind = true;
	lanes->whole_work++;
	lock_drop(&lanes->lock);
}

void lanes_forget(struct lanes *lanes, CUstream stream)
{
	lock_take(&lanes->lock);
	struct lane *lane = find(lanes, stream);
	if (lane != NULL) {
		if (lane->has_work && !is_capturing(lanes, stream))
			wait_for(lanes, lanes->legacy, stream, lane->event);
		lanes->legacy_work += lane->has_work ? 1 : 0;
		driver_real.cuEventDestroy_v2(lane->event);
		leave(lanes, lane);
	}
	lock_drop(&lanes->lock);
}
