/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_views WHAT
 *
 * What a program is told of its device's memory, and whether it can live by that.
 */
#include "client.h"
#include "cuslice/cuslice.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static struct functions cu;
static CUcontext context;

static void open_context(void)
{
	must(cu.cuInit(0), "cuInit");
	must(cu.cuCtxCreate_v2(&context, 0, 0), "cuCtxCreate");
}

static size_t free_bytes(void)
{
	size_t available, total;

	must(cu.cuMemGetInfo_v2(&available, &total), "cuMemGetInfo");
	must_be(available <= total, "free is at most total");
	return available;
}

/* Until the test has looked at the account. */
static void show_free_and_wait(const char *key)
{
	char line[100];

	say("%s %zu", key, free_bytes());
	must_be(fgets(line, sizeof(line), stdin) != NULL, "a line from the test");
}

/* All that tells of memory, with outputs left out and in contexts that are not there. */
static void story(void)
{
	size_t available = 7, total = 7, device_total = 7;
	unsigned available_v1 = 7, total_v1 = 7, device_total_v1 = 7;

	say("before_init %d", (int)cu.cuMemGetInfo_v2(&available, &total));
	must(cu.cuInit(0), "cuInit");
	say("no_context %d %d", (int)cu.cuMemGetInfo_v2(&available, &total),
		(int)cu.cuMemGetInfo(&available_v1, NULL));
	say("untouched %zu %zu %u", available, total, available_v1);
	open_context();
	must(cu.cuMemGetInfo_v2(&available, &total), "cuMemGetInfo");
	must(cu.cuMemGetInfo(&available_v1, &total_v1), "cuMemGetInfo v1");
	must(cu.cuDeviceTotalMem_v2(&device_total, 0), "cuDeviceTotalMem");
	must(cu.cuDeviceTotalMem(&device_total_v1, 0), "cuDeviceTotalMem v1");
	say("info %zu %zu", available, total);
	say("info_v1 %u %u", available_v1, total_v1);
	say("total %zu %u", device_total, device_total_v1);
	say("null %d %d %d", (int)cu.cuMemGetInfo_v2(NULL, NULL), (int)cu.cuMemGetInfo(NULL, NULL),
		(int)cu.cuDeviceTotalMem_v2(NULL, 0));
	available = total = available_v1 = total_v1 = 7;
	must(cu.cuMemGetInfo_v2(&available, NULL), "free only");
	must(cu.cuMemGetInfo_v2(NULL, &total), "total only");
	must(cu.cuMemGetInfo(&available_v1, NULL), "free only v1");
	must(cu.cuMemGetInfo(NULL, &total_v1), "total only v1");
	say("halves %zu %zu", available, total);
	say("halves_v1 %u %u", available_v1, total_v1);
	say("no_device %d", (int)cu.cuDeviceTotalMem_v2(&device_total, 99));
}

/* What free falls by at each allocation. */
static void falls(void)
{
	const CUDA_ARRAY_DESCRIPTOR square = {100, 100, CU_AD_FORMAT_UNSIGNED_INT8, 1};
	CUdeviceptr address;
	CUarray array;
	size_t pitch, before;

	open_context();
	before = free_bytes();
	must(cu.cuMemAlloc_v2(&address, 1), "alloc");
	say("linear %zu", before - free_bytes());
	must(cu.cuMemFree_v2(address), "free");
	say("freed %zu", before - free_bytes());
	must(cu.cuMemAllocPitch_v2(&address, &pitch, 1, 1000, 4), "pitch");
	say("pitched %zu %zu", before - free_bytes(), pitch);
	before = free_bytes();
	must(cu.cuMemAllocManaged(&address, MIB + 1, CU_MEM_ATTACH_GLOBAL), "managed");
	say("managed %zu", before - free_bytes());
	before = free_bytes();
	must(cu.cuArrayCreate_v2(&array, &square), "array");
	say("array %zu", before - free_bytes());
	say("at_end %zu", free_bytes());
}

