/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_partition_moments gated | cancelled | second_device | at_once | newcomers |
 *                                 broken
 *
 * Programs whose partition is made at a bad moment.
 */
#include "client.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static CUcontext primary;

static void open_without_work(void)
{
	must(cuInit(0), "cuInit");
	must(cuDevicePrimaryCtxRetain(&primary, 0), "primary");
	must(cuCtxSetCurrent(primary), "current");
}

/* Brings work by the default stream. */
static void work(void)
{
	CUdeviceptr data;

	must(cuMemAlloc_v2(&data, 512), "memory");
	must(cuMemsetD8_v2(data, 0, 512), "fill");
	must(cuStreamSynchronize(NULL), "synchronize");
	must(cuMemFree_v2(data), "free");
}

/* Tools put something around pthread_create(): here new threads wait for whoever has the gate. */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static _Atomic bool is_gated;
static _Atomic unsigned held_up;

struct start {
	void *(*run)(void *data);
	void *data;
};

static void *run_behind_gate(void *data)
{
	struct start start = *(struct start *)data;

	free(data);
	atomic_fetch_add(&held_up, 1);
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
	void *result = start.run(start.data);
	atomic_fetch_sub(&held_up, 1);
	return result;
}

/* In place of libc's, for whatever is loaded. */
__attribute__((visibility("default"))) int pthread_create(pthread_t *restrict ret_thread,
	const pthread_attr_t *restrict attributes, void *(*run)(void *data), void *restrict data)
{
	static __typeof__(pthread_create) *next;

	if (next == NULL)
		next = (__typeof__(next))dlsym(RTLD_NEXT, "pthread_create");
	if (!atomic_load(&is_gated))
		return next(ret_thread, attributes, run, data);
	struct start *start = malloc(sizeof(*start));
	must_be(start != NULL, "memory");
	*start = (struct start){run, data};
	return next(ret_thread, attributes, run_behind_gate, start);
}

static void gated(void)
{
	CUstream stream;
	int sms;

	open_without_work();
	atomic_store(&is_gated, true);
	pthread_mutex_lock(&gate);
	must(cuStreamCreate(&stream, CU_STREAM_DEFAULT), "stream");
	say("held_up %u", atomic_load(&held_up));
	pthread_mutex_unlock(&gate);
	work();
	while (atomic_load(&held_up) != 0)
		sched_yield();
	must(cuDeviceGetAttribute(&sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0), "SMs");
	say("told %d", sms);
}

static void *be_cancelled(void *data)
{
	CUstream stream;

	must(cuCtxSetCurrent(primary), "current");
	atomic_store((_Atomic bool *)data, true);
	must(cuStreamCreate(&stream, CU_STREAM_DEFAULT), "stream");
	for (;;)
		pthread_testcancel();
	return NULL;
}

/* A thread that is to end while it makes the partition for all. */
static void cancelled(void)
{
	_Atomic bool is_there = false;
	pthread_t thread;
	void *result;

	open_without_work();
	must_be(pthread_create(&thread, NULL, be_cancelled, (void *)&is_there) == 0, "a thread");
	while (!atomic_load(&is_there))
		sched_yield();
	usleep(20000);
	must_be(pthread_cancel(thread) == 0, "cancel");
	work();
	must_be(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED, "its end");
	say("over 1");
}

static void *begin_second_device(void *data)
{
	CUcontext second;
	CUstream stream;
	int sms;

	must(cuDevicePrimaryCtxRetain(&second, 1), "primary");
	must(cuCtxSetCurrent(second), "current");
	must(cuStreamCreate(&stream, CU_STREAM_DEFAULT), "stream");
	must(cuDeviceGetAttribute(&sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 1), "SMs");
	say("%s_told %d", (const char *)data, sms);
	must(cuCtxSetCurrent(primary), "current");
	must(cuDevicePrimaryCtxReset_v2(1), "reset");
	return NULL;
}

/* The other device's partition is made while this one's stream is captured as strictly as can be,
 * by the thread that captures and by another one. */
static void second_device(void)
{
	pthread_t thread;
	CUgraph graph;
	CUstream stream;
	CUdeviceptr data;
	size_t nodes;

	open_without_work();
	must(cuMemAlloc_v2(&data, 512), "memory");
	must(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "stream");
	for (unsigned i = 0; i < 2; i++) {
		must(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL), "begin");
		must(cuMemsetD8Async(data, 0, 512, stream), "fill");
		if (i == 0)
			begin_second_device("same");
		else
			must_be(pthread_create(&thread, NULL, begin_second_device, "other") == 0 &&
					pthread_join(thread, NULL) == 0,
				"a thread");
		must(cuStreamEndCapture(stream, &graph), "end");
		must(cuGraphGetNodes(graph, NULL, &nodes), "nodes");
		say("nodes_%u %zu", i, nodes);
		must(cuGraphDestroy(graph), "destroy");
	}
}

