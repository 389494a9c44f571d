/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "semantics.h"

#include <pthread.h>
#include <stdio.h>

/* What the governor's helper does while the program captures. */
struct bystander {
	CUcontext context;
	CUstream stream;
	CUevent begin, end; /* recorded in `stream`, ended */
	bool is_relaxed;
	CUresult query, elapsed, record, create;
};

static void act(struct bystander *by)
{
	CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
	CUevent made;
	float ms;

	if (by->is_relaxed)
		MUST(cuThreadExchangeStreamCaptureMode(&mode));
	by->query = cuEventQuery(by->end);
	by->elapsed = cuEventElapsedTime(&ms, by->begin, by->end);
	by->record = cuEventRecord(by->end, by->stream);
	by->create = cuEventCreate(&made, CU_EVENT_DEFAULT);
	if (by->create == CUDA_SUCCESS)
		(void)cuEventDestroy(made);
	if (by->is_relaxed)
		MUST(cuThreadExchangeStreamCaptureMode(&mode));
}

static void *act_in_thread(void *argument)
{
	struct bystander *by = argument;

	MUST(cuCtxSetCurrent(by->context));
	act(by);
	return NULL;
}

static bool is_unharmed(const struct bystander *by)
{
	return by->query == CUDA_SUCCESS && by->elapsed == CUDA_SUCCESS &&
	       by->record == CUDA_SUCCESS && by->create == CUDA_SUCCESS;
}

static void say_bystander(const struct bystander *by, const char *prefix)
{
	const struct {
		const char *name;
		CUresult result;
	} calls[] = {{"query", by->query}, {"elapsed", by->elapsed}, {"record", by->record},
		{"create", by->create}};
	char key[64];

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		snprintf(key, sizeof(key), "%s_%s", prefix, calls[i].name);
		probe_say_result(key, calls[i].result);
	}
}

static void ready_events(struct bystander *by)
{
	MUST(cuStreamCreate(&by->stream, CU_STREAM_NON_BLOCKING));
	MUST(cuEventCreate(&by->begin, CU_EVENT_DEFAULT));
	MUST(cuEventCreate(&by->end, CU_EVENT_DEFAULT));
	MUST(cuEventRecord(by->begin, by->stream));
	MUST(cuEventRecord(by->end, by->stream));
	MUST(cuStreamSynchronize(by->stream));
}

/* Captures two launches in global mode; between them the bystander acts, in this thread or in one
 * of its own. Returns what the capture came to. */
static CUresult capture_beside(struct bystander *by, CUfunction empty, bool is_same_thread)
{
	CUstream stream;
	CUgraph graph = NULL;
	pthread_t thread;

	ready_events(by);
	MUST(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	MUST(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
	probe_launch_empty(empty, stream);
	if (is_same_thread)
		act(by);
	else if (pthread_create(&thread, NULL, act_in_thread, by) == 0)
		pthread_join(thread, NULL);
	/* Fails where the capture has been spoilt; the end of it says so as well. */
	(void)cuLaunchKernel(empty, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL);
	CUresult res = cuStreamEndCapture(stream, &graph);
	if (res == CUDA_SUCCESS)
		MUST(cuGraphDestroy(graph));
	MUST(cuStreamDestroy(stream));
	return res;
}

void check_capture_relaxed(void)
{
	struct bystander by = {.context = probe_open()};
	CUfunction empty = probe_kernel("gpu_empty");
	bool holds = true;

	by.is_relaxed = true;
	for (int is_same_thread = 0; is_same_thread <= 1; is_same_thread++) {
		const char *prefix = is_same_thread ? "same_thread" : "other_thread";
		CUresult end = capture_beside(&by, empty, is_same_thread);
		say_bystander(&by, prefix);
		probe_say_result(is_same_thread ? "same_thread_end" : "other_thread_end", end);
		holds = holds && end == CUDA_SUCCESS && is_unharmed(&by);
	}
	/* For comparison only: what happens to those who do not relax. */
	by.is_relaxed = false;
	CUresult end = capture_beside(&by, empty, false);
	say_bystander(&by, "not_relaxed");
	probe_say_result("not_relaxed_end", end);
	semantics_holds(holds);
}

/* Asks the legacy stream while a stream with `flags` captures. */
static bool ask_legacy(CUfunction empty, unsigned flags, const char *key, CUresult expected)
{
	CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
	CUstream stream;
	CUgraph graph;

	MUST(cuStreamCreate(&stream, flags));
	MUST(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
	probe_launch_empty(empty, stream);
	CUresult res = cuStreamIsCapturing(NULL, &status);
	probe_launch_empty(empty, stream);
	CUresult end = cuStreamEndCapture(stream, &graph);
	probe_say_result(key, res);
	probe_say_result("end", end);
	return res == expected && status == CU_STREAM_CAPTURE_STATUS_NONE && end == CUDA_SUCCESS;
}

void check_capture_legacy(void)
{
	probe_open();
	CUfunction empty = probe_kernel("gpu_empty");

	bool holds = ask_legacy(
		empty, CU_STREAM_DEFAULT, "beside_blocking", CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
	holds = ask_legacy(empty, CU_STREAM_NON_BLOCKING, "beside_non_blocking", CUDA_SUCCESS) &&
		holds;
	semantics_holds(holds);
}
