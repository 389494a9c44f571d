/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_memory WHAT QUOTA [OPERATIONS]
 *
 * What is held under a quota of QUOTA bytes, by the program's own books and by cuslice.h; the tests
 * compare both with the account of the machine. The program is linked with libcuda.
 */
#include "client.h"

#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS 8
#define SLOTS   64 /* that a thread may hold */

static struct functions cu;
static uint64_t quota;
static atomic_uint mistakes, granted, refused;
static pthread_barrier_t barrier;
static CUcontext context;

static void expect(bool is_true)
{
	if (!is_true)
		atomic_fetch_add(&mistakes, 1);
}

static void check_and_wait(const char *key)
{
	must_be(read_slice(0).quota_bytes == quota, "quota");
	wait_for_test(key);
}

struct worker {
	pthread_t thread;
	unsigned seed;
	unsigned long operations;
	struct held {
		CUdeviceptr address;
		bool is_v1;
	} held[SLOTS];
};

static unsigned next_random(unsigned *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

static CUresult alloc_some(unsigned *seed, struct held *ret_held)
{
	size_t bytes =
		1 + (size_t)next_random(seed) % (next_random(seed) % 4 == 0 ? 8 * MIB : 65536);
	CUdeviceptr address = 0;
	CUdeviceptr_v1 address_v1 = 0;
	size_t pitch;
	CUresult res;

	ret_held->is_v1 = false;
	switch (next_random(seed) % 4) {
	case 0:
		res = cu.cuMemAllocPitch_v2(&address, &pitch, 1 + bytes / 1024, 1000, 4);
		break;
	case 1:
		res = cu.cuMemAllocManaged(&address, bytes, CU_MEM_ATTACH_GLOBAL);
		break;
	case 2:
		res = cu.cuMemAlloc(&address_v1, (unsigned)bytes);
		address = address_v1;
		ret_held->is_v1 = res == CUDA_SUCCESS;
		break;
	default:
		res = cu.cuMemAlloc_v2(&address, bytes);
		break;
	}
	expect((res == CUDA_SUCCESS) == (address != 0));
	ret_held->address = address;
	return res;
}

static void free_one(struct held *held)
{
	CUresult res = held->is_v1 ? cu.cuMemFree((CUdeviceptr_v1)held->address)
				   : cu.cuMemFree_v2(held->address);

	expect(res == CUDA_SUCCESS);
	held->address = 0;
}

static void step(struct worker *worker)
{
	struct held *held = &worker->held[next_random(&worker->seed) % SLOTS];
	size_t free_bytes, total_bytes;

	if (next_random(&worker->seed) % 16 == 0) {
		expect(cu.cuMemGetInfo_v2(&free_bytes, &total_bytes) == CUDA_SUCCESS);
		expect(total_bytes == quota && free_bytes <= quota);
	} else if (held->address != 0) {
		free_one(held);
	} else {
		CUresult res = alloc_some(&worker->seed, held);
		expect(res == CUDA_SUCCESS || res == CUDA_ERROR_OUT_OF_MEMORY);
		atomic_fetch_add(res == CUDA_SUCCESS ? &granted : &refused, 1);
	}
}

static void *work(void *data)
{
	struct worker *worker = data;

	must(cu.cuCtxSetCurrent(context), "cuCtxSetCurrent");
	for (unsigned long i = 0; i < worker->operations; i++)
		step(worker);
	pthread_barrier_wait(&barrier); /* main looks at the books */
	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; i < SLOTS; i++) {
		if (worker->held[i].address != 0)
			free_one(&worker->held[i]);
	}
	return NULL;
}

static void open_context(void)
{
	must(cu.cuInit(0), "cuInit");
	must(cu.cuCtxCreate_v2(&context, 0, 0), "cuCtxCreate");
}

static void say_info(const char *key)
{
	size_t free_bytes, total_bytes;

	must(cu.cuMemGetInfo_v2(&free_bytes, &total_bytes), "cuMemGetInfo");
	say("%s %zu %zu", key, free_bytes, total_bytes);
}

static void at_random(unsigned long operations)
{
	static struct worker workers[THREADS];

	open_context();
	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){.seed = i, .operations = operations / THREADS};
		must_be(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0, "thread");
	}
	pthread_barrier_wait(&barrier);
	say_info("info_at_rest");
	check_and_wait("at_rest");
	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	say("operations %u %u", atomic_load(&granted), atomic_load(&refused));
	say("mistakes %u", atomic_load(&mistakes));
	check_and_wait("at_end");
}

static CUresult alloc(size_t bytes)
{
	return cu.cuMemAlloc_v2(&(CUdeviceptr){0}, bytes);
}

