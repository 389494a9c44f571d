/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Time slices of processes on one device.
 */
#include "device.h"

/* Slices of a lane that was alone followed one another: finds the one that is running now. */
static void renew_slice(struct device *device)
{
	if (device->time_ns < device->slice_start_ns)
		return;
	uint64_t past_ns = device->time_ns - device->slice_start_ns;
	device->slice_start_ns += past_ns / device->slice_ns * device->slice_ns;
}

static void queue_push(struct device *device, struct lane *lane)
{
	lane->is_queued = true;
	lane->next_queued = NULL;
	if (device->queue_last)
		device->queue_last->next_queued = lane;
	else
		device->queue_first = lane;
	device->queue_last = lane;
}

static void queue_remove(struct device *device, struct lane *lane)
{
	struct lane *previous = NULL;
	if (!lane->is_queued)
		return;
	for (struct lane *at = device->queue_first; at != lane; at = at->next_queued)
		previous = at;
	if (previous)
		previous->next_queued = lane->next_queued;
	else
		device->queue_first = lane->next_queued;
	if (device->queue_last == lane)
		device->queue_last = previous;
	lane->is_queued = false;
}

void device_add(struct device *device, struct lane *lane, struct kernel *kernel)
{
	lane_add(lane, kernel);
	if (lane == device->active || lane->is_queued)
		return;
	if (device->active && !device->queue_first)
		renew_slice(device);
	queue_push(device, lane);
}

void device_remove_if(struct device *device, struct lane *lane,
	bool (*leaves)(const struct kernel *, void *), void *arg)
{
	lane_remove_if(lane, leaves, arg);
	if (!lane_is_runnable(lane))
		queue_remove(device, lane);
}

void device_forget(struct device *device, struct lane *lane)
{
	queue_remove(device, lane);
	if (device->active == lane)
		device->active = NULL;
}

uint64_t device_next(const struct device *device)
{
	if (!device->active)
		return NEVER_NS;
	if (device->time_ns < device->run_start_ns)
		return device->run_start_ns;
	uint64_t next_ns = lane_next(device->active);
	if (next_ns == NEVER_NS)
		return NEVER_NS;
	next_ns += device->time_ns - device->active->time_ns;
	uint64_t slice_end_ns = device->slice_start_ns + device->slice_ns;
	if (device->queue_first && slice_end_ns < next_ns)
		next_ns = slice_end_ns;
	/* A slice that was made shorter may have ended in the past. */
	return next_ns > device->time_ns ? next_ns : device->time_ns;
}

struct kernel *device_advance(struct device *device, uint64_t now_ns)
{
	struct kernel *ended = NULL;
	uint64_t from_ns = device->time_ns;
	if (from_ns < device->run_start_ns)
		from_ns = device->run_start_ns;
	if (device->active && now_ns > from_ns) {
		device->busy_ns += now_ns - from_ns;
		ended = lane_advance(device->active, device->active->time_ns + now_ns - from_ns);
	}
	device->time_ns = now_ns;
	return ended;
}

static void activate_next(struct device *device)
{
	struct lane *lane = device->queue_first;
	queue_remove(device, lane);
	device->active = lane;
	device->run_start_ns = device->time_ns;
	if (device->last_id && device->last_id != lane->id)
		device->run_start_ns += device->switch_ns;
	device->slice_start_ns = device->run_start_ns;
	device->last_id = lane->id;
	/* Wraps below zero and back where the lane's clock is ahead; only the sum counts. */
	lane->wall_ns = device->run_start_ns - lane->time_ns;
}

void device_settle(struct device *device)
{
	if (device->active && !lane_is_runnable(device->active))
		device->active = NULL;
	if (device->active && device->queue_first &&
		device->time_ns >= device->slice_start_ns + device->slice_ns) {
		queue_push(device, device->active);
		device->active = NULL;
	}
	if (!device->active && device->queue_first)
		activate_next(device);
	if (device->active && device->time_ns >= device->run_start_ns)
		lane_place(device->active);
}
