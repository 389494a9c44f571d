/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "partition/self_test.h"
#include "base/clock.h"
#include "base/wait.h"
#include "driver/driver.h"
#include "hooks/capture_mode.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* Weak: programs of glibc before 2.34 may have been started without libpthread. */
#pragma weak pthread_create
#pragma weak pthread_join
#pragma weak pthread_detach

#define MOST_SMS      4096u
#define BLOCK_THREADS 1024u  /* so that an SM holds two blocks at most */
#define BLOCK_CYCLES  10000u /* some 5 us: as long as it takes to hand out the blocks */

/* How long a second thread may take to begin. */
#define PATIENCE_NS NS_PER_S

extern const char census_image[] __attribute__((visibility("hidden")));

struct test {
	unsigned device;
	void (*admit)(unsigned device, bool is_tester);
	CUcontext context;
	CUmodule module;
	CUfunction kernel;
	CUdeviceptr seen; /* a bit for each SM */
	unsigned blocks;
};

enum { COMING, RUNNING, OVER, LEFT_ALONE };

/* The second thread's; its own where it was left alone. */
struct second {
	_Atomic uint32_t state;
	struct test *test; /* while RUNNING */
	CUresult result;
};

static CUresult launch(const struct test *test, CUstream stream)
{
	CUdeviceptr seen = test->seen;
	unsigned cycles = BLOCK_CYCLES;
	void *params[] = {&seen, &cycles};

	return driver.cuLaunchKernel(
		test->kernel, test->blocks, 1, 1, BLOCK_THREADS, 1, 1, 0, stream, params, NULL);
}

static CUresult on_default_stream(struct test *test)
{
	return launch(test, NULL);
}

static CUresult on_stream(struct test *test, unsigned flags)
{
	CUstream stream;
	CUresult result = driver.cuStreamCreate(&stream, flags);

	if (result != CUDA_SUCCESS)
		return result;
	result = launch(test, stream);
	CUresult synced = driver.cuStreamSynchronize(stream);
	CUresult destroyed = driver.cuStreamDestroy_v2(stream);
	return result != CUDA_SUCCESS ? result : synced != CUDA_SUCCESS ? synced : destroyed;
}

static CUresult on_created_streams(struct test *test)
{
	CUresult result = on_stream(test, CU_STREAM_NON_BLOCKING);

	return result == CUDA_SUCCESS ? on_stream(test, CU_STREAM_DEFAULT) : result;
}

/* The copy is on the driver's own stream of the thread, which the partition puts in order too. */
static CUresult launch_in_thread(struct test *test)
{
	uint32_t word;
	CUresult result = driver.cuCtxPushCurrent_v2(test->context);

	if (result != CUDA_SUCCESS)
		return result;
	result = launch(test, CU_STREAM_LEGACY);
	if (result == CUDA_SUCCESS)
		result = launch(test, CU_STREAM_PER_THREAD);
	if (result == CUDA_SUCCESS)
		result = driver.cuMemcpyDtoH_v2_ptds(&word, test->seen, sizeof(word));
	if (result == CUDA_SUCCESS)
		result = launch(test, CU_STREAM_PER_THREAD);
	CUresult synced = driver.cuStreamSynchronize(CU_STREAM_PER_THREAD);
	driver.cuCtxPopCurrent_v2(&test->context);
	return result != CUDA_SUCCESS ? result : synced;
}

/* The driver is asked for something first: it may need what a new thread has to wait for. */
static void *run_in_thread(void *data)
{
	struct second *second = data;
	uint32_t state = COMING;

	relax_capture();
	if (!atomic_compare_exchange_strong(&second->state, &state, RUNNING)) {
		free(second);
		return NULL;
	}
	second->test->admit(second->test->device, true);
	second->result = launch_in_thread(second->test);
	second->test->admit(second->test->device, false);
	wait_wake_all(&second->state);
	return NULL;
}

/* False where the thread does not come to run, as behind a lock that our caller holds: the loader's
 * in the constructor of a library, or what a tool has put around pthread_create(). */
static bool is_over(struct second *second)
{
	uint64_t begun_ns = clock_now_ns();
	uint32_t state = atomic_load(&second->state);

	while (state != OVER) {
		wait_at_most(&second->state, state, NS_PER_MS);
		if (clock_now_ns() - begun_ns > PATIENCE_NS) {
			state = COMING;
			if (atomic_compare_exchange_strong(&second->state, &state, LEFT_ALONE))
				return false;
		}
		state = atomic_load(&second->state);
	}
	return true;
}

