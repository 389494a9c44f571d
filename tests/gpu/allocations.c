/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * gpu-allocations: what the driver really takes for an allocation, as CSV. Run bare it reports the
 * drop of free memory; with libcuslice.so preloaded and a quota, what the ledger charged instead,
 * since free memory is then only a view.
 */
#include "cuslice/cuslice.h"
#include "probe.h"

#include <dlfcn.h>
#include <stdio.h>

#define KIB       1024ull
#define MIB       (1024 * KIB)
#define REPEATS   3
#define MAX_COUNT 4096 /* of small ones, which the driver packs into blocks */
#define MAX_LARGE 256
/* Of one batch, where its allocations are not larger. Managed memory is also written to, and more
 * of it than there is can hang a device. */
#define TOTAL_BYTES   (1024 * MIB)
#define MANAGED_BYTES (128 * MIB)

struct batch {
	const char *kind;
	size_t width, height; /* height 1 but for pitched memory */
};

static const struct batch batches[] = {
	{"linear", 1, 1},
	{"linear", 256, 1},
	{"linear", 512, 1},
	{"linear", 513, 1},
	{"linear", 4 * KIB, 1},
	{"linear", 64 * KIB, 1},
	{"linear", 64 * KIB + 1, 1},
	{"linear", 512 * KIB, 1},
	{"linear", MIB, 1},
	{"linear", MIB + 1, 1},
	{"linear", 3 * MIB / 2, 1},
	{"linear", 2 * MIB - 512, 1},
	{"linear", 2 * MIB, 1},
	{"linear", 2 * MIB + 1, 1},
	{"linear", 3 * MIB, 1},
	{"linear", 5 * MIB + 1, 1},
	{"linear", 16 * MIB + 1, 1},
	{"linear", 100 * MIB + 1, 1},
	{"linear", 256 * MIB, 1},
	{"linear", 1024 * MIB, 1},
	{"pitched", 1, 1},
	{"pitched", 100, 1000},
	{"pitched", 513, 1000},
	{"pitched", 4096, 4096},
	{"pitched", 10001, 3},
	{"managed", 4 * KIB, 1},
	{"managed", 3 * MIB, 1},
	{"managed", 64 * MIB, 1},
};

/* What a batch took, in bytes. */
struct taking {
	uint64_t first, all;
	uint64_t stride; /* smallest distance of two addresses */
	size_t pitch, count;
};

typedef int read_slice(int device, struct cuslice_slice *ret_slice, size_t size);
static read_slice *read_ledger; /* NULL: bare */

/* Bytes in use, by the ledger or by free memory, from some constant on. */
static uint64_t used_bytes(void)
{
	struct cuslice_slice slice;

	if (read_ledger == NULL)
		return UINT64_MAX / 2 - probe_free_bytes();
	if (read_ledger(0, &slice, sizeof(slice)) != CUSLICE_OK)
		return 0;
	return slice.used_bytes;
}

static CUresult allocate(const struct batch *batch, CUdeviceptr *ret, size_t *ret_pitch)
{
	*ret_pitch = 0;
	switch (batch->kind[0]) {
	case 'p':
		return cuMemAllocPitch(ret, ret_pitch, batch->width, batch->height, 4);
	case 'm':
		return cuMemAllocManaged(ret, batch->width, CU_MEM_ATTACH_GLOBAL);
	default:
		return cuMemAlloc(ret, batch->width);
	}
}

/* Managed memory is taken when the device first needs it. */
static void touch(const struct batch *batch, CUdeviceptr address)
{
	if (batch->kind[0] == 'm')
		MUST(cuMemsetD8(address, 0, batch->width));
}

static uint64_t distance(CUdeviceptr a, CUdeviceptr b)
{
	return a > b ? a - b : b - a;
}

static size_t batch_count(const struct batch *batch)
{
	size_t total_bytes = batch->kind[0] == 'm' ? MANAGED_BYTES : TOTAL_BYTES;
	size_t count = total_bytes / (batch->width * batch->height);
	size_t most = batch->width * batch->height <= 4 * KIB ? MAX_COUNT : MAX_LARGE;

	if (count > most)
		return most;
	return count < 2 ? 2 : count;
}

static struct taking take_once(const struct batch *batch)
{
	static CUdeviceptr addresses[MAX_COUNT];
	struct taking taking = {.stride = UINT64_MAX};
	size_t wanted = batch_count(batch);
	uint64_t before = used_bytes();

	while (taking.count < wanted) {
		CUdeviceptr *address = &addresses[taking.count];
		if (allocate(batch, address, &taking.pitch) != CUDA_SUCCESS)
			break;
		touch(batch, *address);
		if (taking.count++ == 0)
			taking.first = used_bytes() - before;
		else if (distance(address[0], address[-1]) < taking.stride)
			taking.stride = distance(address[0], address[-1]);
	}
	taking.all = used_bytes() - before;
	for (size_t i = 0; i < taking.count; i++)
		MUST(cuMemFree(addresses[i]));
	return taking;
}

/* A neighbour's allocations show up in free memory too, so the smallest of some tries counts. */
static struct taking take(const struct batch *batch)
{
	struct taking least = take_once(batch);

	for (int i = 1; i < REPEATS; i++) {
		struct taking next = take_once(batch);
		if (next.first < least.first)
			least.first = next.first;
		if (next.all < least.all && next.count == least.count)
			least.all = next.all;
	}
	return least;
}

/* A second context, as an example of what the driver takes by itself. */
static void report_context(void)
{
	CUcontext context;
	CUdevice device;
	uint64_t before = used_bytes();

	MUST(cuCtxGetDevice(&device));
	if (cuCtxCreate(&context, NULL, 0, device) != CUDA_SUCCESS)
		return;
	uint64_t taken = used_bytes() - before;
	printf("context,0,1,1,%llu,%llu,0,0\n", (unsigned long long)taken,
		(unsigned long long)taken);
	MUST(cuCtxDestroy(context));
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0); /* what came before a hang is told */
	probe_open();
	read_ledger = (read_slice *)dlsym(RTLD_DEFAULT, "cuslice_read");
	printf("kind,width,height,count,first_bytes,all_bytes,stride,pitch\n");
	report_context();
	for (size_t i = 0; i < sizeof(batches) / sizeof(batches[0]); i++) {
		const struct batch *batch = &batches[i];
		struct taking taking = take(batch);
		printf("%s,%zu,%zu,%zu,%llu,%llu,%llu,%zu\n", batch->kind, batch->width,
			batch->height, taking.count, (unsigned long long)taking.first,
			(unsigned long long)taking.all, (unsigned long long)taking.stride,
			taking.pitch);
	}
	return 0;
}
