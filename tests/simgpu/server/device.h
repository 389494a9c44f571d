/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * One device as its processes share it: one lane has the SMs at a time, in time slices. A slice is
 * cut short only by the lane having nothing to run; a lane that is alone goes on, in slices that
 * follow one another without a gap, so that one that arrives waits for the end of the present one.
 */
#ifndef SIMGPU_DEVICE_H
#define SIMGPU_DEVICE_H

#include <stdint.h>

#include "lane.h"

struct device {
	uint32_t sm_count;
	uint64_t time_ns; /* up to which all is worked out, on the machine's clock */
	uint64_t busy_ns; /* time in which at least one block ran */
	uint64_t slice_ns, switch_ns;
	struct lane *active;   /* the lane that runs, or is being switched to */
	uint32_t last_id;      /* of the lane that ran last, 0 if none: going on with it is free */
	uint64_t run_start_ns; /* when the active lane starts or started to run */
	uint64_t slice_start_ns;               /* when its present slice did */
	struct lane *queue_first, *queue_last; /* runnable lanes that wait for their turn */
};

/* Adds a ready kernel to a lane of this device. As for all changes, device_advance comes before and
 * device_settle after; several changes of one moment share them. */
void device_add(struct device *device, struct lane *lane, struct kernel *kernel);

/* Takes kernels out of a lane, see lane_remove_if. */
void device_remove_if(struct device *device, struct lane *lane,
	bool (*leaves)(const struct kernel *, void *), void *arg);

/* Forgets a lane that its owner is about to free. */
void device_forget(struct device *device, struct lane *lane);

/* When the device wants to be advanced and settled next; NEVER_NS when nothing runs. */
uint64_t device_next(const struct device *device);

/* Runs on to `now_ns`, not beyond device_next. Returns the kernels that ended, linked by
 * next_ended. */
struct kernel *device_advance(struct device *device, uint64_t now_ns);

/* Decides who runs from now on, and gives the free places away. */
void device_settle(struct device *device);

#endif