/* Signals are the program's: none of its handlers runs in our thread. */
static bool start(pthread_t *ret_thread, struct second *second)
{
	sigset_t all, before;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	bool is_made = pthread_create(ret_thread, NULL, run_in_thread, second) == 0;
	sigprocmask(SIG_SETMASK, &before, NULL);
	return is_made;
}

/* A program that cannot have another thread cannot bring work by one. */
static CUresult in_second_thread(struct test *test)
{
	struct second *second;
	pthread_t thread;

	if (&pthread_create == NULL || &pthread_join == NULL || &pthread_detach == NULL)
		return CUDA_SUCCESS;
	second = calloc(1, sizeof(*second));
	if (second == NULL)
		return CUDA_SUCCESS;
	second->test = test;
	if (!start(&thread, second)) {
		free(second);
		return CUDA_SUCCESS;
	}
	if (!is_over(second)) {
		pthread_detach(thread);
		return CUDA_SUCCESS;
	}
	CUresult result = second->result;
	pthread_join(thread, NULL);
	free(second);
	return result;
}

static CUresult capture(struct test *test, CUstream stream, CUgraphExec *ret_exec)
{
	CUgraph graph;
	CUresult result = driver.cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_RELAXED);

	if (result != CUDA_SUCCESS)
		return result;
	result = launch(test, stream);
	CUresult ended = driver.cuStreamEndCapture(stream, &graph);
	if (ended != CUDA_SUCCESS)
		return ended;
	if (result == CUDA_SUCCESS)
		result = driver.cuGraphInstantiateWithFlags(ret_exec, graph, 0);
	driver.cuGraphDestroy(graph);
	return result;
}

static CUresult replay(struct test *test, CUstream stream)
{
	CUgraphExec exec;
	CUresult result = capture(test, stream, &exec);

	if (result != CUDA_SUCCESS)
		return result;
	result = driver.cuGraphLaunch(exec, stream);
	if (result == CUDA_SUCCESS)
		result = driver.cuGraphLaunch(exec, NULL);
	CUresult synced = driver.cuStreamSynchronize(NULL);
	driver.cuGraphExecDestroy(exec);
	return result != CUDA_SUCCESS ? result : synced;
}

static CUresult by_graph(struct test *test)
{
	CUstream stream;
	CUresult result = driver.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING);

	if (result != CUDA_SUCCESS)
		return result;
	result = replay(test, stream);
	CUresult synced = driver.cuStreamSynchronize(stream);
	driver.cuStreamDestroy_v2(stream);
	return result != CUDA_SUCCESS ? result : synced;
}

static CUDA_KERNEL_NODE_PARAMS_v2 node_params(const struct test *test, void **values)
{
	return (CUDA_KERNEL_NODE_PARAMS_v2){.gridDimX = test->blocks,
		.gridDimY = 1,
		.gridDimZ = 1,
		.blockDimX = BLOCK_THREADS,
		.blockDimY = 1,
		.blockDimZ = 1,
		.kernelParams = values};
}

/* As it was added, as its parameters were set in the graph, and in what was made of that. */
static CUresult launch_node(
	CUgraph graph, CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS_v2 *params, bool is_set)
{
	CUgraphExec exec;
	CUresult result =
		is_set ? driver.cuGraphKernelNodeSetParams_v2(node, params) : CUDA_SUCCESS;

	if (result == CUDA_SUCCESS)
		result = driver.cuGraphInstantiateWithFlags(&exec, graph, 0);
	if (result != CUDA_SUCCESS)
		return result;
	result = driver.cuGraphLaunch(exec, NULL);
	if (result == CUDA_SUCCESS && is_set) {
		result = driver.cuGraphExecKernelNodeSetParams_v2(exec, node, params);
		if (result == CUDA_SUCCESS)
			result = driver.cuGraphLaunch(exec, NULL);
	}
	CUresult synced = driver.cuStreamSynchronize(NULL);
	driver.cuGraphExecDestroy(exec);
	return result != CUDA_SUCCESS ? result : synced;
}

/* Of the kernel as it is, whose context is that of the module, or of `free_kernel`, which has none.
 */
static CUresult by_node(struct test *test, CUkernel free_kernel)
{
	CUdeviceptr seen = test->seen;
	unsigned cycles = BLOCK_CYCLES;
	void *values[] = {&seen, &cycles};
	CUDA_KERNEL_NODE_PARAMS_v2 params = node_params(test, values);
	CUgraphNode node;
	CUgraph graph;
	CUresult result = driver.cuGraphCreate(&graph, 0);

	if (result != CUDA_SUCCESS)
		return result;
	params.func = free_kernel == NULL ? test->kernel : NULL;
	params.kern = free_kernel;
	result = driver.cuGraphAddKernelNode_v2(&node, graph, NULL, 0, &params);
	if (result == CUDA_SUCCESS)
		result = launch_node(graph, node, &params, false);
	if (result == CUDA_SUCCESS)
		result = launch_node(graph, node, &params, true);
	driver.cuGraphDestroy(graph);
	return result;
}

