/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Limits of device memory that the driver keeps itself (since 615, CUDA 13.4), for the cgroup of
 * this process: what the kernel's dmem controller says, or NVML. They are looked at and never set.
 */
#ifndef CUSLICE_CLI_NATIVE_LIMITS_H
#define CUSLICE_CLI_NATIVE_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#define NATIVE_LIMITS_MAX 64u
#define NATIVE_PATH_LEN   1024u
#define NATIVE_UNLIMITED  UINT64_MAX

/* On one device. */
struct native_limit {
	char device[96];            /* dmem's name of its memory, or NVML's UUID */
	uint64_t hard_bytes;        /* beyond it the driver refuses */
	uint64_t soft_bytes;        /* up to it memory is guaranteed; 0 where that is not known */
	uint64_t used_bytes;        /* by the cgroup */
	bool knows_used;            /* or used_bytes is 0 */
	char file[NATIVE_PATH_LEN]; /* that says so; empty: NVML */
};

struct native_limits {
	unsigned count;
	struct native_limit limits[NATIVE_LIMITS_MAX];
};

/* The folder of this process's cgroup (version 2) below `root`. False where there is none, or where
 * it cannot be seen from here.
 * proc_file  /proc/self/cgroup
 */
bool native_cgroup_find(const char *proc_file, const char *root, char ret_folder[NATIVE_PATH_LEN]);

/* What dmem.max says in that folder and those above it, up to `root`: for each device the least. */
void native_limits_of_cgroup(
	const char *root, const char *folder, struct native_limits *ret_limits);

/* What NVML says of that folder, where it has the function: others have no such limits. Loads
 * libnvidia-ml.so.1, and initialises it only then. */
void native_limits_of_nvml(const char *folder, struct native_limits *ret_limits);

#endif