/* Sizes that a limiter may get wrong. */
static void odd_sizes(void)
{
	const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 511, SIZE_MAX - 512, (size_t)1 << 63,
		((size_t)1 << 63) - 1, 0};
	CUdeviceptr address = 42;
	CUdeviceptr_v1 address_v1 = 42;
	size_t pitch = 42;
	unsigned pitch_v1 = 42;

	open_context();
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		say("size %d %d %d", (int)cu.cuMemAlloc_v2(&address, sizes[i]),
			(int)cu.cuMemAllocManaged(&address, sizes[i], CU_MEM_ATTACH_GLOBAL),
			(int)cu.cuMemAllocPitch_v2(&address, &pitch, sizes[i], sizes[i], 4));
	say("narrow %d", (int)cu.cuMemAllocPitch_v2(&address, &pitch, 1, MIB, 4));
	say("narrow_v1 %d", (int)cu.cuMemAllocPitch(&address_v1, &pitch_v1, 1, MIB, 4));
	say("v1 %d", (int)cu.cuMemAlloc(&address_v1, UINT32_MAX));
	say("null %d %d %d", (int)cu.cuMemAlloc_v2(NULL, 1),
		(int)cu.cuMemAllocPitch_v2(&address, NULL, 1, 1, 4),
		(int)cu.cuMemAllocManaged(NULL, 1, CU_MEM_ATTACH_GLOBAL));
	say("untouched %d %d %d %d", (int)address, (int)address_v1, (int)pitch, (int)pitch_v1);
	say("at_end %zu", free_bytes());
}

/* As inference servers do: profile, take nine tenths of what is there, expect the rest. */
static void profile(void)
{
	size_t available, total, rest, ignored;
	CUdeviceptr model, cache, last;

	open_context();
	must(cu.cuMemAlloc_v2(&model, 10 * MIB), "model");
	must(cu.cuMemGetInfo_v2(&available, &total), "cuMemGetInfo");
	size_t cache_bytes = total / 10 * 9 - (total - available);
	say("cache %d", (int)cu.cuMemAlloc_v2(&cache, cache_bytes));
	must(cu.cuMemGetInfo_v2(&rest, &ignored), "cuMemGetInfo");
	say("rest %lld", (long long)rest - (long long)(available - cache_bytes / 512 * 512));
	say("last %d", (int)cu.cuMemAlloc_v2(&last, rest));
	say("over %d", (int)cu.cuMemAlloc_v2(&(CUdeviceptr){0}, 1));
	say("free %zu", free_bytes());
}

/* The program tightens its own quota below what it holds. */
static void below_what_is_held(void)
{
	int (*tighten)(int, uint64_t);
	size_t available, total;
	CUdeviceptr address;

	*(void **)&tighten = dlsym(RTLD_DEFAULT, "cuslice_tighten_memory");
	must_be(tighten != NULL, "cuslice_tighten_memory");
	open_context();
	must(cu.cuMemAlloc_v2(&address, 32 * MIB), "alloc");
	must_be(tighten(0, 16 * MIB) == CUSLICE_OK, "tighten");
	must(cu.cuMemGetInfo_v2(&available, &total), "cuMemGetInfo");
	say("held %zu %zu", available, total);
	say("over %d", (int)cu.cuMemAlloc_v2(&(CUdeviceptr){0}, 1));
	must(cu.cuMemFree_v2(address), "free");
	say("freed %zu", free_bytes());
}

/* Holds an amount until the test goes on. */
static void hold(size_t bytes)
{
	CUdeviceptr address;

	open_context();
	must(cu.cuMemAlloc_v2(&address, bytes), "alloc");
	show_free_and_wait("held");
}

int main(int argc, char *argv[])
{
	const char *what = argc > 1 ? argv[1] : "";

	functions_from_link(&cu);
	if (strcmp(what, "story") == 0)
		story();
	else if (strcmp(what, "falls") == 0)
		falls();
	else if (strcmp(what, "odd_sizes") == 0)
		odd_sizes();
	else if (strcmp(what, "profile") == 0)
		profile();
	else if (strcmp(what, "below_what_is_held") == 0)
		below_what_is_held();
	else if (strcmp(what, "hold") == 0)
		hold(argument(argc, argv, 2, MIB));
	else
		return 2;
	return 0;
}
