/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * How many SMs a share becomes. Hardware gives partitions in steps, so a share seldom comes out
 * even: the partition is what a program may run on, and the duty is the part of the time in which
 * it may, by the governor, so that both together are never more than the share.
 */
#ifndef CUSLICE_PARTITION_CHOOSE_H
#define CUSLICE_PARTITION_CHOOSE_H

#include <stdbool.h>
#include <stdint.h>

/* In which sizes a device can be partitioned. */
struct partition_rules {
	unsigned sm_count; /* of the whole device */
	unsigned least;    /* the smallest partition */
	unsigned step;     /* sizes are multiples of it */
};

/* What NVIDIA documents for a compute capability, as "Green Contexts" in cuda.h of CUDA 13.0 has
 * it: from 9.0 on 8 and multiples of 8, 8.x 4 and multiples of 2, before that 2 and multiples of 2.
 * Drivers from 13.0 on tell it themselves, and are to be believed first. */
struct partition_rules partition_rules_of(unsigned cc_major, unsigned sm_count);

/* The same, where the driver tells its own least and step; 0: it does not. */
struct partition_rules partition_rules_told(
	struct partition_rules documented, unsigned least, unsigned step);

struct partition_choice {
	unsigned sm_count; /* rules.sm_count: no partition, all of the device */
	uint32_t duty_ppm; /* 1 .. 1000000: the part of the time that keeps the share */
	unsigned waves;    /* in which a kernel of one block for each SM of the device runs on it */
};

/* share_ppm     1 .. 1000000 of the device's SMs
 * is_exact      true: enough SMs for the share, and a duty that takes off what is too much, so that
 *               the work done is the share's. False: the size next to the share, the smaller of two
 *               that are as near; a duty only where that is more than the share.
 */
struct partition_choice partition_choose(
	const struct partition_rules *rules, uint32_t share_ppm, bool is_exact);

#endif
