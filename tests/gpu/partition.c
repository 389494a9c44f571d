/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: gpu-partition sizes | streams | ways
 *
 * What green contexts do on this machine, by a kernel that notes its SMs. `sizes`: which partitions
 * there are, and on how many SMs each really runs. `streams`: whether a stream or the current
 * context decides where a kernel runs. `ways`: on how many SMs work runs that comes in different
 * ways; to be run in a slice, too.
 */
#include "probe.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define SM_WORDS 128u
#define THREADS  16
#define ROUNDS   64

extern const char census_image[] __attribute__((visibility("hidden")));

static CUcontext primary;
static CUfunction census;
static CUdeviceptr seen;
static unsigned blocks;

static void open_census(void)
{
	CUmodule module;
	int sms;

	primary = probe_open();
	MUST(cuDeviceGetAttribute(&sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0));
	MUST(cuModuleLoadData(&module, census_image));
	MUST(cuModuleGetFunction(&census, module, "cuslice_census"));
	MUST(cuMemAlloc(&seen, SM_WORDS * 4));
	MUST(cuMemsetD8(seen, 0, SM_WORDS * 4));
	blocks = 8 * (unsigned)sms;
	probe_say("told", "%d", sms);
}

/* Long enough for all blocks to be handed out. */
static CUresult bring_work(CUstream stream)
{
	unsigned cycles = 20000;
	void *params[] = {&seen, &cycles};

	return cuLaunchKernel(census, blocks, 1, 1, 1024, 1, 1, 0, stream, params, NULL);
}

static unsigned sms_seen(void)
{
	uint32_t words[SM_WORDS];
	unsigned count = 0;

	MUST(cuCtxSynchronize());
	MUST(cuMemcpyDtoH(words, seen, sizeof(words)));
	MUST(cuMemsetD8(seen, 0, sizeof(words)));
	for (unsigned i = 0; i < SM_WORDS; i++)
		count += (unsigned)__builtin_popcount(words[i]);
	return count;
}

static CUdevResource all_sms(void)
{
	CUdevResource all;

	MUST(cuDeviceGetDevResource(0, &all, CU_DEV_RESOURCE_TYPE_SM));
	return all;
}

static CUgreenCtx make_green(CUdevResource *parts, unsigned count)
{
	CUdevResourceDesc description;
	CUgreenCtx green;

	MUST(cuDevResourceGenerateDesc(&description, parts, count));
	MUST(cuGreenCtxCreate(&green, description, 0, CU_GREEN_CTX_DEFAULT_STREAM));
	return green;
}

static unsigned sms_of_green(CUgreenCtx green)
{
	CUstream stream;

	MUST(cuGreenCtxStreamCreate(&stream, green, CU_STREAM_NON_BLOCKING, 0));
	MUST(bring_work(stream));
	unsigned count = sms_seen();
	MUST(cuStreamDestroy(stream));
	return count;
}

/* What is given for each number that is asked for, where that changes; `wrong` counts those that
 * ran on another number of SMs than they say. */
static void tell_sizes(const char *key, unsigned flags)
{
	CUdevResource all = all_sms(), part, rest;
	unsigned last = 0, wrong = 0, sizes = 0, smallest = 0;
	char name[64];

	for (unsigned wanted = 1; wanted <= all.sm.smCount; wanted++) {
		unsigned groups = 1;
		if (cuDevSmResourceSplitByCount(&part, &groups, &all, &rest, flags, wanted) !=
				CUDA_SUCCESS ||
			groups != 1 || part.sm.smCount == last)
			continue;
		last = part.sm.smCount;
		smallest = smallest == 0 ? last : smallest;
		sizes++;
		CUgreenCtx green = make_green(&part, 1);
		wrong += sms_of_green(green) != last ? 1 : 0;
		MUST(cuGreenCtxDestroy(green));
	}
	snprintf(name, sizeof(name), "%s_sizes", key);
	probe_say(name, "%u", sizes);
	snprintf(name, sizeof(name), "%s_smallest", key);
	probe_say(name, "%u", smallest);
	snprintf(name, sizeof(name), "%s_largest", key);
	probe_say(name, "%u", last);
	snprintf(name, sizeof(name), "%s_wrong", key);
	probe_say(name, "%u", wrong);
}

/* Two groups of one split, in one context. */
static void tell_merged(void)
{
	CUdevResource all = all_sms(), parts[2], rest;
	unsigned groups = 2;

	MUST(cuDevSmResourceSplitByCount(parts, &groups, &all, &rest, 0, 8));
	if (groups != 2)
		return;
	CUgreenCtx green = make_green(parts, 2);
	probe_say("merged", "%u", parts[0].sm.smCount + parts[1].sm.smCount);
	probe_say("merged_ran_on", "%u", sms_of_green(green));
	MUST(cuGreenCtxDestroy(green));
}

