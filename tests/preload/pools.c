/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_pools WHAT QUOTA [OPERATIONS]
 *
 * Stream-ordered memory under a quota of QUOTA bytes; the tests compare what is used by cuslice.h
 * with the account of the machine, where pools take 2 MiB at a time unless the test says otherwise.
 */
#include "client.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 4
#define SLOTS   32 /* that a thread may hold */

static struct functions cu;
static __typeof__(cuMemAllocAsync) *alloc_async_ptsz;
static __typeof__(cuMemAllocFromPoolAsync) *alloc_from_pool_ptsz;
static __typeof__(cuMemFreeAsync) *free_async_ptsz;
static uint64_t quota;
static CUcontext context;
static pthread_barrier_t barrier;

/* Until the test has looked at the account. What pools gave back by themselves shows once it is
 * asked for. */
static void settle_and_wait(const char *key)
{
	size_t free_bytes, total_bytes;

	must(cu.cuMemGetInfo_v2(&free_bytes, &total_bytes), "cuMemGetInfo");
	if (free_bytes != quota - used_bytes(0))
		say("free %zu, used %llu", free_bytes, used_bytes(0));
	must_be(free_bytes == quota - used_bytes(0), "free is what is not used");
	wait_for_test(key);
}

static void open_context(void)
{
	must(cu.cuInit(0), "cuInit");
	must(cu.cuDevicePrimaryCtxRetain(&context, 0), "retain");
	must(cu.cuCtxSetCurrent(context), "cuCtxSetCurrent");
}

static CUmemoryPool make_pool(size_t max_bytes)
{
	CUmemPoolProps props = {
		.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
		.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0},
		.maxSize = max_bytes,
	};
	CUmemoryPool pool;

	must(cu.cuMemPoolCreate(&pool, &props), "cuMemPoolCreate");
	return pool;
}

/* As PyTorch and RMM do. */
static void keep_all(CUmemoryPool pool)
{
	cuuint64_t threshold = UINT64_MAX;

	must(cu.cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold),
		"threshold");
}

static CUmemoryPool default_pool(void)
{
	CUmemoryPool pool;

	must(cu.cuDeviceGetDefaultMemPool(&pool, 0), "cuDeviceGetDefaultMemPool");
	return pool;
}