/* Contexts that end take what was allocated in them along. */
static void contexts(void)
{
	CUcontext primary;

	open_context();
	say("filled %d", (int)alloc(quota));
	say("over %d", (int)alloc(1));
	must(cu.cuCtxDestroy_v2(context), "cuCtxDestroy");
	say("after_destroy %llu", used_bytes(0));

	must(cu.cuDevicePrimaryCtxRetain(&primary, 0), "retain");
	must(cu.cuDevicePrimaryCtxRetain(&primary, 0), "retain");
	must(cu.cuCtxSetCurrent(primary), "cuCtxSetCurrent");
	say("filled %d", (int)alloc(quota));
	must(cu.cuDevicePrimaryCtxRelease_v2(0), "release");
	say("after_first_release %llu", used_bytes(0));
	must(cu.cuDevicePrimaryCtxRelease_v2(0), "release");
	say("after_last_release %llu", used_bytes(0));

	must(cu.cuDevicePrimaryCtxRetain(&primary, 0), "retain");
	must(cu.cuCtxSetCurrent(primary), "cuCtxSetCurrent");
	say("filled %d", (int)alloc(quota));
	must(cu.cuDevicePrimaryCtxReset_v2(0), "reset");
	say("after_reset %llu", used_bytes(0));
	must(cu.cuDevicePrimaryCtxRetain(&primary, 0), "retain");
	must(cu.cuCtxSetCurrent(primary), "cuCtxSetCurrent");
	say("filled %d", (int)alloc(quota));
	check_and_wait("at_end");
}

/* Detaching ends a context once nothing else is attached to it. */
static void detach(void)
{
	CUcontext attached;

	open_context();
	must(cu.cuCtxAttach(&attached, 0), "cuCtxAttach");
	must(cu.cuCtxAttach(&attached, 0), "cuCtxAttach");
	must_be(attached == context, "attached to the current context");
	say("filled %d", (int)alloc(quota));
	for (int i = 0; i < 3; i++) {
		must(cu.cuCtxDetach(context), "cuCtxDetach");
		say("after_detach %llu", used_bytes(0));
	}

	/* What destroys at once forgets who was attached, should the handle be used again. */
	open_context();
	must(cu.cuCtxAttach(&attached, 0), "cuCtxAttach");
	must(cu.cuCtxDestroy_v2(context), "cuCtxDestroy");
	for (int i = 0; i < 100; i++) {
		open_context();
		say("filled %d", (int)alloc(quota));
		must(cu.cuCtxDetach(context), "cuCtxDetach");
	}
	check_and_wait("at_end");
}

/* What must be refused, and leave its output alone. */
static void try_over(const char *key, size_t bytes)
{
	CUdeviceptr unset = 42;
	CUresult res = cu.cuMemAlloc_v2(&unset, bytes);

	say("%s %d %d", key, (int)res, (int)unset);
}

static void boundary(void)
{
	CUdeviceptr all, rest;

	open_context();
	say("all %d", (int)cu.cuMemAlloc_v2(&all, quota));
	say_info("info_full");
	try_over("one_more", 1);
	must(cu.cuMemFree_v2(all), "free");
	try_over("over", quota + 1);
	say("but_one %d", (int)cu.cuMemAlloc_v2(&all, quota - 512));
	try_over("two_granules", 513);
	say("last_byte %d", (int)cu.cuMemAlloc_v2(&rest, 1));
	try_over("one_more", 1);
	say_info("info_full");
	must(cu.cuMemFree_v2(rest), "free");
	must(cu.cuMemFree_v2(all), "free");
	say_info("info_empty");
	check_and_wait("at_end");
}

/* Between a free that fails and one that does not, the bytes are not to be had by others. */
static void refused_free(void)
{
	CUdeviceptr all;

	open_context();
	must(cu.cuMemAlloc_v2(&all, quota), "alloc");
	check_and_wait("filled");
	say("free %d", (int)cu.cuMemFree_v2(all));
	say("alloc %d", (int)alloc(1));
	say("free %d", (int)cu.cuMemFree_v2(all));
	must(cu.cuMemAlloc_v2(&all, quota), "alloc");
	say("alloc 0");
	must(cu.cuMemFree_v2(all), "free");
	check_and_wait("at_end");
}

/* Streams stand at a gate until the program opens it. */
static sem_t gate;

static void wait_at_gate(void *data)
{
	(void)data;
	while (sem_wait(&gate) != 0)
		;
}

static void open_gate(CUstream stream)
{
	sem_post(&gate);
	must(cu.cuStreamSynchronize(stream), "cuStreamSynchronize");
}

/* All of the quota, freed on a stream that does not get there until the test has looked. */
static void free_behind_gate(__typeof__(cuMemFreeAsync) *free_async, CUstream gated, CUstream given)
{
	CUdeviceptr all;

	must(cu.cuMemAlloc_v2(&all, quota), "alloc");
	must(cu.cuLaunchHostFunc(gated, wait_at_gate, NULL), "cuLaunchHostFunc");
	say("free %d", (int)free_async(all, given));
	try_over("over", 1);
	say_info("info_pending");
	check_and_wait("pending");
	open_gate(gated);
	say_info("info_reached");
}

