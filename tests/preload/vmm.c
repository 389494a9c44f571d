/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_vmm WHAT QUOTA
 *
 * Virtual memory management under a quota of QUOTA bytes on device 0; the tests compare what
 * cuslice.h says with the account of the machine. The program is linked with libcuda.
 */
#include "client.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define UNIT    (2 * MIB)
#define THREADS 4
#define SLOTS   8

static struct functions cu;
static uint64_t quota;

static const CUmemAllocationProp on_device_0 = {
	.type = CU_MEM_ALLOCATION_TYPE_PINNED,
	.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0},
};

static CUmemGenericAllocationHandle create(size_t size)
{
	CUmemGenericAllocationHandle handle = 0;

	must(cu.cuMemCreate(&handle, size, &on_device_0, 0), "cuMemCreate");
	return handle;
}

/* What must be refused, and leave its output alone. */
static void try_create(const char *key, size_t size)
{
	CUmemGenericAllocationHandle handle = 42;
	CUresult res = cu.cuMemCreate(&handle, size, &on_device_0, 0);

	say("%s %d %d", key, (int)res, (int)handle);
}

static CUdeviceptr reserve(size_t size)
{
	CUdeviceptr address;

	must(cu.cuMemAddressReserve(&address, size, 0, 0, 0), "cuMemAddressReserve");
	return address;
}

static void map(CUdeviceptr address, size_t size, CUmemGenericAllocationHandle handle)
{
	const CUmemAccessDesc desc = {
		.location = on_device_0.location, .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};

	must(cu.cuMemMap(address, size, 0, handle, 0), "cuMemMap");
	must(cu.cuMemSetAccess(address, size, &desc, 1), "cuMemSetAccess");
}

/* Release does not give back what is mapped, and unmapping not what is released: the last does. */
static void lifetime(void)
{
	CUmemGenericAllocationHandle handle, retained;
	CUdeviceptr address = reserve(4 * UNIT);

	handle = create(2 * UNIT);
	map(address, 2 * UNIT, handle);
	must(cu.cuMemRelease(handle), "release");
	wait_for_test("released");
	try_create("full", quota);
	must(cu.cuMemUnmap(address, 2 * UNIT), "unmap");
	wait_for_test("unmapped");

	handle = create(UNIT);
	map(address, UNIT, handle);
	map(address + UNIT, UNIT, handle);
	must(cu.cuMemUnmap(address, UNIT), "unmap");
	must(cu.cuMemRelease(handle), "release");
	wait_for_test("mapped_twice");
	must(cu.cuMemRetainAllocationHandle(&retained, (void *)(uintptr_t)(address + UNIT + 77)),
		"retain");
	must_be(retained == handle, "the same handle");
	must(cu.cuMemUnmap(address + UNIT, UNIT), "unmap");
	wait_for_test("retained");
	must(cu.cuMemRelease(retained), "release");
	wait_for_test("gone");

	/* One call unmaps several. */
	for (unsigned i = 0; i < 4; i++) {
		handle = create(UNIT);
		map(address + i * UNIT, UNIT, handle);
		must(cu.cuMemRelease(handle), "release");
	}
	wait_for_test("four");
	must(cu.cuMemUnmap(address + UNIT, 3 * UNIT), "unmap");
	wait_for_test("one");
	must(cu.cuMemUnmap(address, UNIT), "unmap");
	must(cu.cuMemAddressFree(address, 4 * UNIT), "cuMemAddressFree");
	wait_for_test("gone");
}

/* The test has the driver refuse the calls behind the points where it waits. */
static void refusals(void)
{
	CUmemGenericAllocationHandle handle;
	CUdeviceptr address = reserve(UNIT);

	try_create("over", quota + UNIT);
	try_create("nothing", 0);
	try_create("odd", 100);
	wait_for_test("create_fails");
	try_create("refused", UNIT);
	handle = create(quota);
	try_create("over", UNIT);
	wait_for_test("map_fails");
	say("map %d", (int)cu.cuMemMap(address, UNIT, 0, handle, 0));
	map(address, UNIT, handle);
	say("map_again %d", (int)cu.cuMemMap(address, UNIT, 0, handle, 0));
	wait_for_test("release_fails");
	say("release %d", (int)cu.cuMemRelease(handle));
	must(cu.cuMemRelease(handle), "release");
	wait_for_test("unmap_fails");
	say("unmap %d", (int)cu.cuMemUnmap(address, UNIT));
	say("unmap_part %d", (int)cu.cuMemUnmap(address, UNIT / 2));
	wait_for_test("retain_fails");
	say("retain %d", (int)cu.cuMemRetainAllocationHandle(&handle, (void *)(uintptr_t)address));
	must(cu.cuMemUnmap(address, UNIT), "unmap");
	say("unmap_again %d", (int)cu.cuMemUnmap(address, UNIT));
	say("wild %d %d", (int)cu.cuMemRelease(0),
		(int)cu.cuMemCreate(NULL, UNIT, &on_device_0, 0));
	say("no_prop %d", (int)cu.cuMemCreate(&handle, UNIT, NULL, 0));
	wait_for_test("gone");
}

