/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_partition_same captures | callbacks | identity | states | primaries | contexts
 *
 * Asks the driver what programs may ask or do wrong, and says what it answers: with a partition it
 * has to be what it is without.
 */
#include "client.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static const char image[] = ".version 7.0\n"
			    ".target sm_75\n"
			    ".address_size 64\n"
			    ".visible .entry busy() { ret; }\n";

static struct {
	CUcontext primary;
	CUfunction busy;
	CUdeviceptr data, managed;
	CUstream blocking, other, free_running;
	CUevent event, timed;
} gpu;

/* Work everywhere, so that a partition is made and every kind of stream has been used. */
static void open_gpu(void)
{
	CUmodule module;

	must(cuInit(0), "cuInit");
	must(cuDevicePrimaryCtxRetain(&gpu.primary, 0), "primary");
	must(cuCtxSetCurrent(gpu.primary), "current");
	must(cuModuleLoadData(&module, image), "module");
	must(cuModuleGetFunction(&gpu.busy, module, "busy"), "busy");
	must(cuMemAlloc_v2(&gpu.data, 4096), "memory");
	must(cuMemAllocManaged(&gpu.managed, 4096, CU_MEM_ATTACH_GLOBAL), "memory");
	must(cuMemsetD8_v2(gpu.data, 0, 4096), "clear");
	must(cuStreamCreate(&gpu.blocking, CU_STREAM_DEFAULT), "stream");
	must(cuStreamCreate(&gpu.other, CU_STREAM_DEFAULT), "stream");
	must(cuStreamCreate(&gpu.free_running, CU_STREAM_NON_BLOCKING), "stream");
	must(cuEventCreate(&gpu.event, CU_EVENT_DISABLE_TIMING), "event");
	must(cuEventCreate(&gpu.timed, 0), "event");
}

static CUresult launch_on(CUstream stream)
{
	return cuLaunchKernel(gpu.busy, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL);
}

static const char *section = "";

static void answer(int line, CUresult result)
{
	say("%s_%d %d", section, line, (int)result);
}
#define ANSWER(call) answer(__LINE__, call)

static void CUDA_CB nothing(void *data)
{
	(void)data;
}

static void CUDA_CB nothing_back(CUstream stream, CUresult status, void *data)
{
	(void)stream, (void)status, (void)data;
}

/* What a program may do to `stream` while another one is captured. */
static CUresult probe_launch(CUstream stream)
{
	return launch_on(stream);
}

static CUresult probe_ex(CUstream stream)
{
	CUlaunchConfig config = {.gridDimX = 1,
		.gridDimY = 1,
		.gridDimZ = 1,
		.blockDimX = 1,
		.blockDimY = 1,
		.blockDimZ = 1,
		.hStream = stream};

	return cuLaunchKernelEx(&config, gpu.busy, NULL, NULL);
}

static CUresult probe_record(CUstream stream)
{
	return cuEventRecord(gpu.event, stream);
}

static CUresult probe_wait(CUstream stream)
{
	return cuStreamWaitEvent(stream, gpu.timed, 0);
}

static CUresult probe_synchronize(CUstream stream)
{
	return cuStreamSynchronize(stream);
}

static CUresult probe_query(CUstream stream)
{
	return cuStreamQuery(stream);
}

static CUresult probe_is_capturing(CUstream stream)
{
	CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
	CUresult result = cuStreamIsCapturing(stream, &status);

	if (result == CUDA_SUCCESS)
		say("%s_status %d", section, (int)status);
	return result;
}

static CUresult probe_info(CUstream stream)
{
	CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
	cuuint64_t id;

	return cuStreamGetCaptureInfo_v2(stream, &status, &id, NULL, NULL, NULL);
}

static CUresult probe_memset(CUstream stream)
{
	return cuMemsetD8Async(gpu.data, 1, 16, stream);
}

static CUresult probe_host(CUstream stream)
{
	return cuLaunchHostFunc(stream, nothing, NULL);
}

static CUresult probe_callback(CUstream stream)
{
	return cuStreamAddCallback(stream, nothing_back, NULL, 0);
}

