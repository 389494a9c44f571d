/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The little of NVML that we hook and call. Names, layouts and values are those of NVIDIA's NVML
 * API reference; its nvml.h is in no package that we could count on.
 */
#ifndef CUSLICE_DRIVER_NVML_API_H
#define CUSLICE_DRIVER_NVML_API_H

typedef struct nvmlDevice_st *nvmlDevice_t;

typedef enum nvmlReturn_enum {
	NVML_SUCCESS = 0,
	NVML_ERROR_LIBRARY_NOT_FOUND = 12,
} nvmlReturn_t;

/* Bytes. */
typedef struct nvmlMemory_st {
	unsigned long long total, free, used;
} nvmlMemory_t;

typedef struct nvmlMemory_v2_st {
	unsigned int version; /* set by the caller; another is an error */
	unsigned long long total;
	unsigned long long reserved; /* for the driver and its firmware; part of total */
	unsigned long long free, used;
} nvmlMemory_v2_t;

#define NVML_UUID_LEN 96 /* NVML_DEVICE_UUID_V2_BUFFER_SIZE */

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned int *index);
nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int length);
nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory);
nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory);

#endif
