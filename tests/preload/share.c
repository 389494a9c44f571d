/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_share HOW MILLISECONDS [PPM]
 *
 * Keeps the GPU busy for so long, and says how long that was in ns and how many launches: `sync`
 * waits for each kernel, `queue` does only now and then, `streams` uses four, `graph` launches
 * graphs of four kernels, `threads` has four threads that use one stream, `own` four with the
 * per-thread stream of each. With PPM it tightens its share to that at half of the time. Any error
 * ends it. `capture` captures in every mode while it launches beside it. `devices` launches on all
 * devices at once.
 */
#include "client.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define STREAMS 4

static struct functions cu;
static CUfunction kernel;
static CUstream streams[STREAMS];

static void open_gpu(void)
{
	CUcontext context;
	CUmodule module;

	functions_from_dlopen(&cu, "libcuda.so.1");
	must(cu.cuInit(0), "cuInit");
	must(cu.cuCtxCreate_v2(&context, 0, 0), "cuCtxCreate");
	kernel = load_kernel(&cu, &module);
	for (unsigned i = 0; i < STREAMS; i++)
		must(cu.cuStreamCreate(&streams[i], CU_STREAM_NON_BLOCKING), "cuStreamCreate");
}

/* Four kernels in a row, captured in `mode`; before the end of the capture, one is launched on
 * another stream, which is allowed in any mode. */
static CUgraph capture(CUstreamCaptureMode mode, bool launches_beside)
{
	CUgraph graph = NULL;

	must(cu.cuStreamBeginCapture_v2(streams[0], mode), "begin");
	for (unsigned i = 0; i < 4; i++) {
		must(launch(&cu, kernel, streams[0]), "captured launch");
		if (launches_beside)
			must(launch(&cu, kernel, streams[1]), "launch beside");
	}
	must(cu.cuStreamEndCapture(streams[0], &graph), "end");
	return graph;
}

static CUgraphExec instantiate(CUgraph graph)
{
	CUgraphExec exec;

	must(cu.cuGraphInstantiateWithFlags(&exec, graph, 0), "instantiate");
	return exec;
}

/* One of the threads, which share the count of launches. */
struct worker {
	pthread_t thread;
	CUcontext context;
	CUstream stream;
	uint64_t until_ns;
	unsigned long launches;
};

static void *work(void *argument)
{
	struct worker *worker = argument;

	must(cu.cuCtxSetCurrent(worker->context), "cuCtxSetCurrent");
	while (now_ns() < worker->until_ns) {
		must(launch(&cu, kernel, worker->stream), "launch");
		if (++worker->launches % 16 == 0)
			must(cu.cuStreamSynchronize(worker->stream), "synchronize");
	}
	must(cu.cuStreamSynchronize(worker->stream), "synchronize");
	return NULL;
}

static unsigned long keep_busy_by_threads(CUstream stream, uint64_t until_ns)
{
	struct worker workers[STREAMS] = {0};
	unsigned long launches = 0;

	for (unsigned i = 0; i < STREAMS; i++) {
		workers[i].stream = stream;
		workers[i].until_ns = until_ns;
		must(cu.cuCtxGetCurrent(&workers[i].context), "cuCtxGetCurrent");
		must_be(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0,
			"a thread");
	}
	for (unsigned i = 0; i < STREAMS; i++) {
		pthread_join(workers[i].thread, NULL);
		launches += workers[i].launches;
	}
	return launches;
}

static void launch_once(const char *how, CUgraphExec exec, unsigned long i)
{
	if (exec != NULL)
		must(cu.cuGraphLaunch(exec, streams[0]), "graph");
	else if (strcmp(how, "streams") == 0)
		must(launch(&cu, kernel, streams[i % STREAMS]), "launch");
	else
		must(launch(&cu, kernel, streams[0]), "launch");
	if (strcmp(how, "sync") == 0)
		must(cu.cuStreamSynchronize(streams[0]), "synchronize");
	else if (i % 64 == 63)
		must(cu.cuCtxSynchronize(), "synchronize"); /* simgpu's queues have no end */
}

