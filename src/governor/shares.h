/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The share of each device: what this process brings, what its group makes of it, and what the two
 * have to know of each other's work. Shares pass to children.
 */
#ifndef CUSLICE_GOVERNOR_SHARES_H
#define CUSLICE_GOVERNOR_SHARES_H

#include "base/clock.h"
#include "governor/flights.h"

/* What this process brings, and tells its group: less than before, or any. Threads: any. */
void shares_tighten(unsigned device, uint32_t ppm);
void shares_set(unsigned device, uint32_t ppm);

/* Comes to use the bucket: the group's, or its own. The caller holds the device's lock, as for all
 * that follow. */
void shares_start_bucket(struct device *dev, unsigned device, uint64_t now_ns);

/* Brings the bucket up to now, goes on by the share in force, which may have changed while a launch
 * waited, and tells the group. */
void shares_fill(struct device *dev, unsigned device, uint64_t now_ns);

/* Tells the others, and whoever reaps this process, what it has in flight. */
void shares_tell_group(const struct device *dev, unsigned device, uint64_t now_ns);

#endif
