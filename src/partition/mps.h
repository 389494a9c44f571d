/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The share by MPS (`mechanism = mps`, and `auto` where its daemon is there): the driver lets the
 * process have a percentage of the SMs of every device, and processes run at the same time. The
 * driver reads the percentage at cuInit, from the environment, and keeps it as long as the process
 * lives. It can only tighten what the daemon allows.
 */
#ifndef CUSLICE_PARTITION_MPS_H
#define CUSLICE_PARTITION_MPS_H

#include "base/units.h"
#include "config/config.h"

#include <stdbool.h>
#include <stdint.h>

#define MPS_PERCENTAGE   "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"
#define MPS_SM_PARTITION "CUDA_MPS_SM_PARTITION"

#define MPS_REASON_LEN 240

/* Whether the control daemon of MPS listens at `control` in that directory. */
struct mps_daemon {
	bool is_there;
	char text[MPS_REASON_LEN]; /* where it is, or why there is none */
};

/* directory  as in CUDA_MPS_PIPE_DIRECTORY; NULL or empty: /tmp/nvidia-mps
 * Connects and says nothing; waits for nobody. Threads: any. Keeps errno. */
struct mps_daemon mps_find(const char *directory);

/* What MPS can keep of the settings. */
struct mps_plan {
	bool is_asked;  /* a device's share may be kept by MPS */
	bool is_change; /* the variable is to become `percentage` */
	uint32_t ppm;   /* of the SMs of every device; PPM_WHOLE: MPS keeps nothing, for `reason` */
	char percentage[16];
	char reason[MPS_REASON_LEN];
};

/* The percentage is the largest share of any device, at least 1, for it is one for all; and not
 * more than the environment has already, which is the plan even where nothing else of it is to be
 * kept by MPS: the driver goes by it, so what a share is a part of has to be known. The daemon is
 * looked for where MPS is asked for or the environment has a percentage. Threads: reads the
 * environment without a lock, as every getenv does. */
struct mps_plan mps_plan(const struct config *config);

/* The variable by which the environment gives a client of MPS a part of the SMs, in which green
 * contexts are not exact; NULL for none. What the daemon gives by itself is in no variable.
 * Threads: as mps_plan(). */
const char *mps_variable(void);

/* True where that is a static partition of the daemon's (CUDA 13.1 and later). */
bool mps_names_partition(void);

/* Makes the plan and puts its percentage into the environment. Before the driver's cuInit, once. */
void mps_begin(const struct config *config);

/* What mps_begin() came to; without it MPS keeps nothing. Passes to children. */
const struct mps_plan *mps_begun(void);

#endif
