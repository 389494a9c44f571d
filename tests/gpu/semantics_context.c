/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "semantics.h"

#include <dlfcn.h>

#define BLOCK_BYTES (256ull << 20)

static CUdevice first_device(void)
{
	CUdevice device;

	MUST(cuDeviceGet(&device, 0));
	return device;
}

/* A stream of one context is asked, and sampled, while another context is current. */
void check_stream_context(void)
{
	CUcontext home = probe_open(), away, told = NULL, told_legacy = NULL;
	CUfunction empty = probe_kernel("gpu_empty");
	CUevent begin, end;
	CUstream stream;

	MUST(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	MUST(cuEventCreate(&begin, CU_EVENT_DEFAULT));
	MUST(cuEventCreate(&end, CU_EVENT_DEFAULT));
	MUST(cuCtxCreate(&away, NULL, 0, first_device())); /* is current now */

	CUresult asked = cuStreamGetCtx(stream, &told);
	CUresult asked_legacy = cuStreamGetCtx(NULL, &told_legacy);
	CUresult recorded = cuEventRecord(begin, stream);
	CUresult launched = cuLaunchKernel(empty, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL);
	CUresult recorded_end = cuEventRecord(end, stream);
	CUresult waited = cuEventSynchronize(end);
	float ms = -1;
	CUresult elapsed = cuEventElapsedTime(&ms, begin, end);

	probe_say_result("get", asked);
	probe_say("stream_tells", "%s", told == home ? "its own" : "another");
	probe_say_result("get_legacy", asked_legacy);
	probe_say("legacy_tells", "%s", told_legacy == away ? "the current" : "another");
	probe_say_result("launch", launched);
	probe_say_result("record", recorded);
	probe_say_result("elapsed", elapsed);
	semantics_holds(asked == CUDA_SUCCESS && told == home && recorded == CUDA_SUCCESS &&
			recorded_end == CUDA_SUCCESS && waited == CUDA_SUCCESS &&
			elapsed == CUDA_SUCCESS && ms >= 0);
}

struct primary {
	unsigned flags;
	int is_active;
};

static struct primary primary_now(void)
{
	struct primary primary;

	MUST(cuDevicePrimaryCtxGetState(first_device(), &primary.flags, &primary.is_active));
	return primary;
}

static bool is_same(struct primary a, struct primary b)
{
	return a.flags == b.flags && a.is_active == b.is_active;
}

void check_primary_state(void)
{
	CUcontext context, again;

	MUST(cuInit(0));
	CUdevice device = first_device();
	struct primary fresh = primary_now();
	MUST(cuDevicePrimaryCtxRetain(&context, device));
	MUST(cuDevicePrimaryCtxRelease(device));
	struct primary released = primary_now();

	MUST(cuDevicePrimaryCtxRetain(&context, device));
	struct primary held = primary_now();
	MUST(cuDevicePrimaryCtxRetain(&again, device));
	MUST(cuDevicePrimaryCtxRelease(device));
	struct primary still_held = primary_now();

	probe_say("fresh", "%u/%d", fresh.flags, fresh.is_active);
	probe_say("released", "%u/%d", released.flags, released.is_active);
	probe_say("held", "%u/%d", held.flags, held.is_active);
	probe_say("still_held", "%u/%d", still_held.flags, still_held.is_active);
	semantics_holds(is_same(fresh, released) && is_same(held, still_held) &&
			held.is_active == 1 && again == context);
}

/* A neighbour may take or give memory meanwhile; half of the block is evidence enough. */
void check_primary_reset(void)
{
	CUdeviceptr address;

	probe_open();
	size_t before = probe_free_bytes();
	MUST(cuMemAlloc(&address, BLOCK_BYTES));
	size_t held = probe_free_bytes();
	MUST(cuDevicePrimaryCtxReset(first_device()));
	CUresult use_after = cuMemFree(address);
	probe_open();
	size_t after = probe_free_bytes();

	probe_say("free_before", "%zu", before);
	probe_say("free_held", "%zu", held);
	probe_say("free_after_reset", "%zu", after);
	probe_say_result("free_of_lost_pointer", use_after);
	semantics_holds(held + BLOCK_BYTES / 2 < before && held + BLOCK_BYTES / 2 < after);
}

void check_free_async_linear(void)
{
	CUdeviceptr address;
	CUstream stream;

	probe_open();
	MUST(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	size_t before = probe_free_bytes();
	MUST(cuMemAlloc(&address, BLOCK_BYTES));
	size_t held = probe_free_bytes();
	CUresult freed = cuMemFreeAsync(address, stream);
	MUST(cuStreamSynchronize(stream));
	size_t after = probe_free_bytes();

	probe_say_result("free", freed);
	probe_say("free_before", "%zu", before);
	probe_say("free_held", "%zu", held);
	probe_say("free_after", "%zu", after);
	semantics_holds(freed == CUDA_SUCCESS && held + BLOCK_BYTES / 2 < before &&
			held + BLOCK_BYTES / 2 < after);
}

/* The functions of CUDA 2.0, with addresses of 32 bits: exported to this day. What is assumed is
 * only that they work or refuse. */
void check_old_allocation(void)
{
	typedef CUresult old_alloc(unsigned *address, unsigned size);
	typedef CUresult old_free(unsigned address);
	unsigned address = 0;

	probe_open();
	old_alloc *alloc = (old_alloc *)dlsym(RTLD_DEFAULT, "cuMemAlloc");
	old_free *release = (old_free *)dlsym(RTLD_DEFAULT, "cuMemFree");
	probe_say("exported", "%s", alloc != NULL && release != NULL ? "yes" : "no");
	if (alloc == NULL || release == NULL) {
		semantics_holds(true);
		return;
	}
	CUresult res = alloc(&address, 1 << 20);
	probe_say_result("alloc", res);
	probe_say("address", "0x%x", address);
	if (res == CUDA_SUCCESS) {
		res = release(address);
		probe_say_result("free", res);
		semantics_holds(res == CUDA_SUCCESS);
	} else {
		semantics_holds(address == 0);
	}
}
