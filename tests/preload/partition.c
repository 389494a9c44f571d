/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_partition [launching | node] ways | order SEED [wait] | busy MILLISECONDS [WAVES] |
 *                         own_context | reset [wait]
 *
 * Brings work to a device by all its streams. `ways` says how many SMs each of them used, `order`
 * whether work of default streams and of those that block on them came one after the other as CUDA
 * has it, `busy` fills the device and says how many kernels that were, each of so many waves on all
 * of it, `own_context` works in a context of its own, `reset` resets the primary one, after a line
 * on stdin if it is to wait. `launching`: first of all code is loaded that launches kernels from
 * kernels. `node`: a node is put into a graph that is never launched.
 */
#include "client.h"
#include "partition.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STREAMS  6
#define STEPS    240u
#define SM_WORDS 128u

static const char image[] = ".version 7.0\n"
			    ".target sm_75\n"
			    ".address_size 64\n"
			    ".visible .entry cuslice_census(.param .u64 a, .param .u32 b)\n"
			    "{ ret; }\n"
			    ".visible .entry mark_short(.param .u64 a, .param .u32 b)\n"
			    "{ ret; }\n"
			    ".visible .entry mark_middle(.param .u64 a, .param .u32 b)\n"
			    "{ ret; }\n"
			    ".visible .entry mark_long(.param .u64 a, .param .u32 b)\n"
			    "{ ret; }\n"
			    ".visible .entry busy()\n"
			    "{ ret; }\n";

static CUcontext primary;
static CUmodule module;
static CUfunction census, busy, marks[3];

static void load(void)
{
	must(cuModuleLoadData(&module, image), "module");
	must(cuModuleGetFunction(&census, module, "cuslice_census"), "census");
	must(cuModuleGetFunction(&busy, module, "busy"), "busy");
	must(cuModuleGetFunction(&marks[0], module, "mark_short"), "mark_short");
	must(cuModuleGetFunction(&marks[1], module, "mark_middle"), "mark_middle");
	must(cuModuleGetFunction(&marks[2], module, "mark_long"), "mark_long");
}

static void open_primary(void)
{
	must(cuInit(0), "cuInit");
	must(cuDevicePrimaryCtxRetain(&primary, 0), "primary");
	must(cuCtxSetCurrent(primary), "current");
	load();
}

static uint32_t draw(uint64_t *seed, uint32_t below)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*seed >> 33) % below;
}

