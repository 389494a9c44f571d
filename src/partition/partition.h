/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Confines the work of this process to a part of the SMs of its devices (`mechanism = sm`, `both`),
 * by a green context of the driver. It stands between the hooks and the driver: functions that take
 * a stream are exchanged in `struct driver`, so that no hook needs to know. The program keeps its
 * own contexts current.
 *
 * A partition is made when its device's primary context first gets a stream or work, and is gone
 * with a reset of that. Contexts that a program makes itself are not confined.
 */
#ifndef CUSLICE_PARTITION_PARTITION_H
#define CUSLICE_PARTITION_PARTITION_H

#include "base/compiler.h"
#include "driver/driver.h"
#include "partition/choose.h"

#include <stdbool.h>

/* Makes the state, without partitions. At the start, once. False without memory. */
bool partition_init(void) MUST_CHECK;

/* True where this driver has what it takes: green contexts with streams, from 12.5 on. */
bool partition_is_possible(void);

/* Puts partitions between hooks and driver. At the start, before any routing; without a wish for a
 * partition it changes nothing but a few nanoseconds. */
void partition_stand_between(void);

/* Who keeps the share. Called with the device, by whatever thread. */
struct partition_keeper {
	/* Just before a partition is made: NULL where it may be, else why not, as text that stays.
	 * Then none is made as long as this primary context lasts. NULL: it always may. */
	const char *(*object)(unsigned device);
	/* There is no partition, for that reason or because it does not hold. */
	void (*give_up)(unsigned device);
};

/* Work on the device is to be confined to so many SMs. Before it has any; once a device. Threads:
 * one caller. */
void partition_wish(unsigned device, unsigned sm_count, const struct partition_keeper *keeper);

/* True while there is a partition that has passed the test. Threads: any, as for all that follow.
 */
bool partition_holds(unsigned device);

/* The SMs that programs are told of; 0 where the device has no partition. */
unsigned partition_sm_count(unsigned device);

/* A stream began to capture, or ended: counted, so that the legacy stream need not ask while there
 * is none. A count that is too high costs time. */
void partition_capture_began(void);
void partition_capture_ended(void);

/* The primary context of the device is being reset or destroyed: before the driver is asked. */
void partition_forget(unsigned device);

#endif