static CUresult probe_alloc(CUstream stream)
{
	CUdeviceptr pooled = 0;

	return cuMemAllocAsync(&pooled, 512, stream);
}

static CUresult probe_begin(CUstream stream)
{
	return cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_RELAXED);
}

static CUresult probe_memset_now(CUstream stream)
{
	(void)stream;
	return cuMemsetD8_v2(gpu.data, 1, 16);
}

static CUresult probe_upload(CUstream stream)
{
	char byte = 1;

	(void)stream;
	return cuMemcpyHtoD_v2(gpu.data, &byte, 1);
}

static CUresult probe_download(CUstream stream)
{
	char byte;

	(void)stream;
	return cuMemcpyDtoH_v2(&byte, gpu.data, 1);
}

static CUresult probe_memset_ptds(CUstream stream)
{
	(void)stream;
	return cuMemsetD8_v2_ptds(gpu.data, 1, 16);
}

static CUresult probe_copy_ptds(CUstream stream)
{
	(void)stream;
	return cuMemcpyDtoD_v2_ptds(gpu.data, gpu.data + 64, 16);
}

static CUresult probe_upload_ptds(CUstream stream)
{
	char byte = 1;

	(void)stream;
	return cuMemcpyHtoD_v2_ptds(gpu.data, &byte, 1);
}

static CUresult probe_download_ptds(CUstream stream)
{
	char byte;

	(void)stream;
	return cuMemcpyDtoH_v2_ptds(&byte, gpu.data, 1);
}

static CUresult probe_fill_managed_ptds(CUstream stream)
{
	(void)stream;
	return cuMemsetD8_v2_ptds(gpu.managed, 1, 16);
}

static CUresult probe_room(CUstream stream)
{
	CUlaunchConfig config = {.gridDimX = 1,
		.gridDimY = 1,
		.gridDimZ = 1,
		.blockDimX = 1,
		.blockDimY = 1,
		.blockDimZ = 1,
		.hStream = stream};
	int clusters;

	return cuOccupancyMaxActiveClusters(&clusters, gpu.busy, &config);
}

/* As before CUDA 4.0. */
static CUresult probe_old_launch(CUstream stream)
{
	(void)stream;
	must(cuFuncSetBlockShape(gpu.busy, 1, 1, 1), "shape");
	return cuLaunch(gpu.busy);
}

static CUresult probe_context(CUstream stream)
{
	(void)stream;
	return cuCtxSynchronize();
}

static CUresult probe_create(CUstream stream)
{
	CUstream made;
	CUresult result = cuStreamCreate(&made, CU_STREAM_DEFAULT);

	(void)stream;
	return result == CUDA_SUCCESS ? cuStreamDestroy_v2(made) : result;
}

/* The capture's own event. */
static CUresult probe_join(CUstream stream)
{
	return cuStreamWaitEvent(stream, gpu.event, 0);
}

static CUresult (*const probes[])(CUstream stream) = {probe_launch, probe_ex, probe_record,
	probe_wait, probe_synchronize, probe_query, probe_is_capturing, probe_info, probe_memset,
	probe_host, probe_callback, probe_alloc, probe_begin, probe_memset_now, probe_upload,
	probe_download, probe_old_launch, probe_context, probe_create, probe_join,
	probe_memset_ptds, probe_copy_ptds, probe_upload_ptds, probe_download_ptds,
	probe_fill_managed_ptds, probe_room};

static void end_any(CUstream stream)
{
	CUgraph graph = NULL;

	if (cuStreamEndCapture(stream, &graph) == CUDA_SUCCESS && graph != NULL)
		must(cuGraphDestroy(graph), "destroy");
}

