/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Inside the lane: its groups of blocks, and the rounds that can be skipped.
 */
#ifndef SIMGPU_ROUNDS_H
#define SIMGPU_ROUNDS_H

#include "lane.h"

/* Far enough to mean "no limit", near enough that a sum of two does not overflow. */
#define FAR_NS (UINT64_C(1) << 62)

/* Blocks of one kernel that started at the same time, so that they end at the same time. */
struct group {
	struct kernel *kernel;
	uint64_t blocks;
	uint64_t block_ns; /* of each: see lane_block_ns */
	uint64_t end_ns;   /* lane time */
	uint32_t place_count;
	struct place places[];
};

/* How long a block takes that starts now and whose demand is among that of the lane: its own time,
 * or longer in proportion where what runs asks for more bandwidth than the device has. */
uint64_t lane_block_ns(const struct lane *lane, const struct kernel *kernel);

/* The SMs of which a kernel that has got all there is leaves nothing to those after it. */
const struct sm_set *domain_held(const struct domain *domain);

/* Lane time before which nothing happens but that kernels go round through their places, for whole
 * rounds, not beyond `limit_ns`; the present time if there is none. */
uint64_t rounds_end(const struct lane *lane, uint64_t limit_ns);

/* Runs them. */
void rounds_skip(struct lane *lane, uint64_t limit_ns);

#endif
