/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * harness: a test harness that wants to see code run out of memory. It links libcuslice, tightens
 * its own quota, is refused what no longer fits, and reads what is in force.
 *
 * Exit status: 0 if all of it came out as it should, 1 if not.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <cuda.h>
#include <cuslice/cuslice.h>

#define MIB ((uint64_t)1 << 20)

/* Room for the context, which counts as well, and for one block, but not for two. */
#define QUOTA (4096 * MIB)
#define BLOCK (2560 * MIB)

static void expect(bool is_so, const char *what)
{
	printf("%s: %s\n", what, is_so ? "yes" : "NO");
	if (!is_so)
		exit(1);
}

static struct cuslice_slice read_slice(void)
{
	struct cuslice_slice slice;

	int error = cuslice_read(0, &slice, sizeof(slice));
	if (error != CUSLICE_OK) {
		fprintf(stderr, "cuslice_read: %s\n", cuslice_error_text(error));
		exit(1);
	}
	printf("%" PRIu64 " of %" PRIu64 " MiB used\n", slice.used_bytes / MIB,
		slice.quota_bytes / MIB);
	return slice;
}

static void open_device(void)
{
	CUdevice device;
	CUcontext context;

	expect(cuInit(0) == CUDA_SUCCESS, "CUDA starts");
	expect(cuDeviceGet(&device, 0) == CUDA_SUCCESS &&
			cuDevicePrimaryCtxRetain(&context, device) == CUDA_SUCCESS &&
			cuCtxSetCurrent(context) == CUDA_SUCCESS,
		"device 0 opens");
}

int main(void)
{
	CUdeviceptr first = 0, second = 0;

	printf("cuslice %s\n", cuslice_version());
	/* Before the first driver function: that is when limits are put in place. */
	expect(cuslice_tighten_memory(0, QUOTA) == CUSLICE_OK, "the quota is tightened");
	open_device();
	expect(cuMemAlloc(&first, BLOCK) == CUDA_SUCCESS, "the first block is granted");
	expect(read_slice().used_bytes >= BLOCK, "it counts");
	expect(cuMemAlloc(&second, BLOCK) == CUDA_ERROR_OUT_OF_MEMORY, "the second is refused");
	expect(cuslice_tighten_memory(0, 2 * QUOTA) == CUSLICE_OK &&
			read_slice().quota_bytes <= QUOTA,
		"the quota cannot be loosened");
	expect(cuMemFree(first) == CUDA_SUCCESS, "the first block is freed");
	expect(read_slice().used_bytes < BLOCK, "it counts no more");
	expect(cuMemAlloc(&second, BLOCK) == CUDA_SUCCESS, "the second is granted now");
	expect(cuMemFree(second) == CUDA_SUCCESS, "and freed");
	return 0;
}
