/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Division of SMs. The devices: 0 of compute capability 9.0 with 132 SMs, 1 of 8.6 with 84, 2 of
 * 7.5 with 40, 3 of 10.0 with 148, 4 of 9.0 with 1000.
 */
#include "test_support.h"

#include <string.h>

#define IGNORE  CU_DEV_SM_RESOURCE_SPLIT_IGNORE_SM_COSCHEDULING
#define CLUSTER CU_DEV_SM_RESOURCE_SPLIT_MAX_POTENTIAL_CLUSTER_SIZE
#define GROUPS  256

static int set_up_group(void **state)
{
	(void)state;
	must(cuInit(0));
	return 0;
}

static CUdevResource all_of(CUdevice device)
{
	CUdevResource resource;

	must(cuDeviceGetDevResource(device, &resource, CU_DEV_RESOURCE_TYPE_SM));
	assert_int_equal(resource.type, CU_DEV_RESOURCE_TYPE_SM);
	return resource;
}

static void device_tells_its_sms_and_how_they_divide(void **state)
{
	static const unsigned expected[4][3] = {{132, 8, 8}, {84, 4, 2}, {40, 2, 2}, {148, 8, 8}};

	(void)state;
	for (CUdevice device = 0; device < 4; device++) {
		const CUdevResource all = all_of(device);

		assert_int_equal(all.sm.smCount, expected[device][0]);
		assert_int_equal(all.sm.minSmPartitionSize, expected[device][1]);
		assert_int_equal(all.sm.smCoscheduledAlignment, expected[device][2]);
	}
}

static void device_refuses_what_it_cannot_tell(void **state)
{
	CUdevResource resource;

	(void)state;
	assert_cuda(CUDA_ERROR_INVALID_RESOURCE_TYPE,
		cuDeviceGetDevResource(0, &resource, CU_DEV_RESOURCE_TYPE_INVALID));
	assert_cuda(
		CUDA_ERROR_INVALID_VALUE, cuDeviceGetDevResource(0, NULL, CU_DEV_RESOURCE_TYPE_SM));
	assert_cuda(CUDA_ERROR_INVALID_DEVICE,
		cuDeviceGetDevResource(9, &resource, CU_DEV_RESOURCE_TYPE_SM));
	assert_cuda(CUDA_ERROR_NOT_SUPPORTED,
		cuDeviceGetDevResource(4, &resource, CU_DEV_RESOURCE_TYPE_SM));
}

struct row {
	CUdevice device;
	unsigned flags, wanted;
	unsigned groups, size, rest;
};

static const struct row rows[] = {
	/* 9.0: eights */
	{0, 0, 0, 16, 8, 4},
	{0, 0, 1, 16, 8, 4},
	{0, 0, 8, 16, 8, 4},
	{0, 0, 9, 8, 16, 4},
	{0, 0, 64, 2, 64, 4},
	{0, 0, 66, 1, 72, 60},
	{0, 0, 128, 1, 128, 4},
	/* without co-scheduling: pairs */
	{0, IGNORE, 0, 66, 2, 0},
	{0, IGNORE, 3, 33, 4, 0},
	{0, IGNORE, 65, 2, 66, 0},
	{0, IGNORE, 67, 1, 68, 64},
	{0, IGNORE, 132, 1, 132, 0},
	/* for the largest clusters: sixteens */
	{0, CLUSTER, 0, 8, 16, 4},
	{0, CLUSTER, 17, 4, 32, 4},
	/* 8.6: at least 4, in pairs */
	{1, 0, 0, 21, 4, 0},
	{1, 0, 5, 14, 6, 0},
	{1, 0, 43, 1, 44, 40},
	{1, IGNORE, 1, 42, 2, 0},
	/* 7.5: pairs */
	{2, 0, 1, 20, 2, 0},
	{2, 0, 7, 5, 8, 0},
	/* 10.0: eights */
	{3, 0, 1, 18, 8, 4},
};

static void split_makes_groups_of_the_documented_sizes(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		const CUdevResource all = all_of(row->device);
		CUdevResource groups[GROUPS], rest;
		unsigned count = GROUPS, simulated = 0;

		must(cuDevSmResourceSplitByCount(
			NULL, &simulated, &all, NULL, row->flags, row->wanted));
		must(cuDevSmResourceSplitByCount(
			groups, &count, &all, &rest, row->flags, row->wanted));
		assert_int_equal(simulated, row->groups);
		assert_int_equal(count, row->groups);
		for (unsigned g = 0; g < count; g++) {
			assert_int_equal(groups[g].type, CU_DEV_RESOURCE_TYPE_SM);
			assert_int_equal(groups[g].sm.smCount, row->size);
			assert_int_equal(row->size % groups[g].sm.smCoscheduledAlignment, 0);
		}
		assert_int_equal(rest.sm.smCount, row->rest);
		assert_int_equal(rest.type,
			row->rest ? CU_DEV_RESOURCE_TYPE_SM : CU_DEV_RESOURCE_TYPE_INVALID);
	}
}

static void split_makes_no_more_groups_than_asked_for(void **state)
{
	const CUdevResource all = all_of(0);
	CUdevResource groups[3], rest;
	unsigned count = 3;

	(void)state;
	must(cuDevSmResourceSplitByCount(groups, &count, &all, &rest, 0, 16));
	assert_int_equal(count, 3);
	assert_int_equal(rest.sm.smCount, 132 - 48);
}

