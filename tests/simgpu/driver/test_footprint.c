/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What the driver takes of the device by itself. The machine has 16 GiB and 10 SMs, a context takes
 * 64 MiB and a module 2 MiB.
 */
#include "test_support.h"

#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

static const char large_ptx[] = ".version 7.0\n"
				".target sm_75\n"
				".address_size 64\n"
				".visible .global .align 8 .b8 large[3221225472];\n";
static const char too_large_ptx[] = ".version 7.0\n"
				    ".target sm_75\n"
				    ".address_size 64\n"
				    ".visible .global .align 8 .b8 large[17179869184];\n";

static size_t free_bytes(void)
{
	size_t free, total;

	must(cuMemGetInfo(&free, &total));
	return free;
}

static void a_context_takes_what_the_machine_says(void **state)
{
	const size_t before = free_bytes();
	CUcontext ctx;

	(void)state;
	must(cuCtxCreate(&ctx, NULL, 0, 0));
	assert_int_equal(before - 64 * MIB, free_bytes());
	must(cuCtxDestroy(ctx));
	assert_int_equal(before, free_bytes());
}

/* Of a thread there is room for 64 contexts on top of one another. */
static void a_context_that_cannot_be_current_takes_nothing(void **state)
{
	CUcontext contexts[64], one_more = NULL;
	unsigned count = 0;

	(void)state;
	while (count < 64 && cuCtxCreate(&contexts[count], NULL, 0, 0) == CUDA_SUCCESS)
		count++;
	assert_int_equal(63, count); /* and that of the fixture */
	const size_t before = free_bytes();

	assert_cuda(CUDA_ERROR_OUT_OF_MEMORY, cuCtxCreate(&one_more, NULL, 0, 0));
	assert_int_equal(before, free_bytes());
	assert_null(one_more);
	while (count > 0)
		must(cuCtxDestroy(contexts[--count]));
}

static void a_module_takes_its_code_and_its_variables(void **state)
{
	const size_t before = free_bytes();
	CUmodule module;

	(void)state;
	must(cuModuleLoadData(&module, large_ptx));
	assert_int_equal(before - 2 * MIB - 3 * GIB, free_bytes());
	must(cuModuleUnload(module));
	assert_int_equal(before, free_bytes());
}

static void a_module_that_does_not_fit_is_refused_and_takes_nothing(void **state)
{
	const size_t before = free_bytes();
	CUmodule module;

	(void)state;
	assert_cuda(CUDA_ERROR_OUT_OF_MEMORY, cuModuleLoadData(&module, too_large_ptx));
	assert_int_equal(before, free_bytes());
}

static void a_library_takes_bytes_in_each_context_that_uses_it(void **state)
{
	const size_t before = free_bytes();
	CUlibrary library;
	CUmodule module, other;
	CUcontext ctx;

	(void)state;
	must(cuLibraryLoadData(&library, large_ptx, NULL, NULL, 0, NULL, NULL, 0));
	assert_int_equal(before, free_bytes());
	must(cuLibraryGetModule(&module, library));
	must(cuLibraryGetModule(&other, library));
	assert_ptr_equal(module, other);
	assert_int_equal(before - 2 * MIB - 3 * GIB, free_bytes());
	must(cuCtxCreate(&ctx, NULL, 0, 0));
	must(cuLibraryGetModule(&other, library));
	assert_int_equal(before - 64 * MIB - 2 * (2 * MIB + 3 * GIB), free_bytes());
	must(cuLibraryUnload(library));
	assert_int_equal(before - 64 * MIB, free_bytes());
	must(cuCtxDestroy(ctx));
	assert_int_equal(before, free_bytes());
}

static void modules_end_with_their_context(void **state)
{
	const size_t before = free_bytes();
	CUmodule module;
	CUcontext ctx;

	(void)state;
	must(cuCtxCreate(&ctx, NULL, 0, 0));
	must(cuModuleLoadData(&module, large_ptx));
	must(cuCtxDestroy(ctx));
	assert_int_equal(before, free_bytes());
}

static void limits_take_what_they_need_beyond_their_defaults(void **state)
{
	const size_t before = free_bytes();
	CUcontext ctx;

	(void)state;
	must(cuCtxCreate(&ctx, NULL, 0, 0));
	must(cuCtxSetLimit(CU_LIMIT_MALLOC_HEAP_SIZE, MIB));
	must(cuCtxSetLimit(CU_LIMIT_MALLOC_HEAP_SIZE, 8 * MIB));
	assert_int_equal(before - 64 * MIB, free_bytes());
	must(cuCtxSetLimit(CU_LIMIT_MALLOC_HEAP_SIZE, 108 * MIB));
	must(cuCtxSetLimit(CU_LIMIT_PRINTF_FIFO_SIZE, 11 * MIB));
	must(cuCtxSetLimit(CU_LIMIT_STACK_SIZE, 2048));
	assert_int_equal(before - (64 + 100 + 10 + 20) * MIB, free_bytes());
	must(cuCtxSetLimit(CU_LIMIT_MALLOC_HEAP_SIZE, 58 * MIB));
	assert_int_equal(before - (64 + 50 + 10 + 20) * MIB, free_bytes());
	must(cuCtxDestroy(ctx));
	assert_int_equal(before, free_bytes());
}

static void a_limit_that_does_not_fit_stays_as_it_was(void **state)
{
	const size_t before = free_bytes();
	size_t value;

	(void)state;
	assert_cuda(CUDA_ERROR_OUT_OF_MEMORY, cuCtxSetLimit(CU_LIMIT_MALLOC_HEAP_SIZE, SIZE_MAX));
	assert_cuda(CUDA_ERROR_OUT_OF_MEMORY, cuCtxSetLimit(CU_LIMIT_STACK_SIZE, SIZE_MAX));
	assert_cuda(CUDA_ERROR_OUT_OF_MEMORY, cuCtxSetLimit(CU_LIMIT_STACK_SIZE, GIB));
	must(cuCtxGetLimit(&value, CU_LIMIT_MALLOC_HEAP_SIZE));
	assert_int_equal(8 * MIB, value);
	assert_int_equal(before, free_bytes());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_context_takes_what_the_machine_says),
		cmocka_unit_test(a_context_that_cannot_be_current_takes_nothing),
		cmocka_unit_test(a_module_takes_its_code_and_its_variables),
		cmocka_unit_test(a_module_that_does_not_fit_is_refused_and_takes_nothing),
		cmocka_unit_test(a_library_takes_bytes_in_each_context_that_uses_it),
		cmocka_unit_test(modules_end_with_their_context),
		cmocka_unit_test(limits_take_what_they_need_beyond_their_defaults),
		cmocka_unit_test(a_limit_that_does_not_fit_stays_as_it_was),
	};

	return cmocka_run_group_tests_name("footprint", tests, fixture_setup, fixture_teardown);
}