/* Many at once, on top of what is in use; the first further free after the gate sees some. */
static void free_many_behind_gate(CUstream stream)
{
	enum { MANY = 1000 };
	CUdeviceptr parts[MANY];

	for (unsigned i = 0; i < MANY; i++)
		must(cu.cuMemAlloc_v2(&parts[i], 512), "alloc");
	must(cu.cuLaunchHostFunc(stream, wait_at_gate, NULL), "cuLaunchHostFunc");
	for (unsigned i = 0; i < MANY; i++)
		must(cu.cuMemFreeAsync(parts[i], stream), "cuMemFreeAsync");
	say("many_pending %llu", used_bytes(0));
	open_gate(stream);
	say("read_reached %llu", used_bytes(0));
	say_info("info_reached");
}

/* Soon enough for the next allocation to wait for it, unless the computer is busy. */
static CUresult wait_for_a_free(CUdeviceptr *all, CUstream stream)
{
	for (;;) {
		uint64_t begun_ns = now_ns();
		must(cu.cuLaunchHostFunc(stream, pause_2_ms, NULL), "cuLaunchHostFunc");
		must(cu.cuMemFreeAsync(*all, stream), "cuMemFreeAsync");
		CUresult res = cu.cuMemAlloc_v2(all, quota);
		must(cu.cuStreamSynchronize(stream), "cuStreamSynchronize");
		if (res == CUDA_SUCCESS || !pause_was_late(begun_ns))
			return res;
		must(cu.cuMemAlloc_v2(all, quota), "alloc");
	}
}

static void free_async(void)
{
	__typeof__(cuMemFreeAsync) *free_async_ptsz;
	CUdeviceptr all;
	CUstream stream;

	*(void **)&free_async_ptsz = dlsym(RTLD_DEFAULT, "cuMemFreeAsync_ptsz");
	must_be(free_async_ptsz != NULL, "cuMemFreeAsync_ptsz");
	open_context();
	must(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
	free_behind_gate(cu.cuMemFreeAsync, stream, stream);
	free_behind_gate(cu.cuMemFreeAsync, NULL, NULL);
	free_behind_gate(free_async_ptsz, CU_STREAM_PER_THREAD, NULL);
	free_many_behind_gate(stream);

	must(cu.cuMemAlloc_v2(&all, quota), "alloc");
	say("waited %d", (int)wait_for_a_free(&all, stream));

	/* What has been reached but not been looked at goes with the context. */
	must(cu.cuMemFreeAsync(all, stream), "cuMemFreeAsync");
	must(cu.cuCtxDestroy_v2(context), "cuCtxDestroy");
	check_and_wait("at_end");
}

/* Frees in stream order, the second of which asks for the first, while another stream captures; the
 * calls behind them may fail. */
static void free_async_beside_capture(void)
{
	CUdeviceptr all, halves[2];
	CUstream stream, captured;
	CUgraph graph;

	open_context();
	must(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
	must(cu.cuStreamCreate(&captured, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
	must(cu.cuMemAlloc_v2(&halves[0], quota / 2), "alloc");
	must(cu.cuMemAlloc_v2(&halves[1], quota / 2), "alloc");
	must(cu.cuStreamBeginCapture_v2(captured, CU_STREAM_CAPTURE_MODE_GLOBAL), "begin");
	say("free %d", (int)cu.cuMemFreeAsync(halves[0], stream));
	say("free %d", (int)cu.cuMemFreeAsync(halves[1], stream));
	say("end_capture %d", (int)cu.cuStreamEndCapture(captured, &graph));
	must(cu.cuStreamSynchronize(stream), "cuStreamSynchronize");
	say_info("info_reached");
	say("again %d", (int)cu.cuMemAlloc_v2(&all, quota));
	say("free %d", (int)cu.cuMemFreeAsync(all, NULL));
	check_and_wait("at_end");
}

/* The total of each device, and whether a byte more than that is refused there. */
static void devices(void)
{
	int count;

	must(cu.cuInit(0), "cuInit");
	must(cu.cuDeviceGetCount(&count), "count");
	for (int i = 0; i < count; i++) {
		size_t total;
		CUdeviceptr address;
		must(cu.cuDeviceTotalMem_v2(&total, i), "total");
		must(cu.cuCtxCreate_v2(&context, 0, i), "cuCtxCreate");
		CUresult over = cu.cuMemAlloc_v2(&address, total + 1);
		CUresult half = cu.cuMemAlloc_v2(&address, total / 2);
		say("device %d %zu %d %d", i, total, (int)over, (int)half);
		must(cu.cuCtxDestroy_v2(context), "cuCtxDestroy");
	}
}

int main(int argc, char *argv[])
{
	const char *what = argc > 1 ? argv[1] : "";

	functions_from_link(&cu);
	quota = argument(argc, argv, 2, 0);
	if (strcmp(what, "random") == 0)
		at_random(argument(argc, argv, 3, 100000));
	else if (strcmp(what, "contexts") == 0)
		contexts();
	else if (strcmp(what, "detach") == 0)
		detach();
	else if (strcmp(what, "boundary") == 0)
		boundary();
	else if (strcmp(what, "refused_free") == 0)
		refused_free();
	else if (strcmp(what, "free_async") == 0)
		free_async();
	else if (strcmp(what, "free_async_beside_capture") == 0)
		free_async_beside_capture();
	else if (strcmp(what, "devices") == 0)
		devices();
	else
		return 2;
	return 0;
}
