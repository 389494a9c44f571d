/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What the files of the simulated NVML share: the session between the first nvmlInit and the last
 * nvmlShutdown, and its devices. One lock guards all of it.
 */
#ifndef SIMGPU_NVML_SESSION_H
#define SIMGPU_NVML_SESSION_H

#include <stdbool.h>

#include "link.h"
#include "nvml_abi.h"

/* The GPU time of a process when it was last looked at. */
struct nvml_sample {
	int32_t pid;
	uint64_t gpu_time_ns;
};

struct nvmlDevice_st {
	unsigned int index; /* NVML's: in PCI bus order */
	int number;         /* the server's */
	const struct wire_device *properties;
	uint64_t sampled_ns;      /* CLOCK_MONOTONIC */
	unsigned int utilization; /* percent, as of the last sample */
	unsigned int sample_count;
	struct nvml_sample samples[WIRE_MAX_LISTED];
};

/* Enter NVML: takes the lock if NVML_SUCCESS comes back, and then nvml_leave must follow. With a
 * device, it must be one of the session's. */
nvmlReturn_t nvml_enter(void);
nvmlReturn_t nvml_enter_device(nvmlDevice_t device);

/* Give the lock back. Returns `result`. */
nvmlReturn_t nvml_leave(nvmlReturn_t result);

/* Inside of nvml_enter and nvml_leave. */
const struct wire_machine *nvml_machine(void);
struct nvmlDevice_st *nvml_device(unsigned int index); /* NULL if there is none */
bool nvml_ask(const struct wire_request *request, struct wire_reply *ret_reply);

/* Copy `text` into the caller's buffer. */
nvmlReturn_t nvml_copy_text(const char *text, char *buffer, unsigned int length);

/* Look at the GPU time of all processes of the device, so that the next utilisation starts here. */
void nvml_sample_device(struct nvmlDevice_st *device);

#endif