static CUstream make_stream(void)
{
	CUstream stream;

	must(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
	return stream;
}

static CUdeviceptr take(size_t bytes, CUstream stream)
{
	CUdeviceptr address;

	must(cu.cuMemAllocAsync(&address, bytes, stream), "cuMemAllocAsync");
	return address;
}

/* What must be refused, and leave its output alone. */
static void try_over(const char *key, size_t bytes, CUstream stream)
{
	CUdeviceptr unset = 42;
	CUresult res = cu.cuMemAllocAsync(&unset, bytes, stream);

	say("%s %d %d", key, (int)res, (int)unset);
}

static void finish(void)
{
	must(cu.cuCtxSynchronize(), "cuCtxSynchronize");
	settle_and_wait("at_end");
}

/* Every function that allocates, once. */
static void kinds(void)
{
	CUstream stream = make_stream();
	CUmemoryPool pool = make_pool(0);
	CUdeviceptr parts[4];

	parts[0] = take(1, stream);
	settle_and_wait("current");
	must(cu.cuMemAllocFromPoolAsync(&parts[1], 1, pool, stream), "from pool");
	settle_and_wait("from_pool");
	must(alloc_async_ptsz(&parts[2], 2 * MIB, NULL), "ptsz");
	settle_and_wait("ptsz");
	must(alloc_from_pool_ptsz(&parts[3], 2 * MIB, pool, NULL), "from pool, ptsz");
	settle_and_wait("from_pool_ptsz");
	must(cu.cuMemFreeAsync(parts[0], stream), "free");
	must(cu.cuMemFree_v2(parts[1]), "free");
	must(free_async_ptsz(parts[2], NULL), "free");
	must(free_async_ptsz(parts[3], NULL), "free");
	say("no_allocation %d %d", (int)cu.cuMemFreeAsync(0x1234, stream),
		(int)cu.cuMemFree_v2(0x1234));
	say("nothing %d %d", (int)cu.cuMemAllocAsync(NULL, 1, stream),
		(int)cu.cuMemAllocAsync(&parts[0], 0, stream));
	must(cu.cuMemPoolDestroy(pool), "destroy");
	finish();
}

static void boundary(void)
{
	CUstream stream = make_stream();
	size_t chunk = 2 * MIB;
	CUdeviceptr all, part;

	must(cu.cuMemAllocAsync(&all, quota, stream), "all");
	settle_and_wait("full");
	try_over("over", 1, stream);
	say("linear %d", (int)cu.cuMemAlloc_v2(&part, 1));
	must(cu.cuMemFreeAsync(all, stream), "free");
	must(cu.cuStreamSynchronize(stream), "sync");
	try_over("over", quota + 1, stream);
	must(cu.cuMemAlloc_v2(&part, 512), "alloc");
	try_over("over", quota - chunk + 1, stream);
	all = take(quota - chunk, stream);
	settle_and_wait("rest");
	must(cu.cuMemFree_v2(part), "free");
	must(cu.cuMemFreeAsync(all, stream), "free");
	finish();
}

/* With the quota used up, what the pool keeps can be used. */
static void cached(void)
{
	CUstream stream = make_stream(), other = make_stream();
	CUmodule module;
	CUfunction kernel = load_kernel(&cu, &module);
	CUdeviceptr parts[4], linear;

	keep_all(default_pool());
	for (int i = 0; i < 4; i++)
		parts[i] = take(quota / 4, stream);
	must(cu.cuMemFreeAsync(parts[0], stream), "free");
	must(cu.cuStreamSynchronize(stream), "sync");
	settle_and_wait("kept");
	parts[0] = take(quota / 4, stream);
	/* In its own stream, before the device gets there. */
	must(launch(&cu, kernel, stream), "launch");
	must(cu.cuMemFreeAsync(parts[0], stream), "free");
	parts[0] = take(quota / 4, stream);
	settle_and_wait("reused");
	try_over("over", 1, stream);
	try_over("over", 1, other);

	/* What is kept makes room for others. */
	must(cu.cuMemFreeAsync(parts[0], stream), "free");
	must(cu.cuMemFreeAsync(parts[2], stream), "free");
	must(cu.cuStreamSynchronize(stream), "sync");
	say("linear %d", (int)cu.cuMemAlloc_v2(&linear, quota / 4));
	settle_and_wait("trimmed");
	must(cu.cuMemFreeAsync(parts[1], stream), "free");
	must(cu.cuMemFreeAsync(parts[3], stream), "free");
	must(cu.cuStreamSynchronize(stream), "sync");
	parts[0] = take(quota * 3 / 4, stream);
	settle_and_wait("moved");
	must(cu.cuMemFree_v2(linear), "free");
	must(cu.cuMemFreeAsync(parts[0], stream), "free");
	must(cu.cuMemPoolTrimTo(default_pool(), 0), "trim");
	must(cu.cuStreamSynchronize(stream), "sync");
	must(cu.cuMemPoolTrimTo(default_pool(), 0), "trim");
	say("after_trim %llu", used_bytes(0));
	finish();
}

/* One pool's kept memory goes to another pool of the process; each has marks of its own. */
static void several(void)
{
	CUstream stream = make_stream();
	CUmemoryPool pools[3];
	CUdeviceptr parts[3];

	for (int i = 0; i < 3; i++) {
		pools[i] = make_pool(0);
		keep_all(pools[i]);
		must(cu.cuMemAllocFromPoolAsync(&parts[i], quota / 4, pools[i], stream), "alloc");
	}
	settle_and_wait("three");
	must(cu.cuMemFreeAsync(parts[0], stream), "free");
	must(cu.cuMemFreeAsync(parts[1], stream), "free");
	must(cu.cuStreamSynchronize(stream), "sync");
	settle_and_wait("kept");
	must(cu.cuMemAllocFromPoolAsync(&parts[0], quota * 3 / 4, pools[2], stream), "alloc");
	settle_and_wait("taken_over");
	must(cu.cuMemFreeAsync(parts[0], stream), "free");
	must(cu.cuMemFreeAsync(parts[2], stream), "free");
	must(cu.cuStreamSynchronize(stream), "sync");
	for (int i = 0; i < 3; i++)
		must(cu.cuMemPoolDestroy(pools[i]), "destroy");
	say("after_destroy %llu", used_bytes(0));
	finish();
}

/* A pool lives on for what was allocated from it. */
static void destroyed(void)
{
	CUstream stream = make_stream();
	CUmemoryPool pool = make_pool(0), current;
	CUmodule module;
	CUfunction kernel = load_kernel(&cu, &module);
	CUdeviceptr part, unset = 42;

	keep_all(pool);
	must(cu.cuDeviceSetMemPool(0, pool), "set");
	part = take(4 * MIB, stream);
	must(cu.cuMemPoolDestroy(pool), "destroy");
	must(cu.cuDeviceGetMemPool(&current, 0), "get");
	say("is_default %d", current == default_pool());
	say("again %d %d %d", (int)cu.cuMemPoolDestroy(pool),
		(int)cu.cuMemAllocFromPoolAsync(&unset, 1, pool, stream), (int)unset);
	settle_and_wait("destroyed");
	must(launch(&cu, kernel, stream), "launch");
	must(cu.cuMemFreeAsync(part, stream), "free");
	settle_and_wait("pending");
	must(cu.cuStreamSynchronize(stream), "sync");
	settle_and_wait("freed");
	say("default %d", (int)cu.cuMemPoolDestroy(default_pool()));
	finish();
}

static void contexts(void)
{
	take(quota, NULL);
	settle_and_wait("full");
	must(cu.cuDevicePrimaryCtxReset_v2(0), "reset");
	say("after_reset %llu", used_bytes(0));
	must(cu.cuDevicePrimaryCtxRetain(&context, 0), "retain");
	must(cu.cuCtxSetCurrent(context), "cuCtxSetCurrent");
	settle_and_wait("reset");
	take(quota, NULL);
	must(cu.cuDevicePrimaryCtxRelease_v2(0), "release");
	must(cu.cuDevicePrimaryCtxRetain(&context, 0), "retain");
	must(cu.cuCtxSetCurrent(context), "cuCtxSetCurrent");
	finish();
}

/* Which stream a NULL means: its own thread's, where another thread's is busy; the legacy one waits
 * for that. */
static void *work_long(void *kernel)
{
	must(cu.cuCtxSetCurrent(context), "cuCtxSetCurrent");
	must(launch(&cu, kernel, CU_STREAM_PER_THREAD), "launch");
	pthread_barrier_wait(&barrier);
	must(cu.cuStreamSynchronize(CU_STREAM_PER_THREAD), "sync");
	return NULL;
}

static void free_beside(CUfunction kernel, __typeof__(cuMemFreeAsync) *free, const char *key)
{
	pthread_t thread;
	CUdeviceptr linear, again;

	must(cu.cuMemAlloc_v2(&linear, quota), "alloc");
	must_be(pthread_create(&thread, NULL, work_long, kernel) == 0, "thread");
	pthread_barrier_wait(&barrier);
	must(free(linear, NULL), "free");
	must(cu.cuStreamSynchronize(CU_STREAM_PER_THREAD), "sync");
	CUresult res = cu.cuMemAlloc_v2(&again, quota);
	say("%s %d", key, (int)res);
	pthread_join(thread, NULL);
	must(cu.cuCtxSynchronize(), "cuCtxSynchronize");
	if (res == CUDA_SUCCESS)
		must(cu.cuMemFree_v2(again), "free");
}

/* What is needed of a driver may be missing or fail: the program goes on. */
static void at_all(void)
{
	CUstream stream = make_stream();
	CUdeviceptr part = 0;

	for (int i = 0; i < 100; i++) {
		CUresult res = cu.cuMemAllocAsync(&part, MIB, stream);
		if (res != CUDA_SUCCESS)
			say("alloc %d", (int)res);
		else
			must(cu.cuMemFreeAsync(part, stream), "free");
	}
	must(cu.cuStreamSynchronize(stream), "sync");
	say("done");
}

struct worker {
	pthread_t thread;
	unsigned seed;
	unsigned long operations;
	CUmemoryPool own;
	CUstream stream;
	CUdeviceptr held[SLOTS];
};

static CUmemoryPool shared_pool;
static atomic_uint granted, refused, mistakes;

static unsigned next_random(unsigned *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

static CUresult alloc_some(struct worker *worker, CUdeviceptr *ret_address)
{
	unsigned *seed = &worker->seed;
	size_t bytes = 1 + next_random(seed) % (8 * MIB);

	switch (next_random(seed) % 6) {
	case 0:
		return cu.cuMemAlloc_v2(ret_address, bytes);
	case 1:
		return cu.cuMemAllocFromPoolAsync(ret_address, bytes, shared_pool, worker->stream);
	case 2:
		return alloc_from_pool_ptsz(ret_address, bytes, worker->own, NULL);
	case 3:
		return alloc_async_ptsz(ret_address, bytes, NULL);
	default:
		return cu.cuMemAllocAsync(ret_address, bytes, worker->stream);
	}
}

static CUresult free_one(struct worker *worker, CUdeviceptr *address)
{
	CUdeviceptr freed = *address;

	*address = 0;
	switch (next_random(&worker->seed) % 4) {
	case 0:
		return cu.cuMemFree_v2(freed);
	case 1:
		return free_async_ptsz(freed, NULL);
	default:
		return cu.cuMemFreeAsync(freed, worker->stream);
	}
}

static void other_step(struct worker *worker)
{
	size_t free_bytes, total_bytes;

	switch (next_random(&worker->seed) % 5) {
	case 0:
		must(cu.cuStreamSynchronize(worker->stream), "sync");
		break;
	case 1:
		must(cu.cuMemPoolTrimTo(shared_pool, next_random(&worker->seed) % (16 * MIB)),
			"trim");
		break;
	case 2:
		must(cu.cuMemGetInfo_v2(&free_bytes, &total_bytes), "info");
		break;
	case 3:
		must(cu.cuMemPoolDestroy(worker->own), "destroy");
		worker->own = make_pool(0);
		if (next_random(&worker->seed) % 2 == 0)
			keep_all(worker->own);
		break;
	default:
		must(cu.cuDeviceSetMemPool(
			     0, next_random(&worker->seed) % 2 ? shared_pool : default_pool()),
			"set");
		break;
	}
}

static void step(struct worker *worker)
{
	CUdeviceptr *held = &worker->held[next_random(&worker->seed) % SLOTS];

	if (next_random(&worker->seed) % 8 == 0) {
		other_step(worker);
	} else if (*held != 0) {
		if (free_one(worker, held) != CUDA_SUCCESS)
			atomic_fetch_add(&mistakes, 1);
	} else {
		CUresult res = alloc_some(worker, held);
		if ((res == CUDA_SUCCESS) != (*held != 0))
			atomic_fetch_add(&mistakes, 1);
		if (res != CUDA_SUCCESS && res != CUDA_ERROR_OUT_OF_MEMORY)
			atomic_fetch_add(&mistakes, 1);
		atomic_fetch_add(res == CUDA_SUCCESS ? &granted : &refused, 1);
	}
}

static void *work(void *data)
{
	struct worker *worker = data;

	must(cu.cuCtxSetCurrent(context), "cuCtxSetCurrent");
	worker->stream = make_stream();
	worker->own = make_pool(0);
	for (unsigned long i = 0; i < worker->operations; i++)
		step(worker);
	pthread_barrier_wait(&barrier); /* main looks at the books */
	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; i < SLOTS; i++) {
		if (worker->held[i] != 0 && free_one(worker, &worker->held[i]) != CUDA_SUCCESS)
			atomic_fetch_add(&mistakes, 1);
	}
	must(cu.cuCtxSynchronize(), "cuCtxSynchronize");
	must(cu.cuMemPoolDestroy(worker->own), "destroy");
	return NULL;
}

static void at_random(unsigned long operations)
{
	static struct worker workers[THREADS];

	keep_all(default_pool());
	shared_pool = make_pool(0);
	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){.seed = i, .operations = operations / THREADS};
		must_be(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0, "thread");
	}
	pthread_barrier_wait(&barrier);
	must(cu.cuCtxSynchronize(), "cuCtxSynchronize");
	settle_and_wait("at_rest");
	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	must(cu.cuMemPoolTrimTo(default_pool(), 0), "trim");
	must(cu.cuMemPoolDestroy(shared_pool), "destroy");
	say("operations %u %u", atomic_load(&granted), atomic_load(&refused));
	say("mistakes %u", atomic_load(&mistakes));
	finish();
}

