/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_crowd HOW COUNT [CONTEXTS]
 *
 * Many at once, on all devices. `threads`: COUNT threads work for a second, each in one of CONTEXTS
 * (1) of a device, one half on the stream of the thread and the other on one of its own of
 * some priority, with kernels, graphs, memsets and copies. `together`: COUNT cooperative launches
 * on all devices, each waited for. `elsewhere`: COUNT memsets, copies and graphs on each device,
 * while the context of the last one is current; `nowhere`: while none is. Says of each device how
 * long that took and what was billed: `device N WALL BILLED`, in ns.
 */
#include "client.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#define MAX_DEVICES  4
#define MAX_THREADS  64
#define MAX_CONTEXTS 4 /* of each device */
#define SPAN_NS      1000000000ull
#define BYTES        (512u << 10)

static struct functions cu;
static void *libcuda;
static int device_count;
static unsigned context_count;

static void *find(const char *symbol)
{
	void *found = dlsym(libcuda, symbol);

	must_be(found != NULL, symbol);
	return found;
}
#define FIND(symbol) ((__typeof__(symbol) *)find(#symbol))

static struct place {
	CUcontext context;
	CUfunction kernel;
} places[MAX_DEVICES][MAX_CONTEXTS];

struct worker {
	pthread_t thread;
	const struct place *place;
	unsigned number;
	CUstream stream;
	CUdeviceptr dst, src;
	CUgraphExec exec;
};

static void open_gpu(void)
{
	CUmodule module;

	libcuda = functions_from_dlopen(&cu, "libcuda.so.1");
	must(cu.cuInit(0), "cuInit");
	must(cu.cuDeviceGetCount(&device_count), "cuDeviceGetCount");
	must_be(device_count <= MAX_DEVICES, "at most 4 devices");
	for (int d = 0; d < device_count; d++) {
		for (unsigned c = 0; c < context_count; c++) {
			must(cu.cuCtxCreate_v2(&places[d][c].context, 0, d), "cuCtxCreate");
			places[d][c].kernel = load_kernel(&cu, &module);
		}
	}
}

static CUgraphExec make_graph(const struct worker *worker)
{
	CUstream stream;
	CUgraph graph;
	CUgraphExec exec;

	must(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
	must(cu.cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), "capture");
	for (unsigned i = 0; i < 3; i++)
		must(launch(&cu, worker->place->kernel, stream), "captured launch");
	must(cu.cuStreamEndCapture(stream, &graph), "end of the capture");
	must(cu.cuGraphInstantiateWithFlags(&exec, graph, 0), "instantiate");
	return exec;
}

static void work_once(const struct worker *worker, unsigned i)
{
	switch (i % 4) {
	case 0:
		must(launch(&cu, worker->place->kernel, worker->stream), "launch");
		break;
	case 1:
		must(FIND(cuMemsetD32Async)(worker->dst, i, BYTES / 4, worker->stream), "memset");
		break;
	case 2:
		must(FIND(cuMemcpyDtoDAsync_v2)(worker->dst, worker->src, BYTES, worker->stream),
			"copy");
		break;
	default:
		must(cu.cuGraphLaunch(worker->exec, worker->stream), "graph");
	}
}

/* Its context stays current. */
static void prepare(struct worker *worker)
{
	must(cu.cuCtxSetCurrent(worker->place->context), "cuCtxSetCurrent");
	must(cu.cuMemAlloc_v2(&worker->dst, BYTES), "cuMemAlloc");
	must(cu.cuMemAlloc_v2(&worker->src, BYTES), "cuMemAlloc");
	worker->stream = CU_STREAM_PER_THREAD;
	if (worker->number % 8 >= 4)
		must(FIND(cuStreamCreateWithPriority)(
			     &worker->stream, CU_STREAM_NON_BLOCKING, -(int)(worker->number % 6)),
			"cuStreamCreateWithPriority");
	worker->exec = make_graph(worker);
}

