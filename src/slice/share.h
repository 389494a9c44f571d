/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Hands the share of a device to those who keep it, as the mechanism says: all of it to the
 * governor, or a number of SMs to the partition or MPS and to the governor what that leaves to take
 * off.
 */
#ifndef CUSLICE_SLICE_SHARE_H
#define CUSLICE_SLICE_SHARE_H

#include "config/config.h"

#include <stdbool.h>
#include <stdint.h>

/* The device, with `sms` SMs in all, is to keep that share, or less if it did already. Threads: one
 * caller. */
void share_set(unsigned device, uint32_t ppm, enum config_mechanism asked, unsigned sms);

/* The SMs of the device, of which a client of MPS that has a percentage is told a part; at most too
 * many, by the rounding. */
unsigned share_whole_sms(unsigned device, unsigned told);

/* True where MPS keeps the share: then there are no turns with other processes. Threads: any. */
bool share_is_by_mps(unsigned device);

/* The share in force, of the whole device: what SMs and time come to together. Of the whole group,
 * as far as time keeps it. Threads: any. */
uint32_t share_in_force(unsigned device);

/* The same later on, when a partition can no longer be changed. Threads: any. */
void share_tighten(unsigned device, uint32_t ppm);

/* The share becomes that, be it more or less; with a partition or MPS no more than that has, which
 * it tells. Threads: one caller. */
enum share_room {
	SHARE_IN_FULL,
	SHARE_IN_PART_OF_TIME, /* the partition keeps its size, time takes off the rest */
	SHARE_TOO_LARGE        /* the partition cannot grow: it gets all of that */
};
enum share_room share_change(unsigned device, uint32_t ppm);

/* True where `auto` has chosen a partition, which it does for programs that are alone on their
 * device: then somebody is to look again whether they are. */
bool share_looks_again(void);
/* Looks, and lets the share be kept accordingly. True where that has changed. Threads: as
 * share_change(). */
bool share_look_again(unsigned device);
/* What was seen: others, or that there is no partition. Threads: any. */
bool share_is_beside_others(unsigned device);

#endif