static void per_thread(void)
{
	CUmodule module;
	CUfunction kernel = load_kernel(&cu, &module);

	pthread_barrier_init(&barrier, NULL, 2);
	free_beside(kernel, free_async_ptsz, "ptsz_beside_busy");
	free_beside(kernel, cu.cuMemFreeAsync, "legacy_beside_busy");
	finish();
}

/* Memory, refusals and a context while another stream captures: our own questions must not spoil
 * that. */
static void beside_capture(void)
{
	CUstream stream = make_stream(), captured = make_stream();
	CUcontext more;
	CUgraph graph;

	must(cu.cuStreamBeginCapture_v2(captured, CU_STREAM_CAPTURE_MODE_GLOBAL), "begin");
	CUdeviceptr address = take(3 * MIB, stream);
	try_over("over", quota, stream);
	must(cu.cuMemFreeAsync(address, stream), "cuMemFreeAsync");
	must(cu.cuCtxCreate_v2(&more, 0, 0), "cuCtxCreate");
	must(cu.cuCtxDestroy_v2(more), "cuCtxDestroy");
	say("end_capture %d", (int)cu.cuStreamEndCapture(captured, &graph));
	finish();
}

/* A pool has 16 MiB in use, and 30 more are freed behind a long kernel. 16 asked for behind another
 * do not fit, neither into the pool, which is tried because something of it was freed, and must be
 * given back there, nor beside it: both are worth a wait. Says how long the refusal took. */