static void *work(void *argument)
{
	struct worker *worker = argument;

	prepare(worker);
	unsigned long long until_ns = now_ns() + SPAN_NS;
	for (unsigned i = 0; now_ns() < until_ns; i++) {
		work_once(worker, i);
		if (i % 8 == 7)
			must(cu.cuStreamSynchronize(worker->stream), "synchronize");
	}
	must(cu.cuStreamSynchronize(worker->stream), "synchronize");
	return NULL;
}

static void work_by_threads(unsigned count)
{
	static struct worker workers[MAX_THREADS];

	must_be(count <= MAX_THREADS, "at most 64 threads");
	for (unsigned i = 0; i < count; i++) {
		workers[i].number = i;
		workers[i].place = &places[i % (unsigned)device_count][i / 2 % context_count];
		must_be(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0,
			"a thread");
	}
	for (unsigned i = 0; i < count; i++)
		pthread_join(workers[i].thread, NULL);
}

/* Each call takes one off the stack of those that were made. */
static void leave_contexts(void)
{
	CUcontext current;

	do {
		must(cu.cuCtxSetCurrent(NULL), "cuCtxSetCurrent");
		must(FIND(cuCtxGetCurrent)(&current), "cuCtxGetCurrent");
	} while (current != NULL);
}

/* Memsets, copies and graphs go to streams of devices that are not current, too. */
static void work_elsewhere(unsigned count, bool is_nowhere)
{
	struct worker workers[MAX_DEVICES] = {0};

	for (int d = 0; d < device_count; d++) {
		workers[d].place = &places[d][0];
		workers[d].number = 4; /* has a stream of its own */
		prepare(&workers[d]);
	}
	if (is_nowhere)
		leave_contexts();
	for (unsigned k = 0; k < count; k++) {
		for (int d = 0; d < device_count; d++)
			work_once(&workers[d], 1 + k % 3);
		for (int d = 0; d < device_count; d++)
			must(cu.cuStreamSynchronize(workers[d].stream), "synchronize");
	}
}

static void launch_together(unsigned count)
{
	CUDA_LAUNCH_PARAMS launches[MAX_DEVICES] = {0};

	for (int d = 0; d < device_count; d++) {
		CUDA_LAUNCH_PARAMS *params = &launches[d];
		must(cu.cuCtxSetCurrent(places[d][0].context), "cuCtxSetCurrent");
		must(cu.cuStreamCreate(&params->hStream, CU_STREAM_NON_BLOCKING), "a stream");
		params->function = places[d][0].kernel;
		params->gridDimX = params->gridDimY = params->gridDimZ = 1;
		params->blockDimX = params->blockDimY = params->blockDimZ = 1;
	}
	for (unsigned k = 0; k < count; k++) {
		must(cu.cuLaunchCooperativeKernelMultiDevice(launches, (unsigned)device_count, 0),
			"launch");
		for (int d = 0; d < device_count; d++)
			must(cu.cuStreamSynchronize(launches[d].hStream), "synchronize");
	}
}

/* The end of a context settles its bills. */
static void close_gpu(unsigned long long wall_ns)
{
	for (int d = 0; d < device_count; d++) {
		for (unsigned c = 0; c < context_count; c++)
			must(cu.cuCtxDestroy_v2(places[d][c].context), "cuCtxDestroy");
		say("device%d %llu %llu", d, wall_ns,
			(unsigned long long)read_slice(d).gpu_time_ns);
	}
}

int main(int argc, char *argv[])
{
	const char *how = argc > 1 ? argv[1] : "";
	unsigned count = (unsigned)argument(argc, argv, 2, 8);

	context_count = (unsigned)argument(argc, argv, 3, 1);
	must_be(context_count > 0 && context_count <= MAX_CONTEXTS, "1 to 4 contexts");
	open_gpu();
	unsigned long long begin_ns = now_ns();
	if (strcmp(how, "threads") == 0)
		work_by_threads(count);
	else if (strcmp(how, "together") == 0)
		launch_together(count);
	else if (strcmp(how, "elsewhere") == 0 || strcmp(how, "nowhere") == 0)
		work_elsewhere(count, strcmp(how, "nowhere") == 0);
	else
		must_be(false, "threads, together, elsewhere or nowhere");
	close_gpu(now_ns() - begin_ns);
	return 0;
}