static void tell_all_sizes(void)
{
	tell_sizes("plain", 0);
	tell_sizes("fine", CU_DEV_SM_RESOURCE_SPLIT_IGNORE_SM_COSCHEDULING);
	tell_merged();
}

static void tell_streams(void)
{
	CUdevResource all = all_sms(), part, rest;
	CUcontext context;
	CUstream of_primary, made_inside;
	unsigned groups = 1;

	MUST(cuDevSmResourceSplitByCount(&part, &groups, &all, &rest, 0, 16));
	CUgreenCtx green = make_green(&part, 1);
	MUST(cuCtxFromGreenCtx(&context, green));
	MUST(cuStreamCreate(&of_primary, CU_STREAM_NON_BLOCKING));
	probe_say("partition", "%u", part.sm.smCount);
	MUST(cuCtxSetCurrent(context));
	MUST(cuStreamCreate(&made_inside, CU_STREAM_NON_BLOCKING));
	probe_say_result("primarys_stream_inside", bring_work(of_primary));
	MUST(cuStreamSynchronize(of_primary)); /* the current context's wait is not for it */
	probe_say("primarys_stream_ran_on", "%u", sms_seen());
	MUST(bring_work(NULL));
	probe_say("default_inside_ran_on", "%u", sms_seen());
	probe_say_result("per_thread_inside", bring_work(CU_STREAM_PER_THREAD));
	sms_seen();
	MUST(cuCtxSetCurrent(primary));
	MUST(bring_work(made_inside));
	probe_say("stream_of_partition_ran_on", "%u", sms_seen());
	/* What the library does: an event of the primary context orders streams of both. */
	CUevent event;
	MUST(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
	probe_say_result("event_in_partition", cuEventRecord(event, made_inside));
	probe_say_result("wait_in_primary", cuStreamWaitEvent(of_primary, event, 0));
	MUST(cuCtxSynchronize());
}

static void *work_along(void *data)
{
	CUstream streams[] = {NULL, CU_STREAM_PER_THREAD, NULL, NULL};

	(void)data;
	MUST(cuCtxSetCurrent(primary));
	MUST(cuStreamCreate(&streams[2], CU_STREAM_DEFAULT));
	MUST(cuStreamCreate(&streams[3], CU_STREAM_NON_BLOCKING));
	for (unsigned i = 0; i < ROUNDS; i++)
		MUST(bring_work(streams[i % 4]));
	MUST(cuStreamSynchronize(streams[1]));
	MUST(cuStreamDestroy(streams[2]));
	MUST(cuStreamDestroy(streams[3]));
	return NULL;
}

static void tell_graph(CUstream stream)
{
	CUgraph graph;
	CUgraphExec exec;

	MUST(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
	MUST(bring_work(stream));
	MUST(cuStreamEndCapture(stream, &graph));
	MUST(cuGraphInstantiate(&exec, graph, 0));
	MUST(cuGraphLaunch(exec, stream));
	probe_say("graph", "%u", sms_seen());
	MUST(cuGraphLaunch(exec, NULL));
	probe_say("graph_on_default", "%u", sms_seen());
	MUST(cuGraphExecDestroy(exec));
	MUST(cuGraphDestroy(graph));
}

/* As large as it may be: one block for each place. */
static void tell_cooperative(CUstream stream)
{
	int sms, places;
	unsigned cycles = 20000;
	void *params[] = {&seen, &cycles};

	MUST(cuDeviceGetAttribute(&sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0));
	MUST(cuOccupancyMaxActiveBlocksPerMultiprocessor(&places, census, 1024, 0));
	probe_say_result(
		"cooperative_fits", cuLaunchCooperativeKernel(census, (unsigned)(sms * places), 1,
					    1, 1024, 1, 1, 0, stream, params));
	probe_say("cooperative", "%u", sms_seen());
}

static void tell_ways(void)
{
	pthread_t threads[THREADS];
	CUstream stream;

	MUST(cuStreamCreate(&stream, CU_STREAM_DEFAULT));
	MUST(bring_work(NULL));
	probe_say("default", "%u", sms_seen());
	MUST(bring_work(CU_STREAM_PER_THREAD));
	probe_say("per_thread", "%u", sms_seen());
	MUST(bring_work(stream));
	probe_say("stream", "%u", sms_seen());
	tell_graph(stream);
	tell_cooperative(stream);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, work_along, NULL);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	probe_say("threads", "%u", sms_seen());
}

int main(int argc, char *argv[])
{
	const char *what = argc > 1 ? argv[1] : "";

	open_census();
	if (strcmp(what, "sizes") == 0)
		tell_all_sizes();
	else if (strcmp(what, "streams") == 0)
		tell_streams();
	else
		tell_ways();
	return 0;
}
