/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The few functions of NVML that are asked here. Names, types and the meaning of 0 as success are
 * those of NVIDIA's "NVML API Reference Guide", https://docs.nvidia.com/deploy/nvml-api/ . None of
 * them needs a context of the program's, and none makes one.
 */
#ifndef CUSLICE_DRIVER_NVML_CLIENT_H
#define CUSLICE_DRIVER_NVML_CLIENT_H

#include "base/compiler.h"
#include "driver/cuda_api.h"

#include <stdbool.h>
#include <stdint.h>

/* nvmlMemory_t. Bytes. */
struct nvml_memory {
	unsigned long long total, free, used;
};

/* nvmlProcessInfo_t, as versions 2 and 3 of the function give it. */
struct nvml_process {
	unsigned pid;
	unsigned long long used_bytes; /* NVML_NOT_AVAILABLE where the driver does not tell */
	unsigned gpu_instance, compute_instance;
};
#define NVML_NOT_AVAILABLE (~0ull)

#define NVML_INSUFFICIENT_SIZE 7

struct nvml_client {
	int (*init)(void);
	int (*shutdown)(void);
	int (*handle_by_uuid)(const char *uuid, void **ret_device);
	int (*index_of)(void *device, unsigned *ret_index);
	/* These two may be NULL. */
	int (*memory_info)(void *device, struct nvml_memory *ret_memory);
	int (*processes)(void *device, unsigned *count, struct nvml_process *ret_processes);
};

/* Loads libnvidia-ml.so.1, which stays loaded, and initialises it; each success is to be ended by
 * `shutdown`. False where there is none that works.
 * Threads: any, and several at a time; holding no lock, for it asks the loader. Costs milliseconds.
 */
bool nvml_client_open(struct nvml_client *ret_nvml) MUST_CHECK;

/* NVML's handle of a CUDA device, by UUID. Between nvml_client_open() and `shutdown`. Threads: any.
 */
bool nvml_client_find_device(
	const struct nvml_client *nvml, CUdevice device, void **ret_handle) MUST_CHECK;

#endif
