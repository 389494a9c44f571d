/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * shares-workload: a program that uses the GPU in one pattern for so long. It measures nothing of
 * the GPU itself: that is done from outside. But for -t it knows nothing of cuslice.
 *
 *   shares-workload [OPTION]... PATTERN KERNEL LENGTH_NS MILLISECONDS
 *
 * KERNEL is the kernel's name, by which simgpu's settings know how long one of its blocks takes;
 * LENGTH_NS is how long one launch takes (of a graph: all its nodes together).
 *
 *   -b BLOCKS  a launch has so many blocks of 1024 threads, not one of one thread
 *   -p NS      the period of `requests` and `phases`, the pause of `thinks`
 *   -o NS      the part of it in which `phases` works
 *   -t PPM     tightens its own share to that in the middle of its time, where cuslice is there
 *
 *   sync      waits for each launch
 *   queue     keeps 50 ms of launches queued on one stream, and waits only for what is far behind
 *   graph     the same with graphs of 20 kernels
 *   streams   the same on 8 streams, whose kernels run side by side
 *   requests  every period one launch, waited for, and timed from when it was due
 *   thinks    waits for each launch, and pauses before the next
 *   phases    as queue, but from each period only a part; says when each began and ended
 *   idle      has a context and launches nothing
 */
#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../clock.h"
#include "../cuda_client.h"

#define STREAMS      8
#define GRAPH_NODES  20
#define HALVES       2
#define BIG_BLOCK    1024
#define MAX_REQUESTS 1000000
/* The first ones meet what happens only once. */
#define REQUESTS_UNTIMED 10

/* What is queued at most, in time: enough that a program which is not scheduled for a while keeps
 * the GPU busy. */
#define QUEUED_NS 50000000u

struct workload {
	struct cuda_client cuda;
	CUfunction kernel;
	CUstream streams[STREAMS];
	CUevent ends[HALVES][STREAMS]; /* of each half of the queue */
	unsigned stream_count;
	CUgraphExec graph; /* NULL: kernels are launched by themselves */
	unsigned blocks;   /* 0: one of one thread */
	uint64_t period_ns, on_ns;
	uint64_t length_ns, end_ns, launches, records;
	uint32_t tighten_ppm; /* 0: not to be done, or done */
	uint64_t tighten_at_ns;
};

typedef int tighten_compute(int device, uint32_t share_ppm);

static void must(const char *what, CUresult res)
{
	if (!cuda_client_is_done(what, res))
		exit(EXIT_FAILURE);
}

static void launch_kernel(struct workload *load, CUstream stream)
{
	unsigned blocks = load->blocks > 0 ? load->blocks : 1;
	unsigned threads = load->blocks > 0 ? BIG_BLOCK : 1;

	must("cuLaunchKernel", load->cuda.cuLaunchKernel(load->kernel, blocks, 1, 1, threads, 1, 1,
				       0, stream, NULL, NULL));
}

