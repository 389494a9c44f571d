/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_partition_life fork | use | release | devices | threads | memory | many COUNT |
 *                              share | dynamic_early | dynamic_late | errors | synchronous |
 *                              races ROUNDS
 *
 * Programs whose life is not that of one device, one context and one thread. Those that bring work
 * say how many SMs it used, `memory` and `errors` what the driver answers, `races` whether the work
 * of two threads comes in the order that they agreed on.
 */
#include "client.h"
#include "partition.h"
#include "partition_gpu.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY_MAX 1024

static unsigned sms_used(const struct gpu *gpu)
{
	bring_work(gpu, NULL);
	return sms_of(gpu);
}

static void wait_for_child(pid_t child)
{
	int status = 0;

	must_be(child > 0 && waitpid(child, &status, 0) == child, "waitpid");
	must_be(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child's end");
}

static void use(const char *who)
{
	struct gpu gpu = begin();

	say("%s %u", who, sms_used(&gpu));
}

/* Before CUDA is used, after it in a program of its own, and the parent itself. */
static void fork_children(void)
{
	pid_t child = fork();

	if (child == 0) {
		use("forked");
		_exit(0);
	}
	wait_for_child(child);
	struct gpu gpu = begin();
	say("parent %u", sms_used(&gpu));
	child = fork();
	if (child == 0) {
		_exit(cuStreamSynchronize(NULL) == CUDA_ERROR_NOT_INITIALIZED ? 0 : 1);
	}
	wait_for_child(child);
	child = fork();
	if (child == 0) {
		execl("/proc/self/exe", "client_partition_life", "use", (char *)NULL);
		_exit(1);
	}
	wait_for_child(child);
	say("after %u", sms_used(&gpu));
}

static void release(void)
{
	struct gpu gpu = begin();

	say("before %u", sms_used(&gpu));
	for (unsigned i = 0; i < 3; i++) {
		must(cuDevicePrimaryCtxRelease_v2(0), "release");
		open_gpu(&gpu, 0);
		say("after_%u %u", i, sms_used(&gpu));
	}
}

/* Streams of one device are asked and waited for while the other one's context is current. */
static void devices(void)
{
	struct gpu gpus[2];
	CUstream streams[2];

	must(cuInit(0), "cuInit");
	for (int i = 0; i < 2; i++) {
		int sms;
		open_gpu(&gpus[i], i);
		must(cuStreamCreate(&streams[i], CU_STREAM_DEFAULT), "stream");
		must(cuDeviceGetAttribute(&sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, i),
			"SMs");
		say("told_%d %d", i, sms);
	}
	for (unsigned round = 0; round < 3; round++) {
		for (int i = 0; i < 2; i++) {
			must(cuCtxSetCurrent(gpus[i].primary), "current");
			bring_work(&gpus[i], streams[i]);
			must(cuCtxSetCurrent(gpus[1 - i].primary), "current");
			must(cuStreamSynchronize(streams[i]), "synchronize");
			must(cuCtxSetCurrent(gpus[i].primary), "current");
			say("sms_%d_%u %u", i, round, sms_of(&gpus[i]));
		}
	}
}

/* What the program is told of its share, and when it wants less. */
static void share(void)
{
	int (*tighten)(int, uint32_t);
	struct gpu gpu = begin();

	say("before %u", read_slice(0).share_ppm);
	bring_work(&gpu, NULL);
	say("at_work %u", read_slice(0).share_ppm);
	*(void **)&tighten = dlsym(RTLD_DEFAULT, "cuslice_tighten_compute");
	must_be(tighten != NULL && tighten(0, 100000) == 0, "a smaller share");
	say("tightened %u", read_slice(0).share_ppm);
}

struct worker {
	struct gpu *gpu;
	CUstream stream;
};

static void *work(void *data)
{
	struct worker *worker = data;

	must(cuCtxSetCurrent(worker->gpu->primary), "current");
	for (unsigned i = 0; i < 16; i++)
		bring_work(worker->gpu, worker->stream);
	must(cuStreamSynchronize(worker->stream), "synchronize");
	return NULL;
}

static void threads(void)
{
	struct gpu gpu = begin();
	struct worker workers[8];
	pthread_t ids[8];

	for (unsigned i = 0; i < 8; i++) {
		workers[i] = (struct worker){&gpu, i == 7 ? CU_STREAM_PER_THREAD : NULL};
		if (i < 6)
			must(cuStreamCreate(&workers[i].stream, i % 2), "stream");
	}
	for (unsigned i = 0; i < 8; i++)
		must_be(pthread_create(&ids[i], NULL, work, &workers[i]) == 0, "a thread");
	for (unsigned i = 0; i < 8; i++)
		pthread_join(ids[i], NULL);
	say("sms %u", sms_of(&gpu));
}

static void say_memory(const char *when)
{
	size_t left, total;

	must(cuMemGetInfo_v2(&left, &total), "info");
	say("%s %zu of %zu", when, left, total);
}

/* The same calls with and without a partition have to have the same answers. */
static void memory(void)
{
	static const size_t sizes[] = {1, 511, 4096, 5 * MIB, 33 * MIB + 1, 64 * MIB};
	CUdeviceptr held[64], pooled;
	CUstream stream;
	struct gpu gpu = begin();
	unsigned count = 0;

	say_memory("opened");
	say("sms %u", sms_used(&gpu));
	must(cuStreamCreate(&stream, CU_STREAM_DEFAULT), "stream");
	must(cuMemAllocAsync(&pooled, 3 * MIB, stream), "pool");
	say_memory("pooled");
	while (count < 64) {
		CUresult result = cuMemAlloc_v2(&held[count], sizes[count % 6]);
		if (result != CUDA_SUCCESS) {
			say("refused %u %d", count, (int)result);
			break;
		}
		count++;
	}
	say_memory("full");
	for (unsigned i = 0; i < count; i += 2)
		must(cuMemFree_v2(held[i]), "free");
	say_memory("half");
	must(cuMemFreeAsync(pooled, stream), "free");
	must(cuStreamSynchronize(stream), "synchronize");
	must(cuStreamDestroy_v2(stream), "destroy");
	for (unsigned i = 1; i < count; i += 2)
		must(cuMemFree_v2(held[i]), "free");
	say_memory("empty");
}

static void say_waited_for(const char *key, CUresult result)
{
	must(result, key);
	say("%s %d", key, (int)cuStreamQuery(NULL));
	must(cuCtxSynchronize(), "synchronize");
}

/* Within a device a call without a stream comes back before what it began is over, unless the
 * program wants it otherwise: for all of an allocation, or for all of a context. */
static void synchronous(void)
{
	static const unsigned yes = 1, no = 0;
	const size_t bytes = 32 * MIB;
	CUdeviceptr all[2];
	struct gpu gpu = begin();

	(void)gpu;
	for (unsigned i = 0; i < 2; i++)
		must(cuMemAlloc_v2(&all[i], bytes), "memory");
	say_waited_for("copied", cuMemcpyDtoD_v2(all[0], all[1], bytes));
	say_waited_for("filled", cuMemsetD8_v2(all[0], 0, bytes));
	for (unsigned i = 0; i < 2; i++) {
		must(cuPointerSetAttribute(&yes, CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, all[i]), "set");
		say_waited_for(i == 0 ? "copied_to" : "copied_from",
			cuMemcpyDtoD_v2(all[0], all[1], bytes));
		say_waited_for(
			i == 0 ? "filled_it" : "filled_other", cuMemsetD8_v2(all[0], 0, bytes));
		must(cuPointerSetAttribute(&no, CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, all[i]), "set");
	}
	must(cuCtxSetFlags(CU_CTX_SYNC_MEMOPS), "flags");
	say_waited_for("copied_in", cuMemcpyDtoD_v2(all[0], all[1], bytes));
	say_waited_for("filled_in", cuMemsetD8_v2(all[0], 0, bytes));
}

/* Loading code that launches kernels from kernels opens a way out; `is_early`: before there is a
 * partition. */
static void dynamic(bool is_early)
{
	static const char launching[] = ".version 7.0\n"
					".target sm_75\n"
					".address_size 64\n"
					".extern .func cudaLaunchDevice;\n"
					".visible .entry parent() { ret; }\n";
	CUcontext primary;
	CUmodule module;

	must(cuInit(0), "cuInit");
	must(cuDevicePrimaryCtxRetain(&primary, 0), "primary");
	must(cuCtxSetCurrent(primary), "current");
	if (is_early)
		must(cuModuleLoadData(&module, launching), "module");
	struct gpu gpu = begin();
	say("before %u", sms_used(&gpu));
	if (!is_early)
		must(cuModuleLoadData(&module, launching), "module");
	say("after %u", sms_used(&gpu));
}

static void dynamic_early(void)
{
	dynamic(true);
}

static void dynamic_late(void)
{
	dynamic(false);
}

static void *in_own_stream(void *data)
{
	struct worker *worker = data;

	must(cuCtxSetCurrent(worker->gpu->primary), "current");
	bring_work(worker->gpu, CU_STREAM_PER_THREAD);
	must(cuStreamSynchronize(CU_STREAM_PER_THREAD), "synchronize");
	/* All are alive at once: no thread has the number of another. */
	pthread_barrier_wait((pthread_barrier_t *)worker->stream);
	return NULL;
}

/* So many streams that wait for the legacy one, and so many threads with a stream of their own. */
static void many(unsigned long count)
{
	static CUstream streams[MANY_MAX];
	static struct marks marks;
	static pthread_t ids[MANY_MAX];
	struct gpu gpu = begin();
	pthread_barrier_t barrier;
	struct worker worker = {&gpu, (CUstream)&barrier};
	CUdeviceptr marked, cell;

	must_be(count <= MANY_MAX, "so many");
	must(cuMemAlloc_v2(&marked, sizeof(marks)), "memory");
	must(cuMemAlloc_v2(&cell, 4), "memory");
	must(cuMemsetD8_v2(cell, 0, 4), "clear");
	marks.cell = (const uint32_t *)(uintptr_t)cell;
	must(cuMemcpyHtoD_v2(marked, &marks, sizeof(marks)), "clear");
	for (uint32_t i = 0; i < count; i++) {
		must(cuStreamCreate(&streams[i], CU_STREAM_DEFAULT), "stream");
		must(cuLaunchKernel(gpu.mark, 1, 1, 1, 1, 1, 1, 0, streams[i],
			     (void *[]){&marked, &i}, NULL),
			"mark");
	}
	must(cuMemcpyDtoH_v2(&marks, marked, sizeof(marks)), "read");
	say("marked %u", marks.count);
	for (unsigned i = 0; i < count; i++)
		bring_work(&gpu, streams[i]);
	say("streams %u", sms_of(&gpu));
	pthread_barrier_init(&barrier, NULL, (unsigned)count);
	for (unsigned i = 0; i < count; i++)
		must_be(pthread_create(&ids[i], NULL, in_own_stream, &worker) == 0, "a thread");
	for (unsigned i = 0; i < count; i++)
		pthread_join(ids[i], NULL);
	say("threads %u", sms_of(&gpu));
	for (unsigned i = 0; i < count; i++)
		must(cuStreamDestroy_v2(streams[i]), "destroy");
}

static void answer(int line, CUresult result)
{
	say("line_%d %d", line, (int)result);
}
#define ANSWER(call) answer(__LINE__, call)

/* The legacy stream is not for them. */
static void batches(const struct gpu *gpu, CUstream stream)
{
	CUmemcpyAttributes attributes = {.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM};
	CUDA_MEMCPY3D_BATCH_OP op = {.src = {.type = CU_MEMCPY_OPERAND_TYPE_POINTER},
		.dst = {.type = CU_MEMCPY_OPERAND_TYPE_POINTER},
		.extent = {16, 1, 1},
		.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM};
	CUdeviceptr to = gpu->seen, from = gpu->seen + 64;
	size_t bytes = 16, first = 0, failed;

	op.src.op.ptr.ptr = from;
	op.dst.op.ptr.ptr = to;
	ANSWER(cuMemcpyBatchAsync_v2(&to, &from, &bytes, 1, &attributes, &first, 1, stream));
	ANSWER(cuMemcpyBatchAsync_v2_ptsz(&to, &from, &bytes, 1, &attributes, &first, 1, stream));
	ANSWER(cuMemcpyBatchAsync(&to, &from, &bytes, 1, &attributes, &first, 1, &failed, stream));
	ANSWER(cuMemcpyBatchAsync_ptsz(
		&to, &from, &bytes, 1, &attributes, &first, 1, &failed, stream));
	ANSWER(cuMemcpy3DBatchAsync_v2(1, &op, 0, stream));
	ANSWER(cuMemcpy3DBatchAsync_v2_ptsz(1, &op, 0, stream));
	ANSWER(cuMemcpy3DBatchAsync(1, &op, &failed, 0, stream));
	ANSWER(cuMemcpy3DBatchAsync_ptsz(1, &op, &failed, 0, stream));
}

static void errors(void)
{
	struct gpu gpu = begin();
	CUstream stream, gone;
	CUstreamCaptureStatus status;
	CUgraph graph;
	CUcontext context;
	CUevent event;
	unsigned flags = 42;
	int priority = 42;

	must(cuStreamCreate(&stream, CU_STREAM_DEFAULT), "stream");
	must(cuStreamCreate(&gone, CU_STREAM_DEFAULT), "stream");
	must(cuEventCreate(&event, 0), "event");
	must(cuStreamDestroy_v2(gone), "destroy");
	ANSWER(cuStreamCreate(NULL, 0));
	ANSWER(cuStreamCreate(&gone, 2));
	ANSWER(cuStreamCreateWithPriority(NULL, 0, 0));
	ANSWER(cuStreamCreateWithPriority(&gone, 8, 0));
	ANSWER(cuStreamDestroy_v2(NULL));
	ANSWER(cuStreamDestroy_v2(CU_STREAM_LEGACY));
	ANSWER(cuStreamDestroy_v2(CU_STREAM_PER_THREAD));
	ANSWER(cuStreamGetFlags(NULL, &flags));
	say("flags %u", flags);
	ANSWER(cuStreamGetFlags(CU_STREAM_PER_THREAD, &flags));
	say("flags %u", flags);
	ANSWER(cuStreamGetFlags(stream, NULL));
	ANSWER(cuStreamGetPriority(NULL, &priority));
	say("priority %d", priority);
	ANSWER(cuStreamGetPriority(stream, NULL));
	ANSWER(cuStreamGetCtx(NULL, &context));
	say("primary %d", context == gpu.primary);
	ANSWER(cuStreamGetCtx(stream, NULL));
	ANSWER(cuStreamIsCapturing(NULL, &status));
	ANSWER(cuStreamBeginCapture_v2(NULL, CU_STREAM_CAPTURE_MODE_GLOBAL));
	ANSWER(cuStreamBeginCapture_v2(CU_STREAM_LEGACY, CU_STREAM_CAPTURE_MODE_RELAXED));
	ANSWER(cuStreamEndCapture(NULL, &graph));
	ANSWER(cuStreamEndCapture(stream, &graph));
	ANSWER(cuStreamWaitEvent(stream, NULL, 0));
	ANSWER(cuStreamWaitEvent(NULL, NULL, 0));
	ANSWER(cuEventRecord(NULL, NULL));
	ANSWER(cuLaunchKernelEx(NULL, gpu.census, NULL, NULL));
	ANSWER(cuLaunchKernel(NULL, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	ANSWER(cuLaunchKernel(gpu.census, 0, 1, 1, 1, 1, 1, 0, stream, NULL, NULL));
	ANSWER(cuGraphLaunch(NULL, NULL));
	ANSWER(cuMemsetD8_v2(0, 0, 16));
	ANSWER(cuMemcpyDtoD_v2(0, gpu.seen, 16));
	ANSWER(cuMemsetD8Async(0, 0, 16, NULL));
	ANSWER(cuMemsetD32_v2(gpu.seen + 1, 0, 1));
	batches(&gpu, stream);
	say("of_thread 1");
	batches(&gpu, CU_STREAM_PER_THREAD);
	say("of_all 1");
	batches(&gpu, CU_STREAM_LEGACY);
	say("of_either 1");
	batches(&gpu, NULL);
	ANSWER(cuStreamSynchronize(NULL));
	ANSWER(cuStreamQuery(stream));
	ANSWER(cuStreamQuery(CU_STREAM_PER_THREAD));
	bring_work(&gpu, stream);
	bring_work(&gpu, CU_STREAM_PER_THREAD);
	ANSWER(cuCtxSynchronize());
	ANSWER(cuStreamQuery(NULL));
	bring_work(&gpu, NULL);
	must(cuStreamSynchronize(NULL), "synchronize");
	ANSWER(cuStreamQuery(CU_STREAM_LEGACY));
	ANSWER(cuStreamQuery(stream));
	/* Takes 200 ms. */
	must(cuLaunchKernel(gpu.slow, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL), "launch");
	ANSWER(cuStreamQuery(stream));
	ANSWER(cuStreamQuery(CU_STREAM_LEGACY));
	must(cuCtxSynchronize(), "synchronize");
}

/* Two threads that launch at once, one of them on the legacy stream, and then agree that both are
 * done: what comes after has to see both. */
static struct {
	struct gpu gpu;
	CUstream blocking;
	CUdeviceptr marked;
	pthread_barrier_t barrier;
	unsigned long rounds;
} race;

static void mark(CUstream stream, uint32_t number)
{
	must(cuLaunchKernel(race.gpu.mark, 1, 1, 1, 1, 1, 1, 0, stream,
		     (void *[]){&race.marked, &number}, NULL),
		"mark");
}

static void *race_along(void *data)
{
	(void)data;
	must(cuCtxSetCurrent(race.gpu.primary), "current");
	for (unsigned long i = 0; i < race.rounds; i++) {
		pthread_barrier_wait(&race.barrier);
		mark(race.blocking, 1);
		pthread_barrier_wait(&race.barrier);
		pthread_barrier_wait(&race.barrier);
	}
	return NULL;
}

static void races(unsigned long rounds)
{
	pthread_t other;
	CUdeviceptr cell;
	unsigned long late = 0;

	race.gpu = begin();
	race.rounds = rounds;
	pthread_barrier_init(&race.barrier, NULL, 2);
	must(cuStreamCreate(&race.blocking, CU_STREAM_DEFAULT), "stream");
	must(cuMemAlloc_v2(&race.marked, sizeof(struct marks)), "memory");
	must(cuMemAlloc_v2(&cell, 4), "memory");
	must(cuMemsetD8_v2(cell, 0, 4), "clear");
	must_be(pthread_create(&other, NULL, race_along, NULL) == 0, "a thread");
	for (unsigned long i = 0; i < rounds; i++) {
		struct marks marks = {.cell = (const uint32_t *)(uintptr_t)cell};
		uint32_t count;
		must(cuMemcpyHtoD_v2(race.marked, &marks, sizeof(marks)), "clear");
		pthread_barrier_wait(&race.barrier);
		mark(NULL, 0);
		pthread_barrier_wait(&race.barrier);
		must(cuMemcpyDtoH_v2(&count, race.marked + offsetof(struct marks, count), 4),
			"count");
		late += count != 2 ? 1 : 0;
		must(cuCtxSynchronize(), "synchronize");
		pthread_barrier_wait(&race.barrier);
	}
	pthread_join(other, NULL);
	say("late %lu", late);
}

int main(int argc, char *argv[])
{
	static const struct {
		const char *name;
		void (*run)(void);
	} simple[] = {{"fork", fork_children}, {"release", release}, {"devices", devices},
		{"threads", threads}, {"memory", memory}, {"dynamic_early", dynamic_early},
		{"dynamic_late", dynamic_late}, {"errors", errors}, {"synchronous", synchronous},
		{"share", share}};
	const char *what = argc > 1 ? argv[1] : "";

	for (unsigned i = 0; i < sizeof(simple) / sizeof(simple[0]); i++) {
		if (strcmp(what, simple[i].name) == 0) {
			simple[i].run();
			return 0;
		}
	}
	if (strcmp(what, "use") == 0)
		use("executed");
	else if (strcmp(what, "many") == 0)
		many(argument(argc, argv, 2, 300));
	else if (strcmp(what, "races") == 0)
		races(argument(argc, argv, 2, 1000));
	else
		must_be(false, "see the usage");
	return 0;
}
