/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: gpu-partition sizes | streams | ways | part [SMS] | nodes | own-nodes |
 *                      order MILLISECONDS plain|forget|green|inside
 *
 * What green contexts do on this machine, by a kernel that notes its SMs. `sizes`: which partitions
 * there are, and on how many SMs each really runs. `streams`: whether a stream or the current
 * context decides where a kernel runs. `part`: one of so many SMs, or of half of them. `ways`: on
 * how many SMs work runs that comes in different ways; to be run in a slice, too. `order` is in
 * partition_order.h, `nodes` and `own-nodes` in partition_nodes.h.
 */
#include "census.h"
#include "green.h"
#include "partition_nodes.h"
#include "partition_order.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 16
#define ROUNDS  64

static CUcontext primary;

static unsigned sms_of_green(CUgreenCtx green)
{
	CUstream stream = green_stream(green);

	MUST(census_launch(stream));
	unsigned count = census_take();
	MUST(cuStreamDestroy(stream));
	return count;
}

static void say_of(const char *key, const char *what, unsigned value)
{
	char name[64];

	snprintf(name, sizeof(name), "%s_%s", key, what);
	probe_say(name, "%u", value);
}

/* What is given for each number that is asked for, where that changes; `wrong` counts those that
 * ran on another number of SMs than they say. */
static void tell_sizes(const char *key, unsigned flags)
{
	unsigned last = 0, wrong = 0, sizes = 0, smallest = 0, all = green_sms_of_device();

	printf("%s_list=", key);
	for (unsigned wanted = 1; wanted <= all; wanted++) {
		unsigned given = 0;
		CUgreenCtx green = wanted > last ? green_make(wanted, flags, 0, &given) : NULL;
		if (green == NULL)
			continue;
		last = given;
		smallest = smallest == 0 ? last : smallest;
		sizes++;
		printf("%s%u", sizes > 1 ? " " : "", given);
		wrong += sms_of_green(green) != last ? 1 : 0;
		green_destroy(green);
	}
	putchar('\n');
	say_of(key, "sizes", sizes);
	say_of(key, "smallest", smallest);
	say_of(key, "largest", last);
	say_of(key, "wrong", wrong);
}

/* Groups of one split in one context: two of the least, three, and so on to all of them. */
static void tell_merged(void)
{
	unsigned last = 0, wrong = 0, sms;

	for (unsigned count = 2;; count++) {
		CUgreenCtx green = green_merge(8, count, &sms);
		bool is_new = green != NULL && sms > last;
		if (is_new) {
			last = sms;
			wrong += sms_of_green(green) != sms ? 1 : 0;
		}
		if (green != NULL)
			green_destroy(green);
		if (!is_new)
			break;
	}
	say_of("merged", "largest", last);
	say_of("merged", "wrong", wrong);
}

static void tell_all_sizes(void)
{
	tell_sizes("plain", 0);
	tell_sizes("fine", CU_DEV_SM_RESOURCE_SPLIT_IGNORE_SM_COSCHEDULING);
	tell_merged();
}

static CUgreenCtx must_make(unsigned wanted, unsigned *ret_sms)
{
	CUgreenCtx green = green_make(wanted, 0, 0, ret_sms);

	if (green == NULL)
		probe_must(
			CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION, "cuDevSmResourceSplitByCount");
	return green;
}

static void tell_part(unsigned wanted)
{
	unsigned sms;
	CUgreenCtx green = must_make(wanted, &sms);

	probe_say("partition", "%u", sms);
	probe_say("ran_on", "%u", sms_of_green(green));
}

static void tell_nodes(void)
{
	unsigned sms;
	CUgreenCtx green = must_make(16, &sms);

	probe_say("partition", "%u", sms);
	nodes_tell_green(green);
}

static void tell_streams(void)
{
	CUstream of_primary, made_inside;
	unsigned sms;
	CUgreenCtx green = must_make(16, &sms);

	MUST(cuStreamCreate(&of_primary, CU_STREAM_NON_BLOCKING));
	probe_say("partition", "%u", sms);
	MUST(cuCtxSetCurrent(green_context(green)));
	MUST(cuStreamCreate(&made_inside, CU_STREAM_NON_BLOCKING));
	probe_say_result("primarys_stream_inside", census_launch(of_primary));
	MUST(cuStreamSynchronize(of_primary)); /* the current context's wait is not for it */
	probe_say("primarys_stream_ran_on", "%u", census_take());
	MUST(census_launch(NULL));
	probe_say("default_inside_ran_on", "%u", census_take());
	probe_say_result("per_thread_inside", census_launch(CU_STREAM_PER_THREAD));
	census_take();
	MUST(cuCtxSetCurrent(primary));
	MUST(census_launch(made_inside));
	probe_say("stream_of_partition_ran_on", "%u", census_take());
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
		MUST(census_launch(streams[i % 4]));
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
	MUST(census_launch(stream));
	MUST(cuStreamEndCapture(stream, &graph));
	MUST(cuGraphInstantiate(&exec, graph, 0));
	MUST(cuGraphLaunch(exec, stream));
	probe_say("graph", "%u", census_take());
	MUST(cuGraphLaunch(exec, NULL));
	probe_say("graph_on_default", "%u", census_take());
	MUST(cuGraphExecDestroy(exec));
	MUST(cuGraphDestroy(graph));
}

static void tell_cooperative(CUstream stream)
{
	probe_say_result("cooperative_fits", census_launch_cooperative(stream, census.sms, 0));
	probe_say("cooperative", "%u", census_take());
}

static void tell_ways(void)
{
	pthread_t threads[THREADS];
	CUstream stream;

	MUST(cuStreamCreate(&stream, CU_STREAM_DEFAULT));
	MUST(census_launch(NULL));
	probe_say("default", "%u", census_take());
	MUST(census_launch(CU_STREAM_PER_THREAD));
	probe_say("per_thread", "%u", census_take());
	MUST(census_launch(stream));
	probe_say("stream", "%u", census_take());
	tell_graph(stream);
	tell_cooperative(stream);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, work_along, NULL);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	probe_say("threads", "%u", census_take());
}

int main(int argc, char *argv[])
{
	const char *what = argc > 1 ? argv[1] : "";

	primary = probe_open();
	if (strcmp(what, "order") == 0 && argc == 4)
		return order_run(primary, strtoull(argv[2], NULL, 10), argv[3]);
	census_open();
	if (strcmp(what, "sizes") == 0)
		tell_all_sizes();
	else if (strcmp(what, "streams") == 0)
		tell_streams();
	else if (strcmp(what, "part") == 0)
		tell_part(argc == 3 ? (unsigned)strtoul(argv[2], NULL, 10) : green_half());
	else if (strcmp(what, "nodes") == 0)
		tell_nodes();
	else if (strcmp(what, "own-nodes") == 0)
		nodes_tell_own();
	else if (strcmp(what, "ways") == 0)
		tell_ways();
	else
		return 2;
	return 0;
}