/* One probe while `captured` is; what it left is ended. */
static void probe(unsigned which, CUstream captured, CUstreamCaptureMode mode, CUstream probed)
{
	CUgraph graph = NULL;
	size_t nodes = 0;

	must(cuEventRecord(gpu.timed, gpu.free_running), "record");
	must(cuStreamSynchronize(gpu.free_running), "synchronize");
	must(cuStreamBeginCapture_v2(captured, mode), "begin");
	must(launch_on(captured), "launch");
	must(cuEventRecord(gpu.event, captured), "record");
	say("%s_did_%u %d", section, which, (int)probes[which](probed));
	CUresult ended = cuStreamEndCapture(captured, &graph);
	say("%s_ended_%u %d", section, which, (int)ended);
	if (ended == CUDA_SUCCESS) {
		must(cuGraphGetNodes(graph, NULL, &nodes), "nodes");
		say("%s_nodes_%u %zu", section, which, nodes);
		must(cuGraphDestroy(graph), "destroy");
	}
	end_any(probed);
	must(cuEventDestroy_v2(gpu.event), "event");
	must(cuEventCreate(&gpu.event, CU_EVENT_DISABLE_TIMING), "event");
	/* All goes on as if nothing had been. */
	must(launch_on(NULL), "launch");
	must(launch_on(captured), "launch");
	must(cuCtxSynchronize(), "synchronize");
}

static void captures(void)
{
	static char name[64];
	const CUstream streams[] = {gpu.blocking, gpu.free_running, CU_STREAM_PER_THREAD, NULL,
		CU_STREAM_LEGACY, gpu.other};

	section = name;
	for (unsigned captured = 0; captured < 3; captured++) {
		for (unsigned mode = 0; mode < 3; mode++) {
			for (unsigned probed = 0; probed < 6; probed++) {
				snprintf(name, sizeof(name), "c%u_m%u_p%u", captured, mode, probed);
				for (unsigned i = 0; i < sizeof(probes) / sizeof(probes[0]); i++)
					probe(i, streams[captured], (CUstreamCaptureMode)mode,
						streams[probed]);
			}
		}
	}
}

/* What a callback was told, and what the driver answers within it. */
struct heard {
	_Atomic bool is_over;
	CUstream stream;
	CUresult status, synced, launched;
	void *data;
};

static void CUDA_CB hear(CUstream stream, CUresult status, void *data)
{
	struct heard *heard = data;

	heard->stream = stream;
	heard->status = status;
	heard->data = data;
	heard->synced = cuStreamSynchronize(NULL);
	heard->launched = launch_on(CU_STREAM_PER_THREAD);
	atomic_store(&heard->is_over, true);
}

static void say_heard(CUstream stream, CUresult result, struct heard *heard)
{
	must(result, "callback");
	must(cuCtxSynchronize(), "synchronize");
	say("%s_heard %d same %d data %d status %d in_it %d %d", section,
		atomic_load(&heard->is_over), heard->stream == stream, heard->data == heard,
		(int)heard->status, (int)heard->synced, (int)heard->launched);
}

static void callbacks(void)
{
	const CUstream streams[] = {
		NULL, CU_STREAM_LEGACY, CU_STREAM_PER_THREAD, gpu.blocking, gpu.free_running};
	static struct heard heard[16];
	static char name[32];

	section = name;
	for (unsigned i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "callback_%u", i);
		say_heard(
			streams[i], cuStreamAddCallback(streams[i], hear, &heard[i], 0), &heard[i]);
		snprintf(name, sizeof(name), "callback_ptsz_%u", i);
		say_heard(streams[i], cuStreamAddCallback_ptsz(streams[i], hear, &heard[5 + i], 0),
			&heard[5 + i]);
		ANSWER(cuStreamAddCallback(streams[i], NULL, NULL, 0));
		ANSWER(cuStreamAddCallback(streams[i], hear, NULL, 7));
		ANSWER(cuLaunchHostFunc(streams[i], NULL, NULL));
	}
}

static unsigned long long id_of(CUstream stream)
{
	unsigned long long id = 0;

	must(cuStreamGetId(stream, &id), "id");
	return id;
}