#define FIRST 8

static pthread_barrier_t together;
static CUdeviceptr shared;

static void *bring_first_work(void *data)
{
	const unsigned which = (unsigned)(uintptr_t)data;
	CUstream stream = NULL;

	must(cuCtxSetCurrent(primary), "current");
	pthread_barrier_wait(&together);
	if (which % 2 == 1)
		must(cuStreamCreate(&stream, CU_STREAM_DEFAULT), "stream");
	else if (which % 4 == 2)
		stream = CU_STREAM_PER_THREAD;
	must(cuMemsetD8Async(shared, 0, 512, stream), "fill");
	must(cuStreamSynchronize(stream), "synchronize");
	return NULL;
}

/* Each thread's first work is the device's, as far as it knows. */
static void at_once(void)
{
	pthread_t threads[FIRST];

	open_without_work();
	must(cuMemAlloc_v2(&shared, 512), "memory");
	pthread_barrier_init(&together, NULL, FIRST);
	for (unsigned i = 0; i < FIRST; i++)
		must_be(pthread_create(&threads[i], NULL, bring_first_work, (void *)(uintptr_t)i) ==
				0,
			"a thread");
	for (unsigned i = 0; i < FIRST; i++)
		must_be(pthread_join(threads[i], NULL) == 0, "its end");
	say("over 1");
}

#define NEWCOMERS 1000

static struct {
	pthread_t thread;
	CUstream stream;
} newcomers[NEWCOMERS];
static _Atomic bool is_open;

static void *make_first_stream(void *data)
{
	must(cuCtxSetCurrent(primary), "current");
	must(cuStreamCreate((CUstream *)data, CU_STREAM_DEFAULT), "stream");
	atomic_store(&is_open, true);
	return NULL;
}

static void *make_stream(void *data)
{
	must(cuCtxSetCurrent(primary), "current");
	must(cuStreamCreate((CUstream *)data, CU_STREAM_DEFAULT), "stream");
	return NULL;
}

/* Threads that begin all the while, and may get what an ended one had: its stack, and with it what
 * pthread_self() says. Each has a stream of its own, and keeps it. */
static void begin_all_the_while(void)
{
	pthread_t first;
	CUstream first_stream;
	unsigned count = 0, flags;

	open_without_work();
	must(cuMemAlloc_v2(&shared, 512), "memory");
	must_be(pthread_create(&first, NULL, make_first_stream, (void *)&first_stream) == 0,
		"a thread");
	while (!atomic_load(&is_open) && count < NEWCOMERS) {
		must_be(pthread_create(&newcomers[count].thread, NULL, make_stream,
				(void *)&newcomers[count].stream) == 0,
			"a thread");
		count++;
		usleep(3000);
	}
	must_be(pthread_join(first, NULL) == 0, "its end");
	for (unsigned i = 0; i < count; i++)
		must_be(pthread_join(newcomers[i].thread, NULL) == 0, "its end");
	for (unsigned i = 0; i < count; i++) {
		must_be(newcomers[i].stream != first_stream, "a stream of its own");
		for (unsigned j = 0; j < i; j++)
			must_be(newcomers[i].stream != newcomers[j].stream, "a stream for each");
		must(cuStreamGetFlags(newcomers[i].stream, &flags), "flags");
		must_be(flags == CU_STREAM_DEFAULT, "a stream as it was asked for");
		must(cuMemsetD8Async(shared, 0, 512, newcomers[i].stream), "fill");
		must(cuStreamSynchronize(newcomers[i].stream), "synchronize");
	}
	say("many %d", count > 10);
}

/* The test has the driver answer that the context is of no use any more. */
static void broken(void)
{
	CUstream stream;

	open_without_work();
	work();
	say("ready");
	(void)getchar();
	say("answer %d", (int)cuStreamCreate(&stream, CU_STREAM_DEFAULT));
}

int main(int argc, char *argv[])
{
	static const struct {
		const char *name;
		void (*run)(void);
	} all[] = {{"gated", gated}, {"cancelled", cancelled}, {"second_device", second_device},
		{"at_once", at_once}, {"newcomers", begin_all_the_while}, {"broken", broken}};
	const char *what = argc > 1 ? argv[1] : "";

	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (strcmp(what, all[i].name) == 0) {
			all[i].run();
			return 0;
		}
	}
	must_be(false, "see the usage");
	return 3;
}
