/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_member
 *
 * Makes a context on device 0 and says `ready`. Then each line of stdin is a number of MiB to
 * allocate, or 0 to free the newest of them, and is answered by the driver's result and how many
 * microseconds the call took.
 */
#include "client.h"

#include <stdio.h>
#include <time.h>

#define MAX_HELD 64

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

int main(void)
{
	struct functions cu;
	CUcontext context;
	CUdeviceptr held[MAX_HELD];
	unsigned count = 0;
	size_t mib;

	functions_from_dlopen(&cu, "libcuda.so.1");
	must(cu.cuInit(0), "cuInit");
	must(cu.cuCtxCreate_v2(&context, 0, 0), "cuCtxCreate");
	say("ready");
	while (scanf("%zu", &mib) == 1) {
		uint64_t start_us = now_us();
		must_be(mib > 0 ? count < MAX_HELD : count > 0,
			"room for one more, or one to free");
		CUresult res = mib > 0 ? cu.cuMemAlloc_v2(&held[count], mib * MIB)
				       : cu.cuMemFree_v2(held[--count]);
		count += mib > 0 && res == CUDA_SUCCESS;
		say("%d %llu", (int)res, (unsigned long long)(now_us() - start_us));
	}
	return 0;
}