static void identity_of(CUstream stream)
{
	unsigned flags = 42;
	int priority = 42;
	CUcontext context = NULL, second = NULL;
	CUgreenCtx green = (CUgreenCtx)&flags;
	CUdevice device = 42;
	CUstreamAttrValue value = {0};

	ANSWER(cuStreamGetFlags(stream, &flags));
	ANSWER(cuStreamGetPriority(stream, &priority));
	ANSWER(cuStreamGetCtx(stream, &context));
	ANSWER(cuStreamGetCtx_v2(stream, &second, &green));
	say("%s_is %u %d %d %d %d", section, flags, priority, context == gpu.primary,
		second == gpu.primary, green == NULL);
	ANSWER(cuStreamGetCtx_v2(stream, NULL, NULL));
	ANSWER(cuStreamGetCtx_v2(stream, &second, NULL));
	ANSWER(cuStreamGetGreenCtx(stream, &green));
	ANSWER(cuStreamGetDevice(stream, &device));
	say("%s_on %d green %d twice %d", section, device, green == NULL,
		id_of(stream) == id_of(stream));
	ANSWER(cuStreamGetAttribute(stream, CU_STREAM_ATTRIBUTE_SYNCHRONIZATION_POLICY, &value));
	ANSWER(cuStreamSetAttribute(stream, CU_STREAM_ATTRIBUTE_SYNCHRONIZATION_POLICY, &value));
	ANSWER(cuStreamCopyAttributes(stream, gpu.blocking));
	ANSWER(cuStreamCopyAttributes(gpu.blocking, stream));
	ANSWER(cuStreamAttachMemAsync(stream, gpu.data, 0, CU_MEM_ATTACH_SINGLE));
	ANSWER(cuStreamAttachMemAsync(stream, gpu.data, 0, CU_MEM_ATTACH_GLOBAL));
}

static void identity(void)
{
	const CUstream streams[] = {
		NULL, CU_STREAM_LEGACY, CU_STREAM_PER_THREAD, gpu.blocking, gpu.free_running};
	static char name[32];
	CUstream important;

	section = name;
	for (unsigned i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "stream_%u", i);
		identity_of(streams[i]);
	}
	snprintf(name, sizeof(name), "priority");
	for (int priority = -9; priority < 3; priority++) {
		must(cuStreamCreateWithPriority(&important, 0, priority), "stream");
		identity_of(important);
		must(cuStreamDestroy_v2(important), "destroy");
	}
	say("ids %d %d %d", id_of(NULL) == id_of(CU_STREAM_LEGACY),
		id_of(NULL) == id_of(CU_STREAM_PER_THREAD),
		id_of(gpu.blocking) == id_of(gpu.other));
}

/* Busy for 30 ms, one kind of stream after the other: what all kinds answer meanwhile. */
static void states(void)
{
	const CUstream streams[] = {NULL, CU_STREAM_LEGACY, CU_STREAM_PER_THREAD, gpu.blocking,
		gpu.other, gpu.free_running};
	static char name[32];
	CUevent begun;
	float ms;

	must(cuEventCreate(&begun, 0), "event");
	section = name;
	for (unsigned i = 0; i < 6; i++) {
		snprintf(name, sizeof(name), "state_%u", i);
		must(cuEventRecord(begun, streams[i]), "record");
		must(launch_on(streams[i]), "launch");
		must(cuEventRecord(gpu.timed, streams[i]), "record");
		for (unsigned j = 0; j < 6; j++)
			say("%s_beside_%u %d", section, j, (int)cuStreamQuery(streams[j]));
		ANSWER(cuEventQuery(gpu.timed));
		ANSWER(cuEventElapsedTime(&ms, begun, gpu.timed));
		must(cuStreamSynchronize(streams[i]), "synchronize");
		ANSWER(cuEventQuery(gpu.timed));
		ANSWER(cuEventElapsedTime(&ms, begun, gpu.timed));
		say("%s_took_all %d", section, ms > 29.9F);
		for (unsigned j = 0; j < 6; j++)
			ANSWER(cuStreamQuery(streams[j]));
	}
}

static void say_active(const char *when)
{
	unsigned flags = 0;
	int is_active = 0;

	must(cuDevicePrimaryCtxGetState(0, &flags, &is_active), "state");
	say("%s_active %d flags %u", when, is_active, flags);
}

