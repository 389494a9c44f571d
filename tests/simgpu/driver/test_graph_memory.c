/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Nodes of graphs that allocate and free memory. A chunk has 2 MiB here, the device 256 MiB.
 */
#include "test_support.h"

#define MIB ((size_t)1 << 20)

static size_t free_bytes(void)
{
	size_t available, total;

	must(cuMemGetInfo(&available, &total));
	return available;
}

static uint64_t number(CUgraphMem_attribute attribute)
{
	cuuint64_t value;

	must(cuDeviceGetGraphMemAttribute(fixture.device, attribute, &value));
	return value;
}

#define assert_pool(reserved, used)                                                         \
	do {                                                                                \
		assert_int_equal(number(CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT), reserved); \
		assert_int_equal(number(CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT), used);         \
	} while (0)

static CUgraphNode add_alloc(CUgraph graph, size_t bytes, CUdeviceptr *ret_address)
{
	CUDA_MEM_ALLOC_NODE_PARAMS params = {
		.poolProps = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
			.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0}},
		.bytesize = bytes,
	};
	CUgraphNode node;

	must(cuGraphAddMemAllocNode(&node, graph, NULL, 0, &params));
	*ret_address = params.dptr;
	return node;
}

static CUgraphExec instantiate(CUgraph graph, unsigned long long flags)
{
	CUgraphExec exec;

	must(cuGraphInstantiateWithFlags(&exec, graph, flags));
	return exec;
}

/* Each test ends with nothing taken. */
static void end(CUgraph graph, CUgraphExec exec)
{
	must(cuCtxSynchronize());
	must(cuGraphExecDestroy(exec));
	must(cuGraphDestroy(graph));
	must(cuDeviceGraphMemTrim(fixture.device));
	assert_pool(0, 0);
}

static void bytes_are_taken_at_the_first_launch_and_kept_until_trimmed(void **state)
{
	const size_t before = free_bytes();
	CUdeviceptr address, same;
	CUgraphNode alloc, release;
	CUgraph graph;

	(void)state;
	must(cuGraphCreate(&graph, 0));
	alloc = add_alloc(graph, 3 * MIB, &address);
	must(cuGraphAddMemFreeNode(&release, graph, &alloc, 1, address));
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuGraphAddMemFreeNode(&release, graph, &alloc, 1, address));
	must(cuGraphMemFreeNodeGetParams(release, &same));
	assert_int_equal(same, address);
	CUgraphExec exec = instantiate(graph, 0);

	assert_pool(0, 0);
	for (int i = 0; i < 3; i++) {
		must(cuGraphLaunch(exec, NULL));
		assert_pool(4 * MIB, 3 * MIB);
	}
	assert_int_equal(before - free_bytes(), 4 * MIB);
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemFree(address));
	must(cuCtxSynchronize());
	assert_pool(4 * MIB, 3 * MIB);
	must(cuDeviceGraphMemTrim(fixture.device));
	assert_pool(0, 0);
	assert_int_equal(free_bytes(), before);
	must(cuGraphUpload(exec, NULL));
	assert_pool(4 * MIB, 3 * MIB);
	end(graph, exec);
	assert_int_equal(free_bytes(), before);
}

static void what_a_graph_leaves_is_freed_outside(void **state)
{
	CUdeviceptr address;
	CUgraph graph;

	(void)state;
	must(cuGraphCreate(&graph, 0));
	add_alloc(graph, MIB, &address);
	CUgraphExec exec = instantiate(graph, 0);

	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemFreeAsync(address, NULL));
	must(cuGraphLaunch(exec, NULL));
	must(cuMemsetD32(address, 7, 10));
	assert_int_equal(read_int(address, 9), 7);
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuGraphLaunch(exec, NULL));
	must(cuCtxSynchronize());
	must(cuDeviceGraphMemTrim(fixture.device));
	assert_pool(2 * MIB, MIB);
	must(cuMemFreeAsync(address, NULL));
	must(cuGraphLaunch(exec, NULL));
	must(cuMemFree(address));
	end(graph, exec);
}

static void memory_outlives_its_graph(void **state)
{
	CUdeviceptr address;
	CUgraph graph;

	(void)state;
	must(cuGraphCreate(&graph, 0));
	add_alloc(graph, MIB, &address);
	CUgraphExec exec = instantiate(graph, 0);

	must(cuGraphLaunch(exec, NULL));
	must(cuCtxSynchronize());
	must(cuGraphExecDestroy(exec));
	must(cuGraphDestroy(graph));
	must(cuMemsetD32(address, 7, 10));
	must(cuMemFree(address));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemFree(address));
	must(cuDeviceGraphMemTrim(fixture.device));
	assert_pool(0, 0);
}

