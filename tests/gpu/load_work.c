/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "load.h"
#include "green.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MS            1000000ull
#define SECOND        (1000 * MS)
#define THREADS       256
#define BLOCKS_PER_SM 8
/* Each of the two buffers: large beside any cache. */
#define COPY_BYTES   (256ull << 20)
#define GRAPH_NODES  64
#define STEP_ROUNDS  2000 /* about 5 us */
#define SHORT_ROUNDS (20 * STEP_ROUNDS)
#define BURN_ROUNDS  (200 * STEP_ROUNDS)
#define LONG_ROUNDS  (40000 * STEP_ROUNDS)
/* Of "wide.*": several waves, so that the last one hardly counts, on whatever part of the SMs. */
#define WIDE_BLOCKS_PER_SM 64
#define WIDE_ROUNDS        (6 * STEP_ROUNDS) /* about 1 ms in eight waves of full SMs */
#define SPANS              (1u << 18)
#define DEPTH              8 /* batches ahead of the GPU */
#define MAX_BATCHES        (1u << 16)
/* Of "duty.*": how long the GPU is busy at once. */
#define DUTY_NS (2 * MS)

/* Parameter of the kernels, as in kernels.cu. */
struct spans {
	CUdeviceptr begins, ends, cursor;
	unsigned int offset;
};

static struct {
	CUstream stream;
	CUfunction copy, step, brief, burn, lasting, advance, spin;
	CUgraphExec graph;
	CUdeviceptr from, to, sink;
	struct spans spans;
	unsigned int blocks;
	uint64_t launched; /* since the spans were cleared */
	CUevent ends[DEPTH];
	/* When each batch was seen to have ended. */
	uint64_t times_ns[MAX_BATCHES];
} load;

static CUdeviceptr allocate(size_t size)
{
	CUdeviceptr address;

	MUST(cuMemAlloc(&address, size));
	MUST(cuMemsetD8(address, 0, size));
	return address;
}

static void launch(CUfunction function, unsigned int blocks, void *params[])
{
	unsigned int threads = blocks == 1 ? 1 : THREADS;

	MUST(cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, 0, load.stream, params, NULL));
}

static void launch_copies(unsigned int blocks_per_sm)
{
	struct spans spans = load.spans;
	size_t count = COPY_BYTES / 16;
	void *params[] = {&spans, &load.from, &load.to, &count};

	spans.offset = (unsigned int)(load.launched % SPANS);
	launch(load.copy, load.blocks * blocks_per_sm, params);
}

static void launch_copy(void)
{
	launch_copies(BLOCKS_PER_SM);
}

static void launch_wide_copy(void)
{
	launch_copies(WIDE_BLOCKS_PER_SM);
}

static void launch_steps(CUfunction function, unsigned int blocks_per_sm, int rounds)
{
	struct spans spans = load.spans;
	void *params[] = {&spans, &load.sink, &rounds};

	spans.offset = (unsigned int)(load.launched % SPANS);
	launch(function, load.blocks * blocks_per_sm, params);
}

static void launch_short(void)
{
	launch_steps(load.brief, 1, SHORT_ROUNDS);
}

static void launch_wide_burn(void)
{
	launch_steps(load.brief, WIDE_BLOCKS_PER_SM, WIDE_ROUNDS);
}

static void launch_burn(void)
{
	launch_steps(load.burn, 1, BURN_ROUNDS);
}

static void launch_long(void)
{
	launch_steps(load.lasting, 1, LONG_ROUNDS);
}

static void launch_graph(void)
{
	MUST(cuGraphLaunch(load.graph, load.stream));
}

/* Busy for a while, then idle, by the part that the name gives. */
static void launch_duty(unsigned int percent)
{
	struct timespec rest = {.tv_nsec = (long)(DUTY_NS * (100 - percent) / percent)};
	uint64_t duration_ns = DUTY_NS;
	void *params[] = {&duration_ns};

	launch(load.spin, 1, params);
	MUST(cuStreamSynchronize(load.stream));
	nanosleep(&rest, NULL);
}

static void launch_duty_10(void)
{
	launch_duty(10);
}

static void launch_duty_50(void)
{
	launch_duty(50);
}

static void launch_spin(void)
{
	uint64_t duration_ns = MS;
	void *params[] = {&duration_ns};

	launch(load.spin, 1, params);
}

