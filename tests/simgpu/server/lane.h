/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The kernels of one process on one device, block by block; under MPS those of all processes. A
 * lane has a clock of its own that stands still while another lane has the device: its kernels need
 * not know of time slices, and what the clock shows is the time in which the lane ran.
 *
 * Blocks take places on SMs, see places.h. Kernels are served in the order (priority, time when
 * ready, arrival), and while one has blocks to place none after it gets a place on an SM that it
 * may use, as block schedulers do. Kernels that may use the same SMs wait in one domain. Where
 * kernels go round and round through their places, whole rounds are skipped at once: the cost does
 * not depend on the size of a grid.
 */
#ifndef SIMGPU_LANE_H
#define SIMGPU_LANE_H

#include <stdbool.h>
#include <stdint.h>

#include "heap.h"
#include "places.h"

#define NEVER_NS UINT64_MAX

/* No SM holds more blocks than this of any kernel. */
#define LANE_MAX_BLOCKS_PER_SM 32

/* Bandwidth that blocks ask for: parts of a million of the device's times units of SMs. */
__extension__ typedef unsigned __int128 lane_demand;

/* Kernels that may use the same SMs. */
struct domain {
	bool is_all;          /* no restriction */
	struct sm_set sms;    /* that they may use */
	uint32_t sm_limit;    /* how many of them at a time, whichever; 0: all */
	struct sm_set chosen; /* with a limit: those in use, until nothing runs or waits */
	uint32_t chosen_count;
	uint64_t in_flight;  /* blocks that run */
	struct heap waiting; /* struct kernel with blocks to place */
	bool is_listed;      /* among those of the lane in which kernels wait */
	bool is_stuck;       /* has got all there is: while places are given away */
	struct domain *next;
};

/* What a process has of a lane. */
struct lane_user {
	uint64_t in_flight;     /* blocks that run */
	uint64_t busy_ns;       /* time in which at least one did, up to the last end of all */
	uint64_t busy_since_ns; /* lane time; while there are any */
	uint64_t kernels;       /* that ended */
	struct sm_set ran_on;   /* SMs on which any block ran */
};

/* A kernel, embedded by its owner. The upper part is the owner's to set, the lower the lane's. */
struct kernel {
	struct domain *domain;
	struct lane_user *user;
	uint64_t blocks;    /* at least 1 */
	uint32_t block_fit; /* how many of its blocks one SM holds: 1 to LANE_MAX_BLOCKS_PER_SM */
	int32_t priority;   /* the lower number is served first */
	uint64_t block_ns;  /* of one block, at least 1 */
	uint32_t bandwidth_ppm; /* of the device's that it asks for when it fills all its SMs */
	uint64_t ready_ns;      /* when it became ready, on the clock of the machine */
	uint64_t arrival;       /* decides among those that became ready together; unique */
	struct sm_set *ran_on;  /* where its SMs are to be noted; or NULL */

	uint64_t unplaced;         /* blocks that have not started */
	uint64_t in_flight;        /* blocks that run */
	uint64_t start_ns, end_ns; /* of its first and last block, on the clock of the machine */
	bool has_started;
	bool is_steady; /* while rounds are worked out */
	struct kernel *next_ended;
};

struct lane {
	uint64_t time_ns; /* in which it ran so far */
	uint64_t
		wall_ns; /* what to add to time_ns to get the machine's clock; valid while active */
	struct places places;
	lane_demand demand;     /* of all blocks that run */
	struct domain all;      /* kernels that may use every SM */
	struct domain *waiting; /* all in which kernels wait */
	struct heap groups;     /* blocks that started together */

	/* of the device */
	uint32_t id;
	bool is_queued;
	struct lane *next_queued;
};

/* An empty lane on a device of `sm_count` SMs, 1 to WIRE_MAX_SMS. finish frees what the lane holds
 * itself; kernels are their owner's. */
void lane_init(struct lane *lane, uint32_t sm_count);
void lane_finish(struct lane *lane);

/* A domain of `sms`, at least one, or of all `sm_count` SMs (NULL), of which it uses no more than
 * `sm_limit` at a time (0: no limit). Before finish its kernels leave the lane, see lane_remove_if.
 */
void domain_init(
	struct domain *domain, uint32_t sm_count, const struct sm_set *sms, uint32_t sm_limit);
void domain_finish(struct domain *domain);

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

/* GPU time of a user up to the lane's present time. */
uint64_t lane_user_time(const struct lane *lane, const struct lane_user *user);

#endif