static CUresult by_nodes(struct test *test)
{
	CUlibrary library;
	CUkernel free_kernel;
	CUresult result = by_node(test, NULL);

	if (result == CUDA_SUCCESS)
		result = driver.cuLibraryLoadData(
			&library, census_image, NULL, NULL, 0, NULL, NULL, 0);
	if (result != CUDA_SUCCESS)
		return result;
	result = driver.cuLibraryGetKernel(&free_kernel, library, "cuslice_census");
	if (result == CUDA_SUCCESS)
		result = by_node(test, free_kernel);
	driver.cuLibraryUnload(library);
	return result;
}

static const struct way {
	CUresult (*run)(struct test *test);
	const char *escaped;
} ways[] = {
	{on_default_stream, "work of the default stream runs on other SMs too"},
	{on_created_streams, "work of a new stream runs on other SMs too"},
	{in_second_thread, "work of a second thread runs on other SMs too"},
	{by_graph, "work of a graph runs on other SMs too"},
};

static unsigned count_seen(const uint32_t seen[MOST_SMS / 32])
{
	unsigned count = 0;

	for (unsigned i = 0; i < MOST_SMS / 32; i++)
		count += (unsigned)__builtin_popcount(seen[i]);
	return count;
}

/* What was seen adds up: one partition, whatever the way to it. */
static CUresult look(const struct test *test, unsigned *ret_count)
{
	uint32_t seen[MOST_SMS / 32];
	CUresult result = driver.cuStreamSynchronize(NULL);

	if (result == CUDA_SUCCESS)
		result = driver.cuMemcpyDtoH_v2(seen, test->seen, sizeof(seen));
	if (result == CUDA_SUCCESS)
		*ret_count = count_seen(seen);
	return result;
}

static const char *run_ways(struct test *test, unsigned sm_count)
{
	unsigned count;

	for (unsigned i = 0; i < ARRAY_LEN(ways); i++) {
		if (ways[i].run(test) != CUDA_SUCCESS || look(test, &count) != CUDA_SUCCESS)
			return "the driver refuses work in it";
		if (count == 0)
			return "the self-test's kernel does not run";
		if (count > sm_count)
			return ways[i].escaped;
	}
	return NULL;
}

/* Most programs put no nodes into graphs, so this need not hold for the others to. */
static bool nodes_hold(struct test *test, unsigned sm_count)
{
	unsigned count;

	return by_nodes(test) == CUDA_SUCCESS && look(test, &count) == CUDA_SUCCESS &&
	       count <= sm_count;
}

/* What the test takes of the device's memory it gives back at once, so it is not charged. */
static bool prepare(struct test *test)
{
	const size_t bytes = MOST_SMS / 8;
	int sms = 0;

	if (driver.cuCtxGetCurrent(&test->context) != CUDA_SUCCESS ||
		driver_real.cuDeviceGetAttribute(&sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
			(CUdevice)test->device) != CUDA_SUCCESS ||
		driver.cuModuleLoadData(&test->module, census_image) != CUDA_SUCCESS)
		return false;
	test->blocks = 2 * (unsigned)sms;
	if (driver.cuModuleGetFunction(&test->kernel, test->module, "cuslice_census") ==
			CUDA_SUCCESS &&
		driver.cuMemAlloc_v2(&test->seen, bytes) == CUDA_SUCCESS) {
		if (driver.cuMemsetD8_v2(test->seen, 0, bytes) == CUDA_SUCCESS)
			return true;
		driver.cuMemFree_v2(test->seen);
	}
	driver.cuModuleUnload(test->module);
	return false;
}

const char *self_test(unsigned device, unsigned sm_count,
	void (*admit)(unsigned device, bool is_tester), bool *ret_nodes_hold)
{
	struct test test = {.device = device, .admit = admit};

	if (!prepare(&test))
		return "the self-test's kernel cannot be loaded";
	const char *reason = run_ways(&test, sm_count);
	*ret_nodes_hold = reason == NULL && nodes_hold(&test, sm_count);
	driver.cuMemFree_v2(test.seen);
	driver.cuModuleUnload(test.module);
	return reason;
}
