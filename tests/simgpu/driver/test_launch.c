/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Modules, libraries and launches in all their forms.
 */
#include "test_support.h"

#include <string.h>

static CUdeviceptr counters;

static int set_up(void **state)
{
	(void)state;
	must(cuMemAlloc(&counters, 4096));
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	must(cuMemFree(counters));
	return 0;
}

static void params_reach_the_twin(void **state)
{
	(void)state;
	must(launch_add(counters, 3, 8, NULL));
	must(launch_add(counters, 4, 4, NULL));

	assert_int_equal(read_int(counters, 0), 7);
	assert_int_equal(read_int(counters, 7), 3);
	assert_int_equal(read_int(counters, 8), 0);
}

static void params_are_copied_at_the_launch(void **state)
{
	int amount = 1;
	void *params[] = {&counters, &amount};

	(void)state;
	must(launch_slow(NULL));
	must(cuLaunchKernel(fixture.add, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
	amount = 100;

	assert_int_equal(read_int(counters, 0), 1);
}

static void params_may_come_packed(void **state)
{
	struct {
		CUdeviceptr counters;
		int amount;
	} packed = {counters, 5};
	size_t bytes = 12;
	void *extra[] = {CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes, CU_LAUNCH_PARAM_BUFFER_POINTER,
		&packed, CU_LAUNCH_PARAM_END};

	(void)state;
	must(cuLaunchKernel(fixture.add, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra));
	assert_int_equal(read_int(counters, 0), 5);

	extra[0] = (void *)77;
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuLaunchKernel(fixture.add, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra));
}

static void old_launches_work(void **state)
{
	(void)state;
	must(cuFuncSetBlockShape(fixture.add, 2, 1, 1));
	must(cuParamSetv(fixture.add, 0, &counters, sizeof(counters)));
	must(cuParamSeti(fixture.add, 8, 6));
	must(cuParamSetSize(fixture.add, 12));
	must(cuLaunchGrid(fixture.add, 2, 1));

	assert_int_equal(read_int(counters, 3), 6);
	assert_int_equal(read_int(counters, 4), 0);
}

static void launch_ex_and_cooperative_work(void **state)
{
	CUlaunchConfig config = {.gridDimX = 1,
		.gridDimY = 1,
		.gridDimZ = 1,
		.blockDimX = 1,
		.blockDimY = 1,
		.blockDimZ = 1};
	int amount = 2;
	void *params[] = {&counters, &amount};

	(void)state;
	must(cuLaunchKernelEx(&config, fixture.add, params, NULL));
	must(cuLaunchCooperativeKernel(fixture.add, 1, 1, 1, 1, 1, 1, 0, NULL, params));
	assert_int_equal(read_int(counters, 0), 4);

	assert_cuda(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE,
		cuLaunchCooperativeKernel(fixture.add, 1000000, 1, 1, 1024, 1, 1, 0, NULL, params));
}

static void impossible_launches_are_refused(void **state)
{
	(void)state;
	const struct {
		unsigned grid[3], block[3], shared;
	} refused[] = {
		{{0, 1, 1}, {1, 1, 1}, 0},
		{{1, 1, 1}, {1, 0, 1}, 0},
		{{1, 1, 1}, {1025, 1, 1}, 0},
		{{1, 1, 1}, {64, 64, 1}, 0},
		{{1, 1, 1}, {1, 1, 65}, 0},
		{{1, 65536, 1}, {1, 1, 1}, 0},
		{{1, 1, 1}, {1, 1, 1}, 49153},
	};

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		assert_cuda(CUDA_ERROR_INVALID_VALUE,
			cuLaunchKernel(fixture.slow, refused[i].grid[0], refused[i].grid[1],
				refused[i].grid[2], refused[i].block[0], refused[i].block[1],
				refused[i].block[2], refused[i].shared, NULL, NULL, NULL));
	assert_cuda(CUDA_ERROR_INVALID_VALUE,
		cuLaunchKernel(fixture.add, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	assert_cuda(CUDA_ERROR_INVALID_HANDLE,
		cuLaunchKernel(NULL, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
}

static void more_shared_memory_has_to_be_asked_for(void **state)
{
	const CUfunction_attribute shared = CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;

	(void)state;
	must(cuFuncSetAttribute(fixture.slow, shared, 100000));
	must(cuLaunchKernel(fixture.slow, 1, 1, 1, 1, 1, 1, 100000, NULL, NULL, NULL));

	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuFuncSetAttribute(fixture.slow, shared, 1 << 20));
	must(cuFuncSetAttribute(fixture.slow, shared, 49152));
}

static void occupancy_follows_threads_and_shared_memory(void **state)
{
	int blocks, grid, size;

	(void)state;
	must(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, fixture.add, 1024, 0));
	assert_int_equal(blocks, 2);
	must(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, fixture.add, 32, 0));
	assert_int_equal(blocks, 32);
	must(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, fixture.add, 32, 100 << 10));
	assert_int_equal(blocks, 2);
	must(cuOccupancyMaxPotentialBlockSize(&grid, &size, fixture.add, NULL, 0, 0));
	assert_int_equal(size, 1024);
	assert_int_equal(grid, 2 * 132);
}

static void names_that_are_not_there_are_not_found(void **state)
{
	CUdeviceptr address;
	CUfunction function;
	size_t size;

	(void)state;
	assert_cuda(CUDA_ERROR_NOT_FOUND, cuModuleGetFunction(&function, fixture.module, "no"));
	assert_cuda(CUDA_ERROR_NOT_FOUND, cuModuleGetGlobal(&address, &size, fixture.module, "no"));
	assert_cuda(CUDA_ERROR_INVALID_HANDLE, cuModuleGetFunction(&function, NULL, "add"));
}

static void globals_have_their_size_and_value(void **state)
{
	CUdeviceptr answer, zeroes;
	size_t size;

	(void)state;
	must(cuModuleGetGlobal(&answer, &size, fixture.module, "answer"));
	assert_int_equal(size, 4);
	assert_int_equal(read_int(answer, 0), 42);
	must(cuModuleGetGlobal(&zeroes, &size, fixture.module, "zeroes"));
	assert_int_equal(size, 1000);
	must(cuMemsetD8(zeroes, 1, 1000));
	assert_int_equal(read_int(answer, 0), 42);
}

static void functions_tell_of_their_params(void **state)
{
	const char *name;
	size_t offset, size;
	unsigned count;

	(void)state;
	must(cuModuleGetFunctionCount(&count, fixture.module));
	assert_int_equal(count, 2);
	must(cuFuncGetParamInfo(fixture.add, 1, &offset, &size));
	assert_int_equal(offset, 8);
	assert_int_equal(size, 4);
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuFuncGetParamInfo(fixture.add, 2, &offset, &size));
	must(cuFuncGetName(&name, fixture.add));
	assert_string_equal(name, "add");
}

