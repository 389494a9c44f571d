/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Holds the launches of this process to its share: each command is admitted while GPU time is in
 * the bucket and not more than a little is in flight, measured by its meter, and billed when it
 * has ended. A launch that may not go yet waits inside the call.
 */
#ifndef CUSLICE_GOVERNOR_GOVERNOR_H
#define CUSLICE_GOVERNOR_GOVERNOR_H

#include "driver/driver.h"
#include "governor/meter.h"

#include <stdbool.h>
#include <stdint.h>

/* One launch as the governor sees it. */
struct command {
	const void *key; /* the kernel or the graph: what its cost is remembered by */
	CUstream stream; /* with CU_STREAM_PER_THREAD in place of a per-thread default stream */
};

/* An admitted command between governor_admit() and governor_submitted(). */
struct ticket {
	unsigned device;
	struct flight *flight; /* its place among those in flight; NULL where it has none */
	uint64_t predicted_ns;
	struct meter_pair pair;
	CUstream stream;
	bool is_governed; /* false: passed through, nothing to do afterwards */
	bool is_measured; /* its begin has been recorded */
};

/* Makes the governor, without shares. At the start, once. False without memory. */
bool governor_init(void) MUST_CHECK;

/* The share becomes `ppm` if that is less than it is. Threads: any, as for all that follow. */
void governor_tighten_share(unsigned device, uint32_t ppm);
uint32_t governor_share(unsigned device);     /* PPM_WHOLE without one */
uint64_t governor_billed_ns(unsigned device); /* GPU time billed to this process so far */

/* GPU time that may be used at once after a pause, 20 ms at first. Takes effect at the process's
 * first launch on the device, and in children that it forks. */
void governor_set_burst(unsigned device, uint64_t burst_ns);

/* Waits until the command may go. Never touches a stream that captures, nor a device without a
 * share. ret_ticket is always set, and given to governor_submitted() with what the driver
 * answered to the launch. */
void governor_admit(const struct command *command, struct ticket *ret_ticket);
void governor_submitted(const struct ticket *ticket, CUresult result);

/* Before a context may die: bills what has ended in it, and where nothing is left in flight gives
 * its events back. Should it live on, new ones are made. */
void governor_settle_context(CUcontext context);

/* A context has died. What it still had in flight is billed, and its events are never touched. */
void governor_lose_context(CUcontext context);

#endif
