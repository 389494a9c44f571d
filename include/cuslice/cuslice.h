/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * cuslice for programs that link it: a test harness that wants to see its code run out of memory,
 * an inference server that shows what it was given. A program may tighten its own limits and read
 * what is in force; it can never loosen them. Nothing here is needed for LD_PRELOAD.
 *
 * Link with -lcuslice before -lcuda, so that driver calls find cuslice first. Devices are counted
 * as cuDeviceGet() counts them in this process. All functions may be called from any thread, before
 * or after cuInit(), but not from a signal handler.
 */
#ifndef CUSLICE_CUSLICE_H
#define CUSLICE_CUSLICE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CUSLICE_VERSION_MAJOR 0
#define CUSLICE_VERSION_MINOR 1
#define CUSLICE_VERSION_PATCH 0

/* No quota. */
#define CUSLICE_UNLIMITED UINT64_MAX
/* All of a device's compute, in parts per million: no share. */
#define CUSLICE_WHOLE 1000000u

/* What the functions return: 0, or one of these. cuslice_error_text() says it in words. */
enum cuslice_error {
	CUSLICE_OK = 0,
	CUSLICE_E_INVALID = -1,   /* an argument out of its range */
	CUSLICE_E_NO_DEVICE = -2, /* no such device, or the driver has not told its devices yet */
	CUSLICE_E_LATE = -3, /* the program already uses the driver without this kind of limit: call
			      * before its first driver function, or start it with a limit */
};

/* A device's slice, and what is used of it. */
struct cuslice_slice {
	uint64_t quota_bytes; /* device memory that may be held; CUSLICE_UNLIMITED without quota */
	uint64_t used_bytes;  /* held and reserved by the whole group, against the quota */
	uint64_t gpu_time_ns; /* billed to this process since its start; 0 where no time is kept */
	uint32_t share_ppm;   /* of the device, 1 .. CUSLICE_WHOLE; of the whole group. Where SMs or
			       * MPS keep it, what these and the part of the time come to */
	uint32_t reserved;    /* 0 */

	/* Added later. */
	uint64_t refused_count; /* allocations of this process for which the quota had no room */
};

/* The library's version, "0.1.0": static text. */
const char *cuslice_version(void);

/* Words for a return value: static text, never NULL. */
const char *cuslice_error_text(int error);

/* Lowers the quota of `device` to `bytes` (1 or more) if it is higher. What is held already stays;
 * above the new quota, nothing more is granted. It is the quota of the whole group, for as long as
 * this process lives.
 * Returns CUSLICE_OK (also where the quota was lower), CUSLICE_E_INVALID, CUSLICE_E_NO_DEVICE (only
 * once the devices are known: before, the wish is kept), CUSLICE_E_LATE.
 */
int cuslice_tighten_memory(int device, uint64_t bytes);

/* Lowers the share of `device` to `share_ppm` parts per million (1 .. CUSLICE_WHOLE) of its GPU
 * time if it is higher. Returns as cuslice_tighten_memory(). */
int cuslice_tighten_compute(int device, uint32_t share_ppm);

/* Reads a device's slice, after cuInit(). `size` is sizeof(struct cuslice_slice) as compiled: later
 * versions add fields at the end, and only `size` bytes are written.
 * Returns CUSLICE_OK, CUSLICE_E_INVALID, or CUSLICE_E_NO_DEVICE; the output is untouched then.
 */
int cuslice_read(int device, struct cuslice_slice *ret_slice, size_t size);

#ifdef __cplusplus
}
#endif

#endif