static void two_waits(void)
{
	CUstream streams[2] = {make_stream(), make_stream()};
	struct timespec start, end;
	CUdeviceptr linear;
	CUmodule module;
	CUfunction kernel = load_kernel(&cu, &module);

	must(cu.cuMemAlloc_v2(&linear, 30 * MIB), "cuMemAlloc");
	(void)take(16 * MIB, streams[0]);
	CUdeviceptr small = take(MIB, streams[0]);
	must(launch(&cu, kernel, streams[0]), "launch");
	must(launch(&cu, kernel, streams[1]), "launch");
	must(cu.cuMemFreeAsync(small, streams[0]), "cuMemFreeAsync");
	must(cu.cuMemFreeAsync(linear, streams[0]), "cuMemFreeAsync");
	clock_gettime(CLOCK_MONOTONIC, &start);
	try_over("over", 16 * MIB, streams[1]);
	clock_gettime(CLOCK_MONOTONIC, &end);
	say("took_us %lld", (long long)(end.tv_sec - start.tv_sec) * 1000000 +
				    (end.tv_nsec - start.tv_nsec) / 1000);
}

int main(int argc, char *argv[])
{
	const char *what = argc > 1 ? argv[1] : "";

	functions_from_link(&cu);
	*(void **)&alloc_async_ptsz = dlsym(RTLD_DEFAULT, "cuMemAllocAsync_ptsz");
	*(void **)&alloc_from_pool_ptsz = dlsym(RTLD_DEFAULT, "cuMemAllocFromPoolAsync_ptsz");
	*(void **)&free_async_ptsz = dlsym(RTLD_DEFAULT, "cuMemFreeAsync_ptsz");
	must_be(alloc_async_ptsz && alloc_from_pool_ptsz && free_async_ptsz, "_ptsz");
	quota = argument(argc, argv, 2, 0);
	open_context();
	if (strcmp(what, "kinds") == 0)
		kinds();
	else if (strcmp(what, "boundary") == 0)
		boundary();
	else if (strcmp(what, "cached") == 0)
		cached();
	else if (strcmp(what, "several") == 0)
		several();
	else if (strcmp(what, "destroyed") == 0)
		destroyed();
	else if (strcmp(what, "contexts") == 0)
		contexts();
	else if (strcmp(what, "beside_capture") == 0)
		beside_capture();
	else if (strcmp(what, "two_waits") == 0)
		two_waits();
	else if (strcmp(what, "per_thread") == 0)
		per_thread();
	else if (strcmp(what, "at_all") == 0)
		at_all();
	else if (strcmp(what, "random") == 0)
		at_random(argument(argc, argv, 3, 10000));
	else
		return 2;
	return 0;
}
