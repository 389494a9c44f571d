/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A driver of version 12.2 knows nothing of what came later, whatever version is asked for.
 */
/* Each version under its own name. */
#define __CUDA_API_VERSION_INTERNAL
#include "test_support.h"

#undef cuGetProcAddress
CUresult cuGetProcAddress_v2(const char *symbol, void **pfn, int cudaVersion, cuuint64_t flags,
	CUdriverProcAddressQueryResult *symbolStatus);

static void assert_unknown(const char *name)
{
	CUdriverProcAddressQueryResult status;
	void *function = &status;

	assert_cuda(CUDA_ERROR_NOT_FOUND, cuGetProcAddress_v2(name, &function, 13000, 0, &status));
	assert_int_equal(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
	assert_null(function);
}

static void assert_known(const char *name, int version, void *expected)
{
	CUdriverProcAddressQueryResult status;
	void *function = NULL;

	must(cuGetProcAddress_v2(name, &function, version, 0, &status));
	assert_int_equal(status, CU_GET_PROC_ADDRESS_SUCCESS);
	assert_ptr_equal(function, expected);
}

static void green_contexts_are_not_found(void **state)
{
	static const char *const names[] = {"cuDeviceGetDevResource", "cuDevSmResourceSplitByCount",
		"cuDevResourceGenerateDesc", "cuGreenCtxCreate", "cuGreenCtxDestroy",
		"cuCtxFromGreenCtx", "cuCtxGetDevResource", "cuGreenCtxGetDevResource",
		"cuGreenCtxRecordEvent", "cuGreenCtxWaitEvent", "cuGreenCtxStreamCreate",
		"cuStreamGetGreenCtx", "cuGreenCtxGetId", "cuCtxRecordEvent", "cuCtxWaitEvent"};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_unknown(names[i]);
}

static void what_it_has_is_found_at_its_own_version(void **state)
{
	(void)state;
	assert_known("cuCtxCreate", 13000, cuCtxCreate_v3);
	assert_known("cuCtxCreate", 4000, cuCtxCreate_v2);
	assert_known("cuStreamGetCtx", 13000, cuStreamGetCtx);
	assert_known("cuMemAlloc", 13000, cuMemAlloc_v2);
}

static void exported_functions_are_not_supported(void **state)
{
	CUdevResource resource;
	CUgreenCtx green;
	int version;

	(void)state;
	must(cuInit(0));
	must(cuDriverGetVersion(&version));
	assert_int_equal(version, 12020);
	assert_cuda(CUDA_ERROR_NOT_SUPPORTED,
		cuDeviceGetDevResource(0, &resource, CU_DEV_RESOURCE_TYPE_SM));
	assert_cuda(CUDA_ERROR_NOT_SUPPORTED, cuGreenCtxCreate(&green, NULL, 0, 1));
	assert_unknown("cuGreenCtxCreate");
}

static void nodes_are_added_by_the_functions_it_has(void **state)
{
	CUgraphNodeParams params = {.type = CU_GRAPH_NODE_TYPE_EMPTY};
	CUgraphConditionalHandle handle;
	CUgraph graph;
	CUgraphNode node;

	(void)state;
	must(cuGraphCreate(&graph, 0));
	assert_cuda(
		CUDA_ERROR_NOT_SUPPORTED, cuGraphAddNode_v2(&node, graph, NULL, NULL, 0, &params));
	must(cuGraphAddNode(&node, graph, NULL, 0, &params));
	assert_cuda(CUDA_ERROR_NOT_SUPPORTED,
		cuGraphConditionalHandleCreate(&handle, graph, NULL, 0, 0));
	must(cuGraphDestroy(graph));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(green_contexts_are_not_found),
		cmocka_unit_test(what_it_has_is_found_at_its_own_version),
		cmocka_unit_test(exported_functions_are_not_supported),
		cmocka_unit_test(nodes_are_added_by_the_functions_it_has),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
