/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * cuGetProcAddress against the lists of the real driver's symbols in tests/data. No machine is
 * needed: lookups work before cuInit.
 */
#include "test_support.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#undef cuGetProcAddress
CUresult cuGetProcAddress(const char *symbol, void **pfn, int cudaVersion, cuuint64_t flags);

#define LEGACY     CU_GET_PROC_ADDRESS_LEGACY_STREAM
#define PER_THREAD CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM
#define NEWEST     13000

static void *exported(const char *symbol)
{
	return dlsym(RTLD_DEFAULT, symbol);
}

/* Opens a list and skips its header. */
static FILE *open_list(const char *name)
{
	char path[512], header[256];

	snprintf(path, sizeof(path), TEST_DATA "/%s", name);
	FILE *file = fopen(path, "re");

	assert_non_null(file);
	assert_non_null(fgets(header, sizeof(header), file));
	return file;
}

static void every_symbol_is_found_at_its_version(void **state)
{
	FILE *file = open_list("driver-procmap.csv");
	char name[128], flag[16], symbol[128];
	int version, rows = 0;

	(void)state;
	while (fscanf(file, " %127[^,],%d,%15[^,],%127s", name, &version, flag, symbol) == 4) {
		const bool is_plain = strcmp(flag, "-") == 0;
		CUdriverProcAddressQueryResult status;
		void *found;

		must(cuGetProcAddress_v2(
			name, &found, version, is_plain ? LEGACY : PER_THREAD, &status));
		assert_int_equal(status, CU_GET_PROC_ADDRESS_SUCCESS);
		assert_non_null(found);
		assert_ptr_equal(found, exported(symbol));
		rows++;
	}
	assert_int_equal(rows, 637);
	fclose(file);
}

static void the_runtimes_lookups_are_answered_as_by_the_driver(void **state)
{
	FILE *file = open_list("cudart13-lookups.csv");
	char line[256];
	int rows = 0;

	(void)state;
	while (fgets(line, sizeof(line), file)) {
		char name[128], symbol[128] = "";
		unsigned long long flags;
		void *found = &found;
		int version;

		assert_true(sscanf(line, "%127[^,],%d,%llx,%127s", name, &version, &flags,
				    symbol) == 4);
		const CUresult result = cuGetProcAddress(name, &found, version, flags);

		if (exported(symbol)) {
			must(result);
			assert_ptr_equal(found, exported(symbol));
		} else {
			assert_cuda(CUDA_ERROR_NOT_FOUND, result);
			assert_null(found);
		}
		rows++;
	}
	assert_true(rows > 400);
	fclose(file);
}

static void interop_symbols_are_refused(void **state)
{
	FILE *file = open_list("driver-entry-points.csv");
	char line[1024];
	int refused = 0;

	(void)state;
	while (fgets(line, sizeof(line), file)) {
		CUdriverProcAddressQueryResult status;
		void *found = &found;

		line[strcspn(line, ",")] = '\0';
		if (exported(line))
			continue;
		assert_cuda(CUDA_ERROR_NOT_FOUND,
			cuGetProcAddress_v2(line, &found, NEWEST, 0, &status));
		assert_int_equal(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
		assert_null(found);
		refused++;
	}
	assert_int_equal(refused, 35);
	fclose(file);
}

static void *look_up(const char *name, int version, cuuint64_t flags)
{
	void *found;

	must(cuGetProcAddress(name, &found, version, flags));
	assert_non_null(found);
	return found;
}

static void versions_choose_among_symbols(void **state)
{
	CUdriverProcAddressQueryResult status;
	void *found = &found;

	(void)state;
	assert_ptr_equal(look_up("cuMemAlloc", 3010, 0), exported("cuMemAlloc"));
	assert_ptr_equal(look_up("cuMemAlloc", 3020, 0), exported("cuMemAlloc_v2"));
	assert_ptr_equal(look_up("cuMemAlloc", 99990, 0), exported("cuMemAlloc_v2"));
	assert_ptr_equal(
		look_up("cuEventRecord", NEWEST, PER_THREAD), exported("cuEventRecord_ptsz"));
	assert_ptr_equal(look_up("cuEventRecord", NEWEST, LEGACY), exported("cuEventRecord"));
	assert_ptr_equal(look_up("cuEventRecord", 6000, PER_THREAD), exported("cuEventRecord"));
	assert_ptr_equal(look_up("cuMemAlloc", NEWEST, PER_THREAD), exported("cuMemAlloc_v2"));

	assert_cuda(CUDA_ERROR_NOT_FOUND,
		cuGetProcAddress_v2("cuGraphLaunch", &found, 9000, 0, &status));
	assert_int_equal(status, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
	assert_null(found);
}

static void names_are_exact(void **state)
{
	void *found;

	(void)state;
	assert_cuda(CUDA_ERROR_NOT_FOUND, cuGetProcAddress("cuMemAlloc_v2", &found, NEWEST, 0));
	assert_cuda(CUDA_ERROR_NOT_FOUND, cuGetProcAddress("cuMemAllo", &found, NEWEST, 0));
	assert_cuda(CUDA_ERROR_NOT_FOUND, cuGetProcAddress("zu", &found, NEWEST, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuGetProcAddress("", &found, NEWEST, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuGetProcAddress(NULL, &found, NEWEST, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuGetProcAddress("cuInit", NULL, NEWEST, 0));
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuGetProcAddress("cuInit", &found, NEWEST, 64));
}

static void one_private_table_exists(void **state)
{
	const CUuuid ours = {.bytes = "simgpu-table-one"}, other = {.bytes = "simgpu-table-two"};
	const void *table;

	(void)state;
	must(cuGetExportTable(&table, &ours));
	assert_int_equal(((const size_t *)table)[0], 2 * sizeof(size_t) + 2 * sizeof(void *));
	assert_ptr_equal(
		((void *const *)table)[2], dlsym(RTLD_DEFAULT, "cuDevicePrimaryCtxRetain"));
	assert_cuda(CUDA_ERROR_NOT_FOUND, cuGetExportTable(&table, &other));
	assert_null(table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_symbol_is_found_at_its_version),
		cmocka_unit_test(the_runtimes_lookups_are_answered_as_by_the_driver),
		cmocka_unit_test(interop_symbols_are_refused),
		cmocka_unit_test(versions_choose_among_symbols),
		cmocka_unit_test(names_are_exact),
		cmocka_unit_test(one_private_table_exists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