static void tighten(uint32_t ppm)
{
	int (*tighten_compute)(int, uint32_t);

	*(void **)&tighten_compute = dlsym(RTLD_DEFAULT, "cuslice_tighten_compute");
	must_be(tighten_compute != NULL && tighten_compute(0, ppm) == 0, "a smaller share");
	say("tightened_ns %llu", (unsigned long long)now_ns());
}

static void keep_busy(const char *how, uint64_t span_ns, uint32_t ppm)
{
	CUgraphExec exec = NULL;
	unsigned long launches = 0;

	if (strcmp(how, "graph") == 0)
		exec = instantiate(capture(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, false));
	uint64_t begin_ns = now_ns();
	if (strcmp(how, "threads") == 0)
		launches = keep_busy_by_threads(streams[0], begin_ns + span_ns);
	else if (strcmp(how, "own") == 0)
		launches = keep_busy_by_threads(CU_STREAM_PER_THREAD, begin_ns + span_ns);
	while (now_ns() - begin_ns < span_ns) {
		if (ppm != 0 && now_ns() - begin_ns >= span_ns / 2) {
			tighten(ppm);
			ppm = 0;
		}
		launch_once(how, exec, launches++);
	}
	must(cu.cuCtxSynchronize(), "synchronize");
	say("wall_ns %llu", (unsigned long long)(now_ns() - begin_ns));
	say("launches %lu", launches);
}

static void capture_in_every_mode(void)
{
	static const CUstreamCaptureMode modes[] = {CU_STREAM_CAPTURE_MODE_GLOBAL,
		CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, CU_STREAM_CAPTURE_MODE_RELAXED};

	for (unsigned i = 0; i < 6; i++) {
		CUgraph graph = capture(modes[i % 3], i >= 3);
		CUgraphExec exec = instantiate(graph);
		CUstreamCaptureStatus status = 99;
		size_t nodes = 0;
		must(cu.cuGraphGetNodes(graph, NULL, &nodes), "nodes");
		must(cu.cuStreamIsCapturing(streams[0], &status), "status");
		for (unsigned k = 0; k < 5; k++)
			must(cu.cuGraphLaunch(exec, streams[0]), "graph");
		must(cu.cuStreamSynchronize(streams[0]), "synchronize");
		say("mode %u beside %d nodes %zu status %d", i % 3, i >= 3, nodes, (int)status);
		must(cu.cuGraphExecDestroy(exec), "destroy");
		must(cu.cuGraphDestroy(graph), "destroy");
	}
	must(cu.cuCtxSynchronize(), "synchronize");
}

/* Ten launches of one kernel on each device at once. */
static void launch_on_all_devices(void)
{
	CUDA_LAUNCH_PARAMS launches[8] = {0};
	int count;

	functions_from_dlopen(&cu, "libcuda.so.1");
	must(cu.cuInit(0), "cuInit");
	must(cu.cuDeviceGetCount(&count), "cuDeviceGetCount");
	must_be(count <= 8, "at most 8 devices");
	for (int i = 0; i < count; i++) {
		CUcontext context;
		CUmodule module;
		must(cu.cuCtxCreate_v2(&context, 0, i), "cuCtxCreate");
		must(cu.cuStreamCreate(&launches[i].hStream, CU_STREAM_NON_BLOCKING), "stream");
		launches[i].function = load_kernel(&cu, &module);
		launches[i].gridDimX = launches[i].gridDimY = launches[i].gridDimZ = 1;
		launches[i].blockDimX = launches[i].blockDimY = launches[i].blockDimZ = 1;
	}
	for (unsigned k = 0; k < 10; k++)
		must(cu.cuLaunchCooperativeKernelMultiDevice(launches, (unsigned)count, 0),
			"launch");
	for (int i = 0; i < count; i++)
		must(cu.cuStreamSynchronize(launches[i].hStream), "synchronize");
	say("devices %d", count);
}

int main(int argc, char *argv[])
{
	const char *how = argc > 1 ? argv[1] : "";

	if (strcmp(how, "devices") == 0) {
		launch_on_all_devices();
		return 0;
	}
	open_gpu();
	if (strcmp(how, "capture") == 0)
		capture_in_every_mode();
	else
		keep_busy(how, argument(argc, argv, 2, 1000) * 1000000,
			(uint32_t)argument(argc, argv, 3, 0));
	return 0;
}