/* No context is current, or one of another device: it is the properties that say where. */
static void placement(void)
{
	CUmemAllocationProp prop = on_device_0;
	CUmemGenericAllocationHandle handles[4];
	CUcontext context;

	handles[0] = create(UNIT);
	wait_for_test("without_context");
	must(cu.cuCtxCreate_v2(&context, 0, 0), "cuCtxCreate");
	prop.location.id = 1;
	must(cu.cuMemCreate(&handles[1], 3 * UNIT, &prop, 0), "cuMemCreate");
	say("other_device %llu", used_bytes(1));
	wait_for_test("on_other_device");
	prop.location.type = CU_MEM_LOCATION_TYPE_HOST;
	must(cu.cuMemCreate(&handles[2], 2 * quota, &prop, 0), "cuMemCreate");
	prop.location = (CUmemLocation){.type = CU_MEM_LOCATION_TYPE_HOST_NUMA, .id = 0};
	must(cu.cuMemCreate(&handles[3], 2 * quota, &prop, 0), "cuMemCreate");
	wait_for_test("of_host");
	prop.location = (CUmemLocation){.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 99};
	say("no_device %d",
		(int)cu.cuMemCreate(&(CUmemGenericAllocationHandle){0}, UNIT, &prop, 0));
	must(cu.cuCtxDestroy_v2(context), "cuCtxDestroy");
	wait_for_test("context_gone");
	for (unsigned i = 0; i < 4; i++)
		must(cu.cuMemRelease(handles[i]), "release");
	wait_for_test("gone");
}

/* Multicast objects cost nothing; what is bound is charged as what it is. */
static void multicast(void)
{
	const CUmulticastObjectProp prop = {.numDevices = 1, .size = 2 * quota};
	CUmemGenericAllocationHandle object, memory;
	CUdeviceptr address = reserve(2 * UNIT);

	must(cu.cuMulticastCreate(&object, &prop), "cuMulticastCreate");
	must(cu.cuMulticastAddDevice(object, 0), "cuMulticastAddDevice");
	memory = create(UNIT);
	must(cu.cuMulticastBindMem(object, 0, memory, 0, UNIT, 0), "cuMulticastBindMem");
	map(address, UNIT, memory);
	must(cu.cuMemMap(address + UNIT, UNIT, 0, object, 0), "cuMemMap");
	wait_for_test("bound");
	must(cu.cuMemUnmap(address, 2 * UNIT), "unmap");
	must(cu.cuMemRelease(object), "release");
	must(cu.cuMemRelease(memory), "release");
	wait_for_test("gone");
}

struct worker {
	pthread_t thread;
	unsigned seed;
	CUdeviceptr addresses;
	unsigned granted, refused;
	struct {
		CUmemGenericAllocationHandle handle; /* 0: released */
		bool is_mapped;
	} slots[SLOTS];
};

static atomic_uint mistakes;
static pthread_barrier_t barrier;

static void expect_success(CUresult res)
{
	if (res != CUDA_SUCCESS)
		atomic_fetch_add(&mistakes, 1);
}

static unsigned next_random(struct worker *worker)
{
	worker->seed = worker->seed * 1664525u + 1013904223u;
	return worker->seed >> 8;
}

static void step(struct worker *worker)
{
	unsigned i = next_random(worker) % SLOTS;
	CUmemGenericAllocationHandle *handle = &worker->slots[i].handle;
	CUdeviceptr address = worker->addresses + i * UNIT;

	if (*handle == 0 && !worker->slots[i].is_mapped) {
		CUresult res = cu.cuMemCreate(handle, UNIT, &on_device_0, 0);
		if (res != CUDA_ERROR_OUT_OF_MEMORY)
			expect_success(res);
		*(res == CUDA_SUCCESS ? &worker->granted : &worker->refused) += 1;
	} else if (*handle == 0 && next_random(worker) % 2 == 0) {
		expect_success(cu.cuMemRetainAllocationHandle(handle, (void *)(uintptr_t)address));
	} else if (*handle != 0 && next_random(worker) % 2 == 0) {
		expect_success(cu.cuMemRelease(*handle));
		*handle = 0;
	} else {
		expect_success(worker->slots[i].is_mapped
				       ? cu.cuMemUnmap(address, UNIT)
				       : cu.cuMemMap(address, UNIT, 0, *handle, 0));
		worker->slots[i].is_mapped = !worker->slots[i].is_mapped;
	}
}