static void broken_images_are_refused(void **state)
{
	static const char nothing[64] = "this is no image";
	CUmodule module;

	(void)state;
	assert_int_not_equal(cuModuleLoadData(&module, nothing), CUDA_SUCCESS);
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuModuleLoadData(&module, NULL));
	assert_cuda(CUDA_ERROR_FILE_NOT_FOUND, cuModuleLoad(&module, "/no/such/file"));
}

static void kernels_of_libraries_are_launched_like_functions(void **state)
{
	CUlibrary library;
	CUkernel kernel;
	CUmodule module;
	CUfunction function;
	int amount = 9;
	void *params[] = {&counters, &amount};

	(void)state;
	must(cuLibraryLoadData(&library, test_ptx, NULL, NULL, 0, NULL, NULL, 0));
	must(cuLibraryGetKernel(&kernel, library, "add"));
	must(cuLaunchKernel((CUfunction)kernel, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
	assert_int_equal(read_int(counters, 0), 9);
	must(cuKernelGetFunction(&function, kernel));
	must(cuFuncGetModule(&module, function));
	assert_cuda(CUDA_ERROR_INVALID_HANDLE, cuModuleUnload(module));
	assert_cuda(CUDA_ERROR_NOT_FOUND, cuLibraryGetKernel(&kernel, library, "no"));

	must(cuLibraryUnload(library));
	assert_cuda(CUDA_ERROR_INVALID_HANDLE, cuLibraryUnload(library));
}

static void functions_belong_to_their_context(void **state)
{
	CUstream stream;
	CUcontext ctx;

	(void)state;
	must(cuCtxCreate(&ctx, NULL, 0, fixture.device));
	must(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	assert_cuda(CUDA_ERROR_INVALID_HANDLE, launch_slow(stream));

	must(cuCtxDestroy(ctx));
	must(launch_slow(NULL));
}

static void unloaded_modules_are_gone(void **state)
{
	CUfunction function;
	CUmodule module;

	(void)state;
	must(cuModuleLoadData(&module, test_ptx));
	must(cuModuleUnload(module));

	assert_cuda(CUDA_ERROR_INVALID_HANDLE, cuModuleUnload(module));
	assert_cuda(CUDA_ERROR_INVALID_HANDLE, cuModuleGetFunction(&function, module, "add"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(params_reach_the_twin, set_up, tear_down),
		cmocka_unit_test_setup_teardown(params_are_copied_at_the_launch, set_up, tear_down),
		cmocka_unit_test_setup_teardown(params_may_come_packed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(old_launches_work, set_up, tear_down),
		cmocka_unit_test_setup_teardown(launch_ex_and_cooperative_work, set_up, tear_down),
		cmocka_unit_test(impossible_launches_are_refused),
		cmocka_unit_test(more_shared_memory_has_to_be_asked_for),
		cmocka_unit_test(occupancy_follows_threads_and_shared_memory),
		cmocka_unit_test(names_that_are_not_there_are_not_found),
		cmocka_unit_test(globals_have_their_size_and_value),
		cmocka_unit_test(functions_tell_of_their_params),
		cmocka_unit_test(broken_images_are_refused),
		cmocka_unit_test_setup_teardown(
			kernels_of_libraries_are_launched_like_functions, set_up, tear_down),
		cmocka_unit_test(functions_belong_to_their_context),
		cmocka_unit_test(unloaded_modules_are_gone),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
