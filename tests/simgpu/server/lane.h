/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The kernels of one process on one device, block by block. A lane has a clock of its own that
 * stands still while another process has the device: its kernels need not know of time slices, and
 * what the clock shows is the GPU time of the process.
 *
 * Blocks take places on SMs. Kernels are served in the order (priority, time when ready, arrival),
 * and none is given a place while one before it still has blocks to place, as block schedulers do.
 * Where the first kernel alone goes round and round through its places, whole rounds are skipped at
 * once: the cost does not depend on the size of a grid.
 */
#ifndef SIMGPU_LANE_H
#define SIMGPU_LANE_H

#include <stdbool.h>
#include <stdint.h>

#include "heap.h"

#define NEVER_NS UINT64_MAX

/* No SM holds more blocks than this of any kernel. */
#define LANE_MAX_BLOCKS_PER_SM 32

/* A kernel, embedded by its owner. The upper part is the owner's to set, the lower the lane's. */
struct kernel {
	uint64_t blocks;    /* at least 1 */
	uint32_t block_fit; /* how many of its blocks one SM holds: 1 to LANE_MAX_BLOCKS_PER_SM */
	int32_t priority;   /* the lower number is served first */
	uint64_t block_ns;  /* of one block, at least 1 */
	uint64_t ready_ns;  /* when it became ready, on the clock of the machine */
	uint64_t arrival;   /* decides among those that became ready together; unique */

	uint64_t unplaced;         /* blocks that have not started */
	uint64_t in_flight;        /* blocks that run */
	uint64_t start_ns, end_ns; /* of its first and last block, on the clock of the machine */
	bool has_started;
	struct kernel *next_ended;
};

struct lane {
	uint64_t time_ns; /* GPU time so far */
	uint64_t
		wall_ns; /* what to add to time_ns to get the machine's clock; valid while active */
	uint64_t kernels; /* that ended */
	uint64_t free_units;
	struct heap waiting; /* struct kernel with blocks to place */
	struct heap groups;  /* blocks that started together */

	/* of the device */
	uint32_t id;
	bool is_queued;
	struct lane *next_queued;
};

/* An empty lane on a device of `sm_count` SMs, 1 to 4096. finish frees what the lane holds itself;
 * kernels are their owner's. */
void lane_init(struct lane *lane, uint32_t sm_count);
void lane_finish(struct lane *lane);

/* Adds a kernel that is ready; it starts when lane_place next finds places for it. */
void lane_add(struct lane *lane, struct kernel *kernel);

/* Takes out every kernel, waiting or running, for which `leaves` is true. */
void lane_remove_if(struct lane *lane, bool (*leaves)(const struct kernel *, void *), void *arg);

bool lane_is_runnable(const struct lane *lane);

/* Gives free places to waiting kernels, at the lane's present time. */
void lane_place(struct lane *lane);

/* Lane time at which the lane wants to be advanced next: no kernel ends before it. NEVER_NS when no
 * block runs. Call it after lane_place. */
uint64_t lane_next(const struct lane *lane);

/* Runs the lane's clock on to `to_ns`, not beyond lane_next. Places that become free at `to_ns`
 * itself are not given away: what ends there may make kernels ready that come first, so lane_place
 * is to follow. Returns the kernels that ended, linked by next_ended. */
struct kernel *lane_advance(struct lane *lane, uint64_t to_ns);

#endif