static void *work(void *data)
{
	struct worker *worker = data;

	for (unsigned i = 0; i < 2000; i++)
		step(worker);
	pthread_barrier_wait(&barrier); /* main looks at the books */
	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; i < SLOTS; i++) {
		if (worker->slots[i].handle != 0)
			expect_success(cu.cuMemRelease(worker->slots[i].handle));
		if (worker->slots[i].is_mapped)
			expect_success(cu.cuMemUnmap(worker->addresses + i * UNIT, UNIT));
	}
	return NULL;
}

static void at_random(void)
{
	static struct worker workers[THREADS];
	unsigned granted = 0, refused = 0;

	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){.seed = i, .addresses = reserve(SLOTS * UNIT)};
		must_be(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0, "thread");
	}
	pthread_barrier_wait(&barrier);
	wait_for_test("at_rest");
	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		granted += workers[i].granted;
		refused += workers[i].refused;
	}
	say("operations %u %u", granted, refused);
	say("mistakes %u", atomic_load(&mistakes));
	wait_for_test("gone");
}

/* As PyTorch's expandable segments: addresses for more than there is, which are given memory at
 * their end when more is needed, page by page, and lose it where it is no longer. The handle is
 * kept, and released after the page was unmapped. */
static void expandable_segments(void)
{
	enum { PAGES = 64 };
	static CUmemGenericAllocationHandle pages[PAGES];
	const size_t page = 10 * UNIT;
	CUmemAllocationProp prop = on_device_0;
	CUdeviceptr segment = reserve(PAGES * page);
	CUcontext context;
	unsigned mapped = 0;
	CUresult res;

	prop.allocFlags.gpuDirectRDMACapable = 1;
	must(cu.cuDevicePrimaryCtxRetain(&context, 0), "retain");
	must(cu.cuCtxSetCurrent(context), "cuCtxSetCurrent");
	while ((res = cu.cuMemCreate(&pages[mapped], page, &prop, 0)) == CUDA_SUCCESS) {
		map(segment + mapped * page, page, pages[mapped]);
		mapped++;
	}
	say("pages %u %d", mapped, (int)res);
	must(cu.cuMemcpyHtoD_v2(segment + page - 4, "12345678", 8), "copy");
	wait_for_test("grown");
	for (unsigned i = 1; i < mapped; i += 2) { /* empty_cache() */
		must(cu.cuMemUnmap(segment + i * page, page), "unmap");
		must(cu.cuMemRelease(pages[i]), "release");
	}
	wait_for_test("trimmed");
	for (unsigned i = 1; i < mapped; i += 2) {
		must(cu.cuMemCreate(&pages[i], page, &prop, 0), "create");
		map(segment + i * page, page, pages[i]);
	}
	wait_for_test("grown_again");
	for (unsigned i = 0; i < mapped; i++) {
		must(cu.cuMemUnmap(segment + i * page, page), "unmap");
		must(cu.cuMemRelease(pages[i]), "release");
	}
	must(cu.cuMemAddressFree(segment, PAGES * page), "cuMemAddressFree");
	wait_for_test("gone");
}

/* As vLLM's sleep mode: each allocation has addresses and a handle of its own; asleep it has no
 * memory but its addresses, awake it has other memory at the same. */
static void sleep_mode(void)
{
	enum { TENSORS = 5 };
	CUmemGenericAllocationHandle handles[TENSORS];
	CUdeviceptr addresses[TENSORS];
	const size_t size = quota / TENSORS / UNIT * UNIT;
	CUcontext context;

	must(cu.cuDevicePrimaryCtxRetain(&context, 0), "retain");
	must(cu.cuCtxSetCurrent(context), "cuCtxSetCurrent");
	for (unsigned i = 0; i < TENSORS; i++) {
		addresses[i] = reserve(size);
		handles[i] = create(size);
		map(addresses[i], size, handles[i]);
	}
	wait_for_test("awake");
	for (unsigned i = 0; i < TENSORS; i++) {
		must(cu.cuMemUnmap(addresses[i], size), "unmap");
		must(cu.cuMemRelease(handles[i]), "release");
	}
	wait_for_test("asleep");
	must(cu.cuMemAlloc_v2(&(CUdeviceptr){0}, quota - 3 * size), "alloc");
	for (unsigned i = 0; i < 3; i++) {
		handles[i] = create(size);
		map(addresses[i], size, handles[i]);
	}
	try_create("no_room", UNIT);
	wait_for_test("half_awake");
}

int main(int argc, char *argv[])
{
	const struct {
		const char *name;
		void (*run)(void);
	} all[] = {
		{"lifetime", lifetime},
		{"refusals", refusals},
		{"placement", placement},
		{"multicast", multicast},
		{"random", at_random},
		{"segments", expandable_segments},
		{"sleep", sleep_mode},
	};

	functions_from_link(&cu);
	quota = argument(argc, argv, 2, 0);
	must(cu.cuInit(0), "cuInit");
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (strcmp(all[i].name, argv[1]) == 0)
			all[i].run();
	}
	return 0;
}