static void make_graph(struct workload *load)
{
	CUgraph graph;

	must("cuStreamBeginCapture", load->cuda.cuStreamBeginCapture_v2(load->streams[0],
					     CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
	for (unsigned i = 0; i < GRAPH_NODES; i++)
		launch_kernel(load, load->streams[0]);
	must("cuStreamEndCapture", load->cuda.cuStreamEndCapture(load->streams[0], &graph));
	must("cuGraphInstantiate", load->cuda.cuGraphInstantiateWithFlags(&load->graph, graph, 0));
}

static void make_events(struct workload *load)
{
	const unsigned flags = CU_EVENT_DISABLE_TIMING | CU_EVENT_BLOCKING_SYNC;

	for (unsigned i = 0; i < HALVES * STREAMS; i++)
		must("cuEventCreate",
			load->cuda.cuEventCreate(&load->ends[i / STREAMS][i % STREAMS], flags));
}

static void open_workload(struct workload *load, const char *pattern, const char *kernel)
{
	if (!cuda_client_open(&load->cuda) ||
		!cuda_client_load_kernel(&load->cuda, kernel, &load->kernel))
		exit(EXIT_FAILURE);
	load->stream_count = strcmp(pattern, "streams") == 0 ? STREAMS : 1;
	for (unsigned i = 0; i < load->stream_count; i++)
		must("cuStreamCreate",
			load->cuda.cuStreamCreate(&load->streams[i], CU_STREAM_NON_BLOCKING));
	make_events(load);
	if (strcmp(pattern, "graph") == 0)
		make_graph(load);
}

/* The one thing here that knows of cuslice, and only where it was asked for. */
static void tighten(struct workload *load)
{
	tighten_compute *tighten_share =
		(tighten_compute *)dlsym(RTLD_DEFAULT, "cuslice_tighten_compute");

	if (tighten_share != NULL && tighten_share(0, load->tighten_ppm) != 0) {
		fprintf(stderr, "shares-workload: the share was not tightened\n");
		exit(EXIT_FAILURE);
	}
	printf("tightened_at_ns %" PRIu64 "\n", clock_now_ns());
	load->tighten_ppm = 0;
}

static void launch(struct workload *load, CUstream stream)
{
	if (load->tighten_ppm != 0 && clock_now_ns() >= load->tighten_at_ns)
		tighten(load);
	if (load->graph != NULL)
		must("cuGraphLaunch", load->cuda.cuGraphLaunch(load->graph, stream));
	else
		launch_kernel(load, stream);
	load->launches++;
}

static bool is_over(uint64_t end_ns)
{
	return clock_now_ns() >= end_ns;
}

static void run_sync(struct workload *load)
{
	while (!is_over(load->end_ns)) {
		launch(load, load->streams[0]);
		must("cuStreamSynchronize", load->cuda.cuStreamSynchronize(load->streams[0]));
	}
}

/* Launches per stream, half of what is queued. */
static uint64_t half_of_queue(const struct workload *load)
{
	uint64_t half = QUEUED_NS / HALVES / load->length_ns;

	return half < 2 ? 2 : half;
}

/* Events mark the end of each half of the queue: before a half is queued again, what it held before
 * has ended, while the other half still runs. */
static void run_queue(struct workload *load, uint64_t end_ns)
{
	uint64_t half = half_of_queue(load);

	for (unsigned turn = 0; !is_over(end_ns); turn++) {
		CUevent *end = load->ends[turn % HALVES];
		for (unsigned i = 0; i < load->stream_count; i++)
			must("cuEventSynchronize", load->cuda.cuEventSynchronize(end[i]));
		for (uint64_t i = 0; i < half * load->stream_count && !is_over(end_ns); i++)
			launch(load, load->streams[i % load->stream_count]);
		for (unsigned i = 0; i < load->stream_count; i++)
			must("cuEventRecord", load->cuda.cuEventRecord(end[i], load->streams[i]));
		load->records += load->stream_count;
	}
}

static void sleep_until(uint64_t at_ns)
{
	struct timespec at = {
		.tv_sec = (time_t)(at_ns / 1000000000u), .tv_nsec = (long)(at_ns % 1000000000u)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) != 0)
		continue;
}

static int compare(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return (a > b) - (a < b);
}

static uint64_t at_rank(const uint64_t *sorted, size_t count, unsigned percent)
{
	size_t rank = (count * percent + 99) / 100;

	return sorted[rank == 0 ? 0 : rank - 1];
}

/* A request that the one before delays waits, and its wait counts. */
static void run_requests(struct workload *load)
{
	static uint64_t took_ns[MAX_REQUESTS];
	size_t count = 0;

	for (uint64_t due_ns = clock_now_ns(); !is_over(load->end_ns) && count < MAX_REQUESTS;
		due_ns += load->period_ns) {
		sleep_until(due_ns);
		launch(load, load->streams[0]);
		must("cuStreamSynchronize", load->cuda.cuStreamSynchronize(load->streams[0]));
		if (load->launches > REQUESTS_UNTIMED)
			took_ns[count++] = clock_now_ns() - due_ns;
	}
	if (count == 0)
		return;
	qsort(took_ns, count, sizeof(took_ns[0]), compare);
	printf("requests %zu\np50_ns %" PRIu64 "\np99_ns %" PRIu64 "\nmax_ns %" PRIu64 "\n", count,
		at_rank(took_ns, count, 50), at_rank(took_ns, count, 99), took_ns[count - 1]);
}

static void run_thinks(struct workload *load)
{
	while (!is_over(load->end_ns)) {
		launch(load, load->streams[0]);
		must("cuStreamSynchronize", load->cuda.cuStreamSynchronize(load->streams[0]));
		sleep_until(clock_now_ns() + load->period_ns);
	}
}

/* What is queued at the end of a phase is waited for, and the phase lasts until then. */
static void run_phases(struct workload *load)
{
	uint64_t due_ns = clock_now_ns();

	for (unsigned i = 0; !is_over(load->end_ns); i++) {
		printf("on_%u_ns %" PRIu64 "\n", i, clock_now_ns());
		run_queue(load, due_ns + load->on_ns);
		must("cuStreamSynchronize", load->cuda.cuStreamSynchronize(load->streams[0]));
		printf("off_%u_ns %" PRIu64 "\n", i, clock_now_ns());
		due_ns += load->period_ns;
		sleep_until(due_ns);
	}
}

static uint64_t read_number(const char *text)
{
	char *end;
	unsigned long long number = strtoull(text, &end, 10);

	if (text[0] < '0' || text[0] > '9' || *end != '\0' || number == 0) {
		fprintf(stderr, "shares-workload: \"%s\": a number is needed\n", text);
		exit(2);
	}
	return number;
}

static bool read_options(int argc, char *argv[], struct workload *load)
{
	int option;

	while ((option = getopt(argc, argv, "b:o:p:t:")) != -1) {
		switch (option) {
		case 'b':
			load->blocks = (unsigned)read_number(optarg);
			break;
		case 'o':
			load->on_ns = read_number(optarg);
			break;
		case 'p':
			load->period_ns = read_number(optarg);
			break;
		case 't':
			load->tighten_ppm = (uint32_t)read_number(optarg);
			break;
		default:
			return false;
		}
	}
	return argc == optind + 4;
}

/* False where there is no such pattern, or its options are missing. */
static bool run(struct workload *load, const char *pattern)
{
	bool is_requests = strcmp(pattern, "requests") == 0;
	bool is_phases = strcmp(pattern, "phases") == 0;
	bool is_thinks = strcmp(pattern, "thinks") == 0;

	if ((is_requests || is_phases || is_thinks) && load->period_ns == 0)
		return false;
	if (is_requests)
		run_requests(load);
	else if (is_phases)
		run_phases(load);
	else if (is_thinks)
		run_thinks(load);
	else if (strcmp(pattern, "sync") == 0)
		run_sync(load);
	else if (strcmp(pattern, "idle") == 0)
		sleep_until(load->end_ns);
	else if (strcmp(pattern, "queue") == 0 || strcmp(pattern, "graph") == 0 ||
		 strcmp(pattern, "streams") == 0)
		run_queue(load, load->end_ns);
	else
		return false;
	return true;
}

static int say_usage(void)
{
	fprintf(stderr, "usage: shares-workload [-b BLOCKS] [-p NS] [-o NS] [-t PPM] PATTERN "
			"KERNEL LENGTH_NS MILLISECONDS\n");
	return 2;
}

int main(int argc, char *argv[])
{
	static struct workload load;

	if (!read_options(argc, argv, &load))
		return say_usage();
	const char *pattern = argv[optind];
	load.length_ns = read_number(argv[optind + 2]);
	open_workload(&load, pattern, argv[optind + 1]);
	uint64_t now_ns = clock_now_ns(), span_ns = read_number(argv[optind + 3]) * 1000000u;
	printf("begun_ns %" PRIu64 "\n", now_ns);
	load.end_ns = now_ns + span_ns;
	load.tighten_at_ns = now_ns + span_ns / 2;
	if (!run(&load, pattern))
		return say_usage();
	must("cuCtxSynchronize", load.cuda.cuCtxSynchronize());
	printf("launches %" PRIu64 "\n", load.launches);
	const _Atomic uint64_t *records = cuda_client_event_records(&load.cuda);
	if (records != NULL) /* by whoever stands between us and the driver */
		printf("records_of_others %" PRIu64 "\n", *records - load.records);
	return EXIT_SUCCESS;
}