static void launches_may_free_first(void **state)
{
	CUdeviceptr address;
	CUgraph graph;

	(void)state;
	must(cuGraphCreate(&graph, 0));
	add_alloc(graph, MIB, &address);
	CUgraphExec exec = instantiate(graph, CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH);

	must(cuGraphLaunch(exec, NULL));
	must(cuGraphLaunch(exec, NULL));
	assert_pool(2 * MIB, MIB);
	must(cuMemFree(address));
	end(graph, exec);
}

static void another_graph_may_free(void **state)
{
	CUdeviceptr address;
	CUgraph graph, other;
	CUgraphNode node;

	(void)state;
	must(cuGraphCreate(&graph, 0));
	must(cuGraphCreate(&other, 0));
	add_alloc(graph, MIB, &address);
	must(cuGraphAddMemFreeNode(&node, other, NULL, 0, address));
	CUgraphExec exec = instantiate(graph, 0), other_exec = instantiate(other, 0);

	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuGraphLaunch(other_exec, NULL));
	must(cuGraphLaunch(exec, NULL));
	must(cuGraphLaunch(other_exec, NULL));
	must(cuGraphLaunch(exec, NULL));
	must(cuMemFree(address));
	must(cuGraphExecDestroy(other_exec));
	must(cuGraphDestroy(other));
	end(graph, exec);
}

static void captured_allocations_become_nodes(void **state)
{
	const size_t before = free_bytes();
	CUdeviceptr address, linear;
	CUgraphNode nodes[3];
	CUgraphNodeType type;
	size_t count = 3;
	CUstream stream;
	CUgraph graph;
	CUDA_MEM_ALLOC_NODE_PARAMS params;

	(void)state;
	must(cuMemAlloc(&linear, 512));
	must(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	must(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
	must(cuMemAllocAsync(&address, MIB, stream));
	must(cuMemsetD8Async(address, 5, MIB, stream));
	must(cuMemFreeAsync(address, stream));
	must(cuStreamEndCapture(stream, &graph));
	must(cuGraphGetNodes(graph, nodes, &count));
	assert_int_equal(count, 3);
	must(cuGraphNodeGetType(nodes[0], &type));
	assert_int_equal(type, CU_GRAPH_NODE_TYPE_MEM_ALLOC);
	must(cuGraphNodeGetType(nodes[2], &type));
	assert_int_equal(type, CU_GRAPH_NODE_TYPE_MEM_FREE);
	must(cuGraphMemAllocNodeGetParams(nodes[0], &params));
	assert_int_equal(params.bytesize, MIB);
	assert_int_equal(params.dptr, address);
	assert_pool(0, 0);
	CUgraphExec exec = instantiate(graph, 0);

	must(cuGraphLaunch(exec, stream));
	assert_pool(2 * MIB, MIB);
	end(graph, exec);

	must(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuMemFreeAsync(linear, stream));
	assert_cuda(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(stream, &graph));
	must(cuMemFree(linear));
	must(cuStreamDestroy(stream));
	assert_int_equal(free_bytes(), before);
}

static void graphs_with_memory_are_restricted(void **state)
{
	CUgraphNodeParams params = {.type = CU_GRAPH_NODE_TYPE_MEM_ALLOC};
	CUgraph graph, parent, clone;
	CUgraphExec second;
	CUgraphNode node, child;

	(void)state;
	params.alloc.poolProps.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
	params.alloc.poolProps.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
	params.alloc.bytesize = 300 * MIB;
	must(cuGraphCreate(&graph, 0));
	must(cuGraphCreate(&parent, 0));
	must(cuGraphAddNode(&node, graph, NULL, NULL, 0, &params));
	CUgraphExec exec = instantiate(graph, 0);

	assert_cuda(CUDA_ERROR_OUT_OF_MEMORY, cuGraphLaunch(exec, NULL));
	assert_cuda(CUDA_ERROR_NOT_SUPPORTED, cuGraphInstantiateWithFlags(&second, graph, 0));
	assert_cuda(CUDA_ERROR_NOT_SUPPORTED, cuGraphClone(&clone, graph));
	assert_cuda(CUDA_ERROR_NOT_SUPPORTED, cuGraphDestroyNode(node));
	assert_cuda(
		CUDA_ERROR_NOT_SUPPORTED, cuGraphAddChildGraphNode(&child, parent, NULL, 0, graph));
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuGraphAddMemFreeNode(&node, graph, NULL, 0, params.alloc.dptr + 512));
	must(cuGraphDestroy(parent));
	end(graph, exec);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_are_taken_at_the_first_launch_and_kept_until_trimmed),
		cmocka_unit_test(what_a_graph_leaves_is_freed_outside),
		cmocka_unit_test(memory_outlives_its_graph),
		cmocka_unit_test(launches_may_free_first),
		cmocka_unit_test(another_graph_may_free),
		cmocka_unit_test(captured_allocations_become_nodes),
		cmocka_unit_test(graphs_with_memory_are_restricted),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
