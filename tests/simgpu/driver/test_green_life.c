/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Making and ending of green contexts, and what is refused.
 */
#include "test_census.h"

static void resources_of_contexts_are_told(void **state)
{
	CUgreenCtx green = green_of(24, 1);
	CUdevResource resource;

	(void)state;
	must(cuGreenCtxGetDevResource(green, &resource, CU_DEV_RESOURCE_TYPE_SM));
	assert_int_equal(resource.sm.smCount, 24);
	must(cuCtxGetDevResource(context_of(green), &resource, CU_DEV_RESOURCE_TYPE_SM));
	assert_int_equal(resource.sm.smCount, 24);
	must(cuCtxGetDevResource(fixture.ctx, &resource, CU_DEV_RESOURCE_TYPE_SM));
	assert_int_equal(resource.sm.smCount, CENSUS_SMS);
	must(cuCtxGetDevResource(NULL, &resource, CU_DEV_RESOURCE_TYPE_SM));
	assert_int_equal(resource.sm.smCount, CENSUS_SMS);
	assert_cuda(CUDA_ERROR_INVALID_RESOURCE_TYPE,
		cuGreenCtxGetDevResource(green, &resource, CU_DEV_RESOURCE_TYPE_INVALID));
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuGreenCtxGetDevResource(green, NULL, CU_DEV_RESOURCE_TYPE_SM));
	assert_cuda(CUDA_ERROR_INVALID_CONTEXT,
		cuGreenCtxGetDevResource(NULL, &resource, CU_DEV_RESOURCE_TYPE_SM));
	must(cuGreenCtxDestroy(green));
	assert_cuda(CUDA_ERROR_INVALID_CONTEXT,
		cuGreenCtxGetDevResource(green, &resource, CU_DEV_RESOURCE_TYPE_SM));
}

static void creation_refuses_what_is_not_right(void **state)
{
	CUdevResource resource;
	CUdevResourceDesc desc;
	CUgreenCtx green;
	CUstream stream;

	(void)state;
	must(cuDeviceGetDevResource(0, &resource, CU_DEV_RESOURCE_TYPE_SM));
	must(cuDevResourceGenerateDesc(&desc, &resource, 1));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuGreenCtxCreate(&green, desc, 0, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuGreenCtxCreate(&green, desc, 0, 3));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuGreenCtxCreate(NULL, desc, 0, 1));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuGreenCtxCreate(&green, NULL, 0, 1));
	assert_cuda(CUDA_ERROR_INVALID_DEVICE, cuGreenCtxCreate(&green, desc, 7, 1));
	must(cuGreenCtxCreate(&green, desc, 0, 1));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuGreenCtxStreamCreate(&stream, green, 0, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuGreenCtxStreamCreate(NULL, green, 1, 0));
	assert_cuda(CUDA_ERROR_INVALID_CONTEXT, cuGreenCtxStreamCreate(&stream, NULL, 1, 0));
	/* Before it is converted it is no context, and never one to be destroyed as such. */
	assert_cuda(CUDA_ERROR_INVALID_CONTEXT, cuCtxSetCurrent((CUcontext)green));
	assert_cuda(CUDA_ERROR_INVALID_CONTEXT, cuCtxDestroy(context_of(green)));
	must(cuGreenCtxDestroy(green));
	assert_cuda(CUDA_ERROR_INVALID_CONTEXT, cuGreenCtxDestroy(green));
}

static void ids_are_unique(void **state)
{
	CUgreenCtx a = green_of(8, 0), b = green_of(8, 0);
	unsigned long long id_a, id_b, current, primary;

	(void)state;
	must(cuGreenCtxGetId(a, &id_a));
	must(cuGreenCtxGetId(b, &id_b));
	must(cuCtxGetId(fixture.ctx, &primary));
	assert_true(id_a != id_b && id_a != primary && id_b != primary);
	assert_cuda(CUDA_ERROR_INVALID_CONTEXT, cuGreenCtxGetId(NULL, &current));
	must(cuCtxPushCurrent(context_of(b)));
	must(cuGreenCtxGetId(NULL, &current));
	must(cuCtxPopCurrent(NULL));
	assert_int_equal(current, id_b);
	must(cuGreenCtxDestroy(a));
	must(cuGreenCtxDestroy(b));
}