/* Enough blocks for every SM to get some. */
#define CENSUS_BLOCKS 264
#define CENSUS(call, stream, seen)                                    \
	must(call(census, CENSUS_BLOCKS, 1, 1, 1024, 1, 1, 0, stream, \
		     (void *[]){&(seen), &(uint32_t){1}}, NULL),      \
		#call)

static unsigned sms_of(CUdeviceptr seen)
{
	uint32_t words[SM_WORDS];
	unsigned count = 0;

	must(cuCtxSynchronize(), "synchronize");
	must(cuMemcpyDtoH_v2(words, seen, sizeof(words)), "read");
	must(cuMemsetD8_v2(seen, 0, sizeof(words)), "clear");
	for (unsigned i = 0; i < SM_WORDS; i++)
		count += (unsigned)__builtin_popcount(words[i]);
	return count;
}

static CUdeviceptr make_seen(void)
{
	CUdeviceptr seen;

	must(cuMemAlloc_v2(&seen, SM_WORDS * 4), "memory");
	must(cuMemsetD8_v2(seen, 0, SM_WORDS * 4), "clear");
	return seen;
}

static void launch_ex(CUstream stream, CUdeviceptr seen)
{
	CUlaunchConfig config = {.gridDimX = CENSUS_BLOCKS,
		.gridDimY = 1,
		.gridDimZ = 1,
		.blockDimX = 1024,
		.blockDimY = 1,
		.blockDimZ = 1,
		.hStream = stream};

	must(cuLaunchKernelEx(&config, census, (void *[]){&seen, &(uint32_t){1}}, NULL), "ex");
	must_be(config.hStream == stream, "the program's config is as it was");
}

static void replay(CUstream capturing, CUstream launched, CUdeviceptr seen)
{
	CUgraph graph;
	CUgraphExec exec;

	must(cuStreamBeginCapture_v2(capturing, CU_STREAM_CAPTURE_MODE_GLOBAL), "begin");
	CENSUS(cuLaunchKernel, capturing, seen);
	must(cuStreamEndCapture(capturing, &graph), "end");
	must(cuGraphInstantiateWithFlags(&exec, graph, 0), "instantiate");
	must(cuGraphLaunch(exec, launched), "graph");
	must(cuStreamSynchronize(launched), "synchronize");
	must(cuGraphExecDestroy(exec), "destroy");
	must(cuGraphDestroy(graph), "destroy");
}

static void *in_thread(void *data)
{
	CUdeviceptr seen = *(CUdeviceptr *)data;

	must(cuCtxSetCurrent(primary), "current");
	CENSUS(cuLaunchKernel, NULL, seen);
	CENSUS(cuLaunchKernel, CU_STREAM_PER_THREAD, seen);
	CENSUS(cuLaunchKernel_ptsz, NULL, seen);
	must(cuStreamSynchronize(CU_STREAM_PER_THREAD), "synchronize");
	return NULL;
}

static void streams_are_as_asked_for(CUstream stream, unsigned flags, int priority)
{
	unsigned shown_flags;
	int shown_priority;
	CUcontext context;

	must(cuStreamGetFlags(stream, &shown_flags), "flags");
	must(cuStreamGetPriority(stream, &shown_priority), "priority");
	must(cuStreamGetCtx(stream, &context), "context");
	must_be(shown_flags == flags && shown_priority == priority, "flags and priority");
	must_be(context == primary, "the stream's context");
}

static void ways(void)
{
	CUdeviceptr seen = make_seen();
	CUstream blocking, free_running, important;
	pthread_t thread;
	int sms;

	must(cuDeviceGetAttribute(&sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0), "SMs");
	say("told %d", sms);
	must(cuStreamCreate(&blocking, CU_STREAM_DEFAULT), "stream");
	must(cuStreamCreate(&free_running, CU_STREAM_NON_BLOCKING), "stream");
	must(cuStreamCreateWithPriority(&important, CU_STREAM_NON_BLOCKING, -1), "stream");
	streams_are_as_asked_for(blocking, CU_STREAM_DEFAULT, 0);
	streams_are_as_asked_for(free_running, CU_STREAM_NON_BLOCKING, 0);
	streams_are_as_asked_for(important, CU_STREAM_NON_BLOCKING, -1);
	CENSUS(cuLaunchKernel, NULL, seen);
	say("null %u", sms_of(seen));
	CENSUS(cuLaunchKernel, CU_STREAM_LEGACY, seen);
	say("legacy %u", sms_of(seen));
	CENSUS(cuLaunchKernel, CU_STREAM_PER_THREAD, seen);
	say("per_thread %u", sms_of(seen));
	CENSUS(cuLaunchKernel_ptsz, NULL, seen);
	say("ptsz %u", sms_of(seen));
	CENSUS(cuLaunchKernel, blocking, seen);
	say("blocking %u", sms_of(seen));
	CENSUS(cuLaunchKernel, free_running, seen);
	say("non_blocking %u", sms_of(seen));
	CENSUS(cuLaunchKernel, important, seen);
	say("priority %u", sms_of(seen));
	launch_ex(NULL, seen);
	say("ex_null %u", sms_of(seen));
	launch_ex(blocking, seen);
	say("ex_stream %u", sms_of(seen));
	replay(free_running, free_running, seen);
	say("graph %u", sms_of(seen));
	replay(free_running, NULL, seen);
	say("graph_null %u", sms_of(seen));
	replay(CU_STREAM_PER_THREAD, blocking, seen);
	say("graph_per_thread %u", sms_of(seen));
	must_be(pthread_create(&thread, NULL, in_thread, &seen) == 0, "a thread");
	pthread_join(thread, NULL);
	say("thread %u", sms_of(seen));
	must(cuStreamDestroy_v2(important), "destroy");
	must(cuStreamDestroy_v2(free_running), "destroy");
	must(cuStreamDestroy_v2(blocking), "destroy");
}

/* So many that setting them takes time; the last one counts. */
#define CELLS (1u << 18)

/* One call of a random order: on which stream, and what the cell is from then on in streams that
 * are ordered with the legacy one. */
struct step {
	unsigned stream; /* as in `streams` below */
	uint32_t cell;
};

/* 0: legacy, 1: per thread, 2 and 3: blocking, 4 and 5: not. */
static CUstream streams[STREAMS] = {NULL, CU_STREAM_PER_THREAD};

static bool are_ordered(unsigned a, unsigned b)
{
	return a == b || (a == 0 && b < 4) || (b == 0 && a < 4);
}

static void take_order(
	struct step steps[STEPS], CUdeviceptr marked, CUdeviceptr cells, uint64_t *seed)
{
	uint32_t cell = 0, count;

	for (uint32_t i = 0; i < STEPS; i++) {
		unsigned kind = draw(seed, 3);
		if (draw(seed, 4) == 0)
			must(cuMemsetD32_v2(cells, ++cell, CELLS), "memset");
		steps[i] = (struct step){draw(seed, STREAMS), cell};
		if (draw(seed, 3) == 0)
			steps[i].stream = 0;
		must(cuLaunchKernel(marks[kind], 1, 1, 1, 1, 1, 1, 0, streams[steps[i].stream],
			     (void *[]){&marked, &i}, NULL),
			"mark");
		if (draw(seed, 16) != 0)
			continue;
		/* Ordered behind all that the legacy stream is ordered with. */
		must(cuMemcpyDtoH_v2(&count, marked + offsetof(struct marks, count), 4), "count");
		uint32_t before = 0;
		for (uint32_t j = 0; j <= i; j++)
			before += steps[j].stream < 4 ? 1 : 0;
		must_be(count >= before, "a copy comes behind what was launched before it");
	}
	must(cuCtxSynchronize(), "synchronize");
}

static void check_order(const struct step steps[STEPS], const struct marks *taken)
{
	uint32_t place[STEPS];

	must_be(taken->count == STEPS, "every kernel ran once");
	for (uint32_t i = 0; i < STEPS; i++) {
		place[taken->list[i].number] = i;
		const struct step *step = &steps[taken->list[i].number];
		must_be(step->stream > 3 || taken->list[i].cell == step->cell,
			"a kernel sees what was set before it, and nothing later");
	}
	for (uint32_t i = 0; i < STEPS; i++) {
		for (uint32_t j = i + 1; j < STEPS; j++)
			must_be(!are_ordered(steps[i].stream, steps[j].stream) ||
					place[i] < place[j],
				"kernels end in order");
	}
}

static void order(uint64_t seed, bool is_to_wait)
{
	static struct step steps[STEPS];
	static struct marks taken;
	CUdeviceptr marked, cells;

	must(cuMemAlloc_v2(&marked, sizeof(taken)), "memory");
	must(cuMemAlloc_v2(&cells, CELLS * 4), "memory");
	must(cuMemsetD8_v2(cells, 0, CELLS * 4), "clear");
	taken.cell = (const uint32_t *)(uintptr_t)cells + CELLS - 1;
	must(cuMemcpyHtoD_v2(marked, &taken, sizeof(taken)), "clear");
	for (unsigned i = 2; i < STREAMS; i++)
		must(cuStreamCreate(
			     &streams[i], i < 4 ? CU_STREAM_DEFAULT : CU_STREAM_NON_BLOCKING),
			"stream");
	if (is_to_wait) {
		say("ready");
		getchar();
	}
	take_order(steps, marked, cells, &seed);
	must(cuMemcpyDtoH_v2(&taken, marked, sizeof(taken)), "read");
	check_order(steps, &taken);
	say("ordered %u", STEPS);
}

/* While a batch runs the next one waits behind it. */
static void keep_busy(unsigned long milliseconds, unsigned long waves)
{
	uint64_t begun_ns = now_ns();
	unsigned long kernels = 0;
	CUevent ends[2];

	for (unsigned i = 0; i < 2; i++)
		must(cuEventCreate(&ends[i], CU_EVENT_DISABLE_TIMING), "event");
	for (unsigned batch = 0; now_ns() - begun_ns < milliseconds * 1000000u; batch++) {
		for (unsigned i = 0; i < 8; i++, kernels++)
			must(cuLaunchKernel(busy, CENSUS_BLOCKS * (unsigned)waves, 1, 1, 1024, 1, 1,
				     0, NULL, NULL, NULL),
				"launch");
		must(cuEventRecord(ends[batch % 2], NULL), "record");
		must(cuEventSynchronize(ends[(batch + 1) % 2]), "wait");
	}
	must(cuStreamSynchronize(NULL), "synchronize");
	say("kernels %lu", kernels);
	say("ns %llu", (unsigned long long)(now_ns() - begun_ns));
}

static void own_context(void)
{
	CUcontext context;

	must(cuInit(0), "cuInit");
	must(cuCtxCreate_v2(&context, 0, 0), "context");
	load();
	CUdeviceptr seen = make_seen();
	CENSUS(cuLaunchKernel, NULL, seen);
	say("own %u", sms_of(seen));
}

static void reset(bool waits)
{
	char line[100];
	CUdeviceptr seen = make_seen();

	CENSUS(cuLaunchKernel, NULL, seen);
	say("before %u", sms_of(seen));
	if (waits)
		must_be(fgets(line, sizeof(line), stdin) != NULL, "a line from the test");
	must(cuDevicePrimaryCtxReset_v2(0), "reset");
	must(cuDevicePrimaryCtxRetain(&primary, 0), "primary");
	must(cuCtxSetCurrent(primary), "current");
	load();
	seen = make_seen();
	CENSUS(cuLaunchKernel, NULL, seen);
	say("after %u", sms_of(seen));
}

static void load_launching(void)
{
	static const char launching[] = ".version 7.0\n"
					".target sm_75\n"
					".address_size 64\n"
					".extern .func cudaLaunchDevice;\n"
					".visible .entry parent() { ret; }\n";
	CUmodule loaded;

	must(cuInit(0), "cuInit");
	must(cuDevicePrimaryCtxRetain(&primary, 0), "primary");
	must(cuCtxSetCurrent(primary), "current");
	must(cuModuleLoadData(&loaded, launching), "module");
}

static void put_node(void)
{
	CUDA_KERNEL_NODE_PARAMS_v2 params = {.gridDimX = 1,
		.gridDimY = 1,
		.gridDimZ = 1,
		.blockDimX = 1,
		.blockDimY = 1,
		.blockDimZ = 1};
	CUgraphNode node;
	CUgraph graph;

	open_primary();
	params.func = busy;
	must(cuGraphCreate(&graph, 0), "graph");
	must(cuGraphAddKernelNode_v2(&node, graph, NULL, 0, &params), "node");
	must(cuGraphDestroy(graph), "destroy");
}

int main(int argc, char *argv[])
{
	static const struct {
		const char *name;
		void (*run)(void);
	} firsts[] = {{"launching", load_launching}, {"node", put_node}};

	for (unsigned i = 0; i < sizeof(firsts) / sizeof(firsts[0]) && argc > 1; i++) {
		if (strcmp(argv[1], firsts[i].name) != 0)
			continue;
		firsts[i].run();
		argc--;
		argv++;
	}
	const char *what = argc > 1 ? argv[1] : "";

	if (strcmp(what, "own_context") == 0) {
		own_context();
		return 0;
	}
	open_primary();
	if (strcmp(what, "ways") == 0)
		ways();
	else if (strcmp(what, "order") == 0)
		order(argument(argc, argv, 2, 1), argc > 3);
	else if (strcmp(what, "busy") == 0)
		keep_busy(argument(argc, argv, 2, 1000), argument(argc, argv, 3, 8));
	else if (strcmp(what, "reset") == 0)
		reset(argc > 2);
	else
		must_be(false, "ways, order, busy, own_context or reset");
	return 0;
}
