/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * On how many SMs work runs: the library's own kernel that notes its SMs, launched by the probe
 * programs.
 */
#ifndef GPU_CENSUS_H
#define GPU_CENSUS_H

#include "probe.h"

#define CENSUS_WORDS 128u

/* `seen` has a bit for each SM on which a kernel has noted itself since census_take(). Other
 * kernels may note themselves there too. */
struct census {
	CUdeviceptr seen;
	CUfunction kernel;
	unsigned sms; /* as the program is told of */
};

extern struct census census;

/* Loads the kernel into the current context, and says how many SMs the program is told of. */
void census_open(void);

/* Enough blocks to fill the device several times, each long enough for all to be handed out. */
CUresult census_launch(CUstream stream);

/* One block for each place that `sms` SMs have, and `more`, as a cooperative launch. */
CUresult census_launch_cooperative(CUstream stream, unsigned sms, unsigned more);

/* Waits for all work of the current context; on how many SMs any ran since the last time. */
unsigned census_take(void);

#endif