static void streams_of_a_green_context_that_ended_say_so(void **state)
{
	CUgreenCtx green = green_of(8, 0);
	CUcontext ctx = context_of(green), of_stream;
	CUstream stream;

	(void)state;
	must(cuGreenCtxStreamCreate(&stream, green, CU_STREAM_NON_BLOCKING, 0));
	must(cuCtxPushCurrent(ctx));
	must(cuCtxPushCurrent(fixture.ctx));
	must(cuGreenCtxDestroy(green));
	assert_cuda(CUDA_ERROR_CONTEXT_IS_DESTROYED, census_launch(1, stream));
	assert_cuda(CUDA_ERROR_CONTEXT_IS_DESTROYED, cuStreamQuery(stream));
	assert_cuda(CUDA_ERROR_CONTEXT_IS_DESTROYED, cuStreamGetCtx(stream, &of_stream));
	assert_cuda(CUDA_ERROR_CONTEXT_IS_DESTROYED, cuStreamDestroy(stream));
	must(cuCtxPopCurrent(NULL));
	assert_cuda(CUDA_ERROR_CONTEXT_IS_DESTROYED, census_launch(1, NULL));
	must(cuCtxPopCurrent(NULL));
	assert_cuda(CUDA_ERROR_INVALID_CONTEXT, cuCtxSetCurrent(ctx));
}

static void green_context_keeps_the_primary_context(void **state)
{
	CUgreenCtx green = green_of(8, 0);
	unsigned flags;
	int is_active;

	(void)state;
	/* The fixture's is the only other reference. */
	must(cuDevicePrimaryCtxRelease(fixture.device));
	must(cuDevicePrimaryCtxGetState(fixture.device, &flags, &is_active));
	assert_true(is_active);
	must(cuDevicePrimaryCtxRetain(&fixture.ctx, fixture.device));
	must(cuGreenCtxDestroy(green));
	must(cuDevicePrimaryCtxGetState(fixture.device, &flags, &is_active));
	assert_true(is_active);
}

/* Last, for it ends all that the fixture has. */
static void reset_of_the_primary_context_ends_green_ones(void **state)
{
	CUgreenCtx green = green_of(8, 0);
	CUcontext ctx = context_of(green);
	unsigned long long id;
	CUstream stream;

	(void)state;
	must(cuGreenCtxStreamCreate(&stream, green, CU_STREAM_NON_BLOCKING, 0));
	must(cuDevicePrimaryCtxReset(fixture.device));
	assert_cuda(CUDA_ERROR_INVALID_CONTEXT, cuCtxSetCurrent(ctx));
	assert_cuda(CUDA_ERROR_CONTEXT_IS_DESTROYED, cuGreenCtxGetId(green, &id));
	assert_cuda(CUDA_ERROR_CONTEXT_IS_DESTROYED, cuCtxFromGreenCtx(&ctx, green));
	assert_cuda(CUDA_ERROR_CONTEXT_IS_DESTROYED, cuStreamDestroy(stream));
	assert_cuda(CUDA_ERROR_CONTEXT_IS_DESTROYED, cuGreenCtxDestroy(green));
	assert_cuda(CUDA_ERROR_INVALID_CONTEXT, cuGreenCtxDestroy(green));
	must(cuDevicePrimaryCtxRetain(&fixture.ctx, fixture.device));
	must(cuCtxSetCurrent(fixture.ctx));
	must(cuModuleLoadData(&fixture.module, test_ptx));
	census_load();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(resources_of_contexts_are_told),
		cmocka_unit_test(creation_refuses_what_is_not_right),
		cmocka_unit_test(ids_are_unique),
		cmocka_unit_test(streams_of_a_green_context_that_ended_say_so),
		cmocka_unit_test(green_context_keeps_the_primary_context),
		cmocka_unit_test(reset_of_the_primary_context_ends_green_ones),
	};

	return cmocka_run_group_tests(tests, census_setup, census_teardown);
}