/* References come and go, one too many at the end. */
static void primaries(void)
{
	CUcontext context;

	say_active("open");
	must(launch_on(NULL), "launch");
	ANSWER(cuDevicePrimaryCtxRetain(&context, 0));
	ANSWER(cuDevicePrimaryCtxRelease_v2(0));
	say_active("one");
	ANSWER(cuStreamSynchronize(NULL));
	ANSWER(cuDevicePrimaryCtxRelease_v2(0));
	say_active("none");
	ANSWER(cuStreamSynchronize(NULL));
	ANSWER(cuDevicePrimaryCtxRelease_v2(0));
	ANSWER(cuDevicePrimaryCtxSetFlags_v2(0, CU_CTX_SCHED_BLOCKING_SYNC));
	say_active("flags");
	open_gpu();
	say_active("again");
	ANSWER(launch_on(NULL));
	ANSWER(launch_on(gpu.blocking));
	ANSWER(cuStreamSynchronize(gpu.blocking));
	ANSWER(cuDevicePrimaryCtxReset_v2(0));
	say_active("reset");
	ANSWER(cuDevicePrimaryCtxRelease_v2(0));
	say_active("released");
	open_gpu();
	ANSWER(launch_on(NULL));
	ANSWER(cuStreamSynchronize(NULL));
	say_active("last");
}

/* Streams of the primary context, used while another one is current, or none. */
static void probe_streams(void)
{
	const CUstream streams[] = {
		NULL, CU_STREAM_LEGACY, CU_STREAM_PER_THREAD, gpu.blocking, gpu.free_running};
	CUcontext context;

	for (unsigned i = 0; i < 5; i++) {
		say("%s_stream %u", section, i);
		ANSWER(launch_on(streams[i]));
		ANSWER(cuEventRecord(gpu.event, streams[i]));
		ANSWER(cuStreamWaitEvent(streams[i], gpu.event, 0));
		ANSWER(cuMemsetD8Async(gpu.data, 0, 16, streams[i]));
		ANSWER(cuStreamSynchronize(streams[i]));
		ANSWER(cuStreamQuery(streams[i]));
		ANSWER(cuLaunchHostFunc(streams[i], nothing, NULL));
		context = NULL;
		ANSWER(cuStreamGetCtx(streams[i], &context));
		say("%s_primary %d", section, context == gpu.primary);
	}
	ANSWER(cuMemsetD8_v2(gpu.data, 0, 16));
	ANSWER(cuCtxSynchronize());
}

static void contexts(void)
{
	CUcontext own, popped;
	CUstream stream;
	CUevent event;

	section = "none";
	must(cuCtxPopCurrent_v2(&popped), "pop");
	probe_streams();
	ANSWER(cuStreamCreate(&stream, 0));
	section = "own";
	must(cuCtxCreate_v2(&own, 0, 0), "context");
	probe_streams();
	must(cuStreamCreate(&stream, CU_STREAM_DEFAULT), "stream");
	must(cuEventCreate(&event, 0), "event");
	ANSWER(cuEventRecord(event, stream));
	ANSWER(cuEventRecord(event, gpu.blocking));
	ANSWER(cuEventRecord(gpu.timed, stream));
	ANSWER(cuStreamWaitEvent(gpu.blocking, event, 0));
	ANSWER(cuStreamSynchronize(gpu.blocking));
	ANSWER(cuCtxDestroy_v2(own));
	section = "back";
	must(cuCtxSetCurrent(gpu.primary), "current");
	probe_streams();
}

int main(int argc, char *argv[])
{
	static const struct {
		const char *name;
		void (*run)(void);
	} all[] = {{"captures", captures}, {"callbacks", callbacks}, {"identity", identity},
		{"states", states}, {"primaries", primaries}, {"contexts", contexts}};
	const char *what = argc > 1 ? argv[1] : "";

	open_gpu();
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (strcmp(what, all[i].name) == 0) {
			all[i].run();
			return 0;
		}
	}
	must_be(false, "see the usage");
	return 3;
}