static void split_refuses_what_is_not_right(void **state)
{
	const CUdevResource all = all_of(0), older = all_of(1), turing = all_of(2);
	CUdevResource groups[16], foreign = {.type = CU_DEV_RESOURCE_TYPE_SM}, none = {0};
	unsigned count = 16, zero = 0;

	(void)state;
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuDevSmResourceSplitByCount(groups, NULL, &all, NULL, 0, 8));
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuDevSmResourceSplitByCount(groups, &zero, &all, NULL, 0, 8));
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuDevSmResourceSplitByCount(groups, &count, NULL, NULL, 0, 8));
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuDevSmResourceSplitByCount(groups, &count, &all, NULL, 0, 133));
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuDevSmResourceSplitByCount(groups, &count, &all, NULL, 4, 8));
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuDevSmResourceSplitByCount(groups, &count, &older, NULL, CLUSTER, 8));
	must(cuDevSmResourceSplitByCount(groups, &count, &turing, NULL, IGNORE, 8));
	count = 16;
	assert_cuda(CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION,
		cuDevSmResourceSplitByCount(groups, &count, &all, NULL, 0, 129));
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuDevSmResourceSplitByCount(groups, &count, &foreign, NULL, 0, 8));
	assert_cuda(CUDA_ERROR_INVALID_RESOURCE_TYPE,
		cuDevSmResourceSplitByCount(groups, &count, &none, NULL, 0, 8));
	assert_int_equal(count, 16);
}

static void group_is_split_again_only_as_a_green_context(void **state)
{
	const CUdevResource all = all_of(0);
	CUdevResource groups[2], parts[16], of_green;
	CUdevResourceDesc desc;
	CUgreenCtx green;
	unsigned count = 2, part_count = 16;

	(void)state;
	must(cuDevSmResourceSplitByCount(groups, &count, &all, NULL, 0, 64));
	assert_cuda(CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION,
		cuDevSmResourceSplitByCount(parts, &part_count, &groups[1], NULL, 0, 16));
	must(cuDevResourceGenerateDesc(&desc, &groups[1], 1));
	must(cuGreenCtxCreate(&green, desc, 0, CU_GREEN_CTX_DEFAULT_STREAM));
	must(cuGreenCtxGetDevResource(green, &of_green, CU_DEV_RESOURCE_TYPE_SM));
	must(cuDevSmResourceSplitByCount(parts, &part_count, &of_green, NULL, 0, 16));
	assert_int_equal(part_count, 4);
	must(cuGreenCtxDestroy(green));
}

static unsigned sm_count_of(CUdevResource *resources, unsigned count)
{
	CUdevResource of_green;
	CUdevResourceDesc desc;
	CUgreenCtx green;

	must(cuDevResourceGenerateDesc(&desc, resources, count));
	must(cuGreenCtxCreate(&green, desc, 0, CU_GREEN_CTX_DEFAULT_STREAM));
	must(cuGreenCtxGetDevResource(green, &of_green, CU_DEV_RESOURCE_TYPE_SM));
	must(cuGreenCtxDestroy(green));
	return of_green.sm.smCount;
}

static void descriptor_joins_groups_of_one_split(void **state)
{
	CUdevResource all = all_of(0), groups[17], rest;
	unsigned count = 16;

	(void)state;
	must(cuDevSmResourceSplitByCount(groups, &count, &all, &rest, 0, 8));
	groups[16] = rest;
	assert_int_equal(sm_count_of(groups, 3), 24);
	assert_int_equal(sm_count_of(&groups[14], 3), 20);
	assert_int_equal(sm_count_of(groups, 17), 132);
	assert_int_equal(sm_count_of(&rest, 1), 4);
	assert_int_equal(sm_count_of(&all, 1), 132);
}

static void descriptor_refuses_what_does_not_belong_together(void **state)
{
	CUdevResource all = all_of(0), other = all_of(1), groups[2], again[2], pair[2];
	CUdevResource none = {0};
	unsigned count = 2;
	CUdevResourceDesc desc;
	CUgreenCtx green;

	(void)state;
	must(cuDevSmResourceSplitByCount(groups, &count, &all, NULL, 0, 8));
	must(cuDevSmResourceSplitByCount(again, &count, &all, NULL, 0, 8));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuDevResourceGenerateDesc(NULL, groups, 2));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuDevResourceGenerateDesc(&desc, NULL, 2));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuDevResourceGenerateDesc(&desc, groups, 0));
	assert_cuda(CUDA_ERROR_INVALID_RESOURCE_TYPE, cuDevResourceGenerateDesc(&desc, &none, 1));
	memcpy(pair, (CUdevResource[]){groups[0], again[1]}, sizeof(pair));
	assert_cuda(CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION,
		cuDevResourceGenerateDesc(&desc, pair, 2));
	memcpy(pair, (CUdevResource[]){groups[0], groups[0]}, sizeof(pair));
	assert_cuda(CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION,
		cuDevResourceGenerateDesc(&desc, pair, 2));
	memcpy(pair, (CUdevResource[]){all, other}, sizeof(pair));
	assert_cuda(CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION,
		cuDevResourceGenerateDesc(&desc, pair, 2));
	must(cuDevResourceGenerateDesc(&desc, &other, 1));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuGreenCtxCreate(&green, desc, 0, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(device_tells_its_sms_and_how_they_divide),
		cmocka_unit_test(device_refuses_what_it_cannot_tell),
		cmocka_unit_test(split_makes_groups_of_the_documented_sizes),
		cmocka_unit_test(split_makes_no_more_groups_than_asked_for),
		cmocka_unit_test(split_refuses_what_is_not_right),
		cmocka_unit_test(group_is_split_again_only_as_a_green_context),
		cmocka_unit_test(descriptor_joins_groups_of_one_split),
		cmocka_unit_test(descriptor_refuses_what_does_not_belong_together),
	};

	return cmocka_run_group_tests(tests, set_up_group, NULL);
}