static const struct workload {
	const char *name;
	void (*launch)(void);
	unsigned int batch; /* launches between two looks at what has ended */
	unsigned int depth; /* batches ahead of the GPU, DEPTH at most */
	bool has_spans;
} workloads[] = {
	{"copy", launch_copy, 4, DEPTH, true},
	{"graph", launch_graph, 2, DEPTH, true},
	{"short", launch_short, 8, DEPTH, true},
	{"burn", launch_burn, 1, DEPTH, true},
	{"long", launch_long, 1, 2, true},
	{"wide.burn", launch_wide_burn, 1, DEPTH, true},
	{"wide.copy", launch_wide_copy, 2, DEPTH, true},
	{"spin", launch_spin, 1, DEPTH, false},
	{"duty.10", launch_duty_10, 1, DEPTH, false},
	{"duty.50", launch_duty_50, 1, DEPTH, false},
};

static const struct workload *find_workload(const char *name)
{
	for (size_t i = 0; i < sizeof(workloads) / sizeof(workloads[0]); i++) {
		if (strcmp(workloads[i].name, name) == 0)
			return &workloads[i];
	}
	return NULL;
}

bool load_knows(const char *name)
{
	return find_workload(name) != NULL;
}

static void make_graph(void)
{
	int rounds = STEP_ROUNDS;
	void *params[] = {&load.spans, &load.sink, &rounds};
	void *cursor[] = {&load.spans.cursor};
	CUgraph graph;

	MUST(cuStreamBeginCapture(load.stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
	for (int i = 0; i < GRAPH_NODES; i++)
		launch(load.step, load.blocks, params);
	launch(load.advance, 1, cursor);
	MUST(cuStreamEndCapture(load.stream, &graph));
	MUST(cuGraphInstantiate(&load.graph, graph, 0));
	MUST(cuGraphDestroy(graph));
}

void load_prepare(void)
{
	CUdevice device;
	CUmodule module;
	int sm_count;

	MUST(cuCtxGetDevice(&device));
	MUST(cuDeviceGetAttribute(&sm_count, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device));
	load.blocks = (unsigned int)sm_count;
	MUST(cuModuleLoadData(&module, kernels_ptx));
	MUST(cuModuleGetFunction(&load.copy, module, "gpu_copy"));
	MUST(cuModuleGetFunction(&load.step, module, "gpu_step"));
	MUST(cuModuleGetFunction(&load.brief, module, "gpu_short"));
	MUST(cuModuleGetFunction(&load.burn, module, "gpu_burn"));
	MUST(cuModuleGetFunction(&load.lasting, module, "gpu_long"));
	MUST(cuModuleGetFunction(&load.advance, module, "gpu_advance"));
	MUST(cuModuleGetFunction(&load.spin, module, "gpu_spin"));
	MUST(cuStreamCreate(&load.stream, CU_STREAM_NON_BLOCKING));
	for (int i = 0; i < DEPTH; i++)
		MUST(cuEventCreate(&load.ends[i], CU_EVENT_DISABLE_TIMING));
	load.from = allocate(COPY_BYTES);
	load.to = allocate(COPY_BYTES);
	load.sink = allocate(sizeof(float));
	load.spans.begins = allocate(SPANS * sizeof(uint64_t));
	load.spans.ends = allocate(SPANS * sizeof(uint64_t));
	load.spans.cursor = allocate(sizeof(unsigned int));
	make_graph();
}

unsigned int load_confine(unsigned int sms, unsigned int index)
{
	unsigned int given;
	CUgreenCtx green = green_make(sms, 0, index, &given);

	if (green == NULL)
		return 0;
	MUST(cuStreamDestroy(load.stream));
	MUST(cuGraphExecDestroy(load.graph));
	load.stream = green_stream(green);
	make_graph();
	return given;
}

static void clear_spans(void)
{
	load.launched = 0;
	MUST(cuMemsetD8(load.spans.begins, 0xff, SPANS * sizeof(uint64_t)));
	MUST(cuMemsetD8(load.spans.ends, 0, SPANS * sizeof(uint64_t)));
	MUST(cuMemsetD8(load.spans.cursor, 0, sizeof(unsigned int)));
	MUST(cuCtxSynchronize());
}

/* Of the launches from `first` on. */
static uint64_t sum_spans(uint64_t first, uint64_t count)
{
	uint64_t *begins = malloc(count * sizeof(uint64_t));
	uint64_t *ends = malloc(count * sizeof(uint64_t));
	uint64_t sum_ns = 0;

	if (begins == NULL || ends == NULL || first + count > SPANS)
		count = 0;
	if (count > 0) {
		MUST(cuMemcpyDtoH(begins, load.spans.begins + first * sizeof(uint64_t),
			count * sizeof(uint64_t)));
		MUST(cuMemcpyDtoH(ends, load.spans.ends + first * sizeof(uint64_t),
			count * sizeof(uint64_t)));
	}
	for (uint64_t i = 0; i < count; i++)
		sum_ns += ends[i] > begins[i] ? ends[i] - begins[i] : 0;
	free(begins);
	free(ends);
	return sum_ns;
}

static void submit(const struct workload *workload, uint64_t number)
{
	for (unsigned int i = 0; i < workload->batch; i++) {
		workload->launch();
		load.launched++;
	}
	MUST(cuEventRecord(load.ends[number % DEPTH], load.stream));
}

/* Batches `first` to `count` - 1: the most and the least that any window of a second holds. */
static void look_at_windows(
	struct load_result *result, unsigned int batch, uint64_t first, uint64_t count)
{
	for (uint64_t from = first, to = first; to < count; from++) {
		while (to < count && load.times_ns[to] - load.times_ns[from] < SECOND)
			to++;
		if (to == count)
			break;
		double per_s = (double)((to - from) * batch) * 1e9 /
			       (double)(load.times_ns[to] - load.times_ns[from]);
		if (from == first || per_s > result->most_per_s)
			result->most_per_s = per_s;
		if (from == first || per_s < result->least_per_s)
			result->least_per_s = per_s;
	}
}

/* The longest time from the end of a batch to that of the next. */
static void look_for_gap(struct load_result *result, uint64_t first, uint64_t count)
{
	for (uint64_t i = first + 1; i < count; i++) {
		uint64_t gap_ns = load.times_ns[i] - load.times_ns[i - 1];
		if (gap_ns > result->gap_ns)
			result->gap_ns = gap_ns;
	}
}

struct load_result load_run(const char *name, uint64_t lead_ns, uint64_t time_ns)
{
	const struct workload *workload = find_workload(name);
	uint64_t start_ns = probe_now_ns(), submitted = 0, ended = 0, first = 0;
	bool is_begun = false, is_over = false;

	clear_spans();
	while (ended < submitted || !is_over) {
		while (!is_over && submitted < ended + workload->depth)
			submit(workload, submitted++);
		MUST(cuEventSynchronize(load.ends[ended % DEPTH]));
		uint64_t now_ns = probe_now_ns();
		load.times_ns[ended++] = now_ns;
		if (!is_begun && now_ns - start_ns >= lead_ns) {
			is_begun = true;
			first = ended - 1;
			puts("begun");
			fflush(stdout);
		}
		is_over |= is_begun && now_ns - load.times_ns[first] >= time_ns;
		is_over |= submitted + DEPTH >= MAX_BATCHES;
	}
	puts(is_begun ? "ended" : "begun\nended"); /* the latter: too fast for the table */
	fflush(stdout);
	struct load_result result = {
		.done = (ended - 1 - first) * workload->batch,
		.wall_ns = load.times_ns[ended - 1] - load.times_ns[first],
	};
	look_at_windows(&result, workload->batch, first, ended);
	look_for_gap(&result, first, ended);
	if (workload->has_spans)
		result.busy_ns = sum_spans((first + 1) * workload->batch, result.done);
	return result;
}

static int compare(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return (a > b) - (a < b);
}

static void sleep_until(uint64_t at_ns)
{
	struct timespec at = {
		.tv_sec = (time_t)(at_ns / SECOND), .tv_nsec = (long)(at_ns % SECOND)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) != 0)
		continue;
}

struct load_requests load_request(uint64_t period_ns, uint64_t time_ns)
{
	uint64_t due_ns = probe_now_ns(), end_ns = due_ns + time_ns;
	struct load_requests found = {0};

	clear_spans();
	for (; due_ns < end_ns && found.count < MAX_BATCHES; due_ns += period_ns) {
		sleep_until(due_ns);
		launch_burn();
		MUST(cuStreamSynchronize(load.stream));
		load.times_ns[found.count++] = probe_now_ns() - due_ns;
		load.launched++;
	}
	qsort(load.times_ns, found.count, sizeof(load.times_ns[0]), compare);
	found.p50_ns = load.times_ns[(found.count - 1) / 2];
	found.p99_ns = load.times_ns[(found.count * 99 + 99) / 100 - 1];
	found.busy_ns = sum_spans(0, found.count);
	return found;
}
