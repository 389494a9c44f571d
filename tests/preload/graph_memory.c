/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_graph_memory WHAT QUOTA
 *
 * Graphs that allocate memory under a quota of QUOTA bytes; the tests compare what is used by
 * cuslice.h with the account of the machine.
 */
#include "client.h"

#include <stdio.h>
#include <string.h>

static struct functions cu;
static uint64_t quota;
static CUstream stream;

static CUgraphExec instantiate(CUgraph graph, unsigned long long flags)
{
	CUgraphExec exec;

	must(cu.cuGraphInstantiateWithFlags(&exec, graph, flags), "instantiate");
	return exec;
}

/* One that allocates and frees `bytes`. */
static CUgraphExec make_exec(size_t bytes)
{
	CUDA_MEM_ALLOC_NODE_PARAMS params = {
		.poolProps = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
			.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0}},
		.bytesize = bytes,
	};
	CUgraphNode alloc, release;
	CUgraph graph;

	must(cu.cuGraphCreate(&graph, 0), "create");
	must(cu.cuGraphAddMemAllocNode(&alloc, graph, NULL, 0, &params), "alloc");
	must(cu.cuGraphAddMemFreeNode(&release, graph, &alloc, 1, params.dptr), "free");
	CUgraphExec exec = instantiate(graph, 0);
	must(cu.cuGraphDestroy(graph), "destroy");
	return exec;
}

/* One that allocates `bytes` and leaves them. */
static CUgraphExec capture(size_t bytes, unsigned long long flags, CUdeviceptr *ret_address)
{
	CUgraph graph;

	must(cu.cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL), "begin");
	must(cu.cuMemAllocAsync(ret_address, bytes, stream), "cuMemAllocAsync");
	must(cu.cuStreamEndCapture(stream, &graph), "end");
	CUgraphExec exec = instantiate(graph, flags);
	must(cu.cuGraphDestroy(graph), "destroy");
	return exec;
}

static void launch_graph(CUgraphExec exec)
{
	must(cu.cuGraphLaunch(exec, stream), "cuGraphLaunch");
	must(cu.cuStreamSynchronize(stream), "sync");
}

static void nodes(void)
{
	CUgraphExec half = make_exec(quota / 2), rest = make_exec(quota / 2), more = make_exec(1);
	CUdeviceptr linear;

	wait_for_test("made");
	launch_graph(half);
	wait_for_test("half");
	must(cu.cuGraphUpload(rest, stream), "upload");
	wait_for_test("full");
	say("linear %d", (int)cu.cuMemAlloc_v2(&linear, quota + 1));
	for (int i = 0; i < 3; i++) {
		launch_graph(half);
		launch_graph(rest);
	}
	wait_for_test("again");
	/* What no graph uses goes back before anything is refused. */
	say("more %d", (int)cu.cuGraphLaunch(more, stream));
	must(cu.cuStreamSynchronize(stream), "sync");
	wait_for_test("trimmed");
	say("linear %d", (int)cu.cuMemAlloc_v2(&linear, quota));
	say("refused %d %d", (int)cu.cuGraphLaunch(half, stream),
		(int)cu.cuGraphUpload(half, stream));
	wait_for_test("kept");
	must(cu.cuMemFree_v2(linear), "free");
	launch_graph(half);
	must(cu.cuDeviceGraphMemTrim(0), "trim");
	say("after_trim %llu", used_bytes(0));
	launch_graph(half);
	must(cu.cuGraphExecDestroy(half), "destroy");
	must(cu.cuGraphExecDestroy(rest), "destroy");
	must(cu.cuGraphExecDestroy(more), "destroy");
	must(cu.cuDeviceGraphMemTrim(0), "trim");
	wait_for_test("at_end");
}

static void captured(void)
{
	CUdeviceptr left, linear;
	CUgraphExec exec = capture(quota, 0, &left);

	wait_for_test("captured");
	launch_graph(exec);
	wait_for_test("left");
	say("unfreed %d", (int)cu.cuGraphLaunch(exec, stream));
	say("linear %d", (int)cu.cuMemAlloc_v2(&linear, 1));
	must(cu.cuMemFreeAsync(left, stream), "free");
	launch_graph(exec);
	say("freed %d", (int)cu.cuMemFree_v2(left));
	must(cu.cuGraphExecDestroy(exec), "destroy");
	exec = capture(quota, CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH, &left);
	launch_graph(exec);
	launch_graph(exec);
	wait_for_test("left");
	say("freed %d", (int)cu.cuMemFree_v2(left));
	must(cu.cuGraphExecDestroy(exec), "destroy");
	say("linear %d", (int)cu.cuMemAlloc_v2(&linear, quota));
	must(cu.cuMemFree_v2(linear), "free");
	exec = capture(2 * quota, 0, &left);
	say("too_large %d", (int)cu.cuGraphLaunch(exec, stream));
	must(cu.cuGraphExecDestroy(exec), "destroy");
	wait_for_test("at_end");
}

int main(int argc, char *argv[])
{
	const char *what = argc > 1 ? argv[1] : "";
	CUcontext context;

	functions_from_link(&cu);
	quota = argument(argc, argv, 2, 0);
	must(cu.cuInit(0), "cuInit");
	must(cu.cuDevicePrimaryCtxRetain(&context, 0), "retain");
	must(cu.cuCtxSetCurrent(context), "cuCtxSetCurrent");
	must(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
	if (strcmp(what, "nodes") == 0)
		nodes();
	else if (strcmp(what, "captured") == 0)
		captured();
	else
		return 2;
	return 0;
}
