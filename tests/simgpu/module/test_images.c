/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The parsers on real images: samples/samples.cu in every form that nvcc makes of it. Where nvcc is
 * missing, only the committed PTX is read and the other tests are skipped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "parsers.h"
#include "test_support.h"

static void assert_params(const struct sim_module_image *image, const char *name,
	const struct sim_param *params, uint32_t count, uint32_t bytes)
{
	const struct sim_kernel *kernel = kernel_named(image, name);

	assert_int_equal(count, kernel->param_count);
	assert_int_equal(bytes, kernel->param_bytes);
	for (uint32_t i = 0; i < count; i++) {
		assert_int_equal(params[i].offset, kernel->params[i].offset);
		assert_int_equal(params[i].size, kernel->params[i].size);
	}
}

static void assert_sample_params(const struct sim_module_image *image)
{
	static const struct sim_param mixed[] = {
		{0, 1}, {1, 3}, {8, 8}, {16, 16}, {32, 8}, {40, 4}};
	static const struct sim_param with_stack[] = {{0, 8}, {8, 4}};
	static const struct sim_param aligned[] = {{0, 1}, {16, 16}, {32, 1}, {40, 8}};
	static const struct sim_param large[] = {{0, 9000}, {9000, 8}};

	assert_params(image, "none", NULL, 0, 0);
	assert_params(image, "mixed", mixed, 6, 44);
	assert_params(image, "_Z10with_stackIfEvPT_i", with_stack, 2, 12);
	assert_params(image, "aligned", aligned, 4, 48);
	assert_params(image, "large", large, 2, 9008);
}

static void assert_sample_kernels(const struct sim_module_image *image)
{
	assert_int_equal(128, kernel_named(image, "mixed")->max_threads);
	assert_int_equal(256, kernel_named(image, "mixed")->shared_bytes);
	assert_int_equal(0, kernel_named(image, "none")->max_threads);
	assert_int_equal(0, kernel_named(image, "none")->shared_bytes);
	assert_int_equal(0, kernel_named(image, "none")->local_bytes);
	assert_int_equal(160, kernel_named(image, "_Z10with_stackIfEvPT_i")->local_bytes);
	for (uint32_t i = 0; i < image->kernel_count; i++)
		assert_true(image->is_ptx == (image->kernels[i].registers == 0));
}

static void assert_variable(
	const struct sim_module_image *image, const char *name, const void *init, size_t size)
{
	const struct sim_global *global = global_named(image, name);

	assert_int_equal(size, global->size);
	if (init) {
		assert_non_null(global->init);
		assert_memory_equal(init, global->init, size);
		return;
	}
	for (size_t i = 0; global->init && i < size; i++)
		assert_int_equal(0, ((const unsigned char *)global->init)[i]);
}

static void assert_samples(const struct sim_module_image *image, uint32_t sm)
{
	static const uint64_t table[] = {1, 2, 3, 4};
	static const float coefficients[] = {1.5f, 2.5f, -3.5f};

	assert_int_equal(sm, image->sm);
	assert_true(image->is_ptx == (sm == 0));
	assert_int_equal(5, image->kernel_count);
	assert_sample_params(image);
	assert_sample_kernels(image);
	assert_int_equal(7, image->global_count);
	assert_variable(image, "counter", &(int){7}, 4);
	assert_variable(image, "hidden", &(int){5}, 4);
	assert_variable(image, "table", table, sizeof(table));
	assert_variable(image, "coefficients", coefficients, sizeof(coefficients));
	assert_variable(image, "zeroes", NULL, 400);
	assert_variable(image, "constant_zero", NULL, 4);
	assert_variable(image, "address", NULL, 8);
}

/* Parse a file that ends before a page that faults, and check it against the source. */
static void check_file(const char *directory, const char *name, uint32_t sm, bool is_text)
{
	size_t size;
	void *data = load_file(directory, name, &size);
	if (!data) {
		print_message("%s is not there: nvcc was not found\n", name);
		skip();
	}
	struct guarded guarded = guarded_copy(data, size + (is_text ? 1 : 0));
	struct sim_module_image *image = NULL;

	assert_int_equal(SIM_MODULE_OK, sim_module_parse(guarded.data, &image));

	assert_samples(image, sm);
	sim_module_free(image);
	guarded_free(&guarded);
	free(data);
}

static void committed_ptx_is_read(void **state)
{
	(void)state;
	check_file(SAMPLES_SOURCE_DIR, "samples.ptx", 0, true);
}

static void fresh_ptx_is_read(void **state)
{
	(void)state;
	check_file(SAMPLES_BINARY_DIR, "samples.ptx", 0, true);
}

static void cubin_of_sm_75_is_read(void **state)
{
	(void)state;
	check_file(SAMPLES_BINARY_DIR, "samples.sm_75.cubin", 75, false);
}

static void cubin_of_sm_80_is_read(void **state)
{
	(void)state;
	check_file(SAMPLES_BINARY_DIR, "samples.sm_80.cubin", 80, false);
}

static void cubin_of_sm_90_is_read(void **state)
{
	(void)state;
	check_file(SAMPLES_BINARY_DIR, "samples.sm_90.cubin", 90, false);
}

static void cubin_of_sm_100_is_read(void **state)
{
	(void)state;
	check_file(SAMPLES_BINARY_DIR, "samples.sm_100.cubin", 100, false);
}

static void fatbin_gives_its_newest_cubin(void **state)
{
	(void)state;
	check_file(SAMPLES_BINARY_DIR, "samples.plain.fatbin", 90, false);
}

static void fatbin_of_ptx_alone_gives_ptx(void **state)
{
	(void)state;
	check_file(SAMPLES_BINARY_DIR, "samples.ptx.fatbin", 0, false);
}

/* Skipped where the machine has no library for it: then the status must say so. */
static void check_compressed(const char *name)
{
	struct sim_module_image *image = NULL;
	size_t size;
	void *data = load_file(SAMPLES_BINARY_DIR, name, &size);
	enum sim_module_status status = data ? sim_module_parse(data, &image) : SIM_MODULE_OK;
	sim_module_free(image);
	free(data);
	if (status == SIM_MODULE_UNSUPPORTED) {
		print_message("%s: no library to uncompress it\n", name);
		skip();
	}
	check_file(SAMPLES_BINARY_DIR, name, 90, false);
}

static void fatbin_in_zstd_is_read(void **state)
{
	(void)state;
	check_compressed("samples.zstd.fatbin");
}

static void fatbin_in_lz4_is_read(void **state)
{
	(void)state;
	check_compressed("samples.lz4.fatbin");
}

static void relocatable_cubin_is_unsupported(void **state)
{
	(void)state;
	struct sim_module_image *image = NULL;
	size_t size;
	void *data = load_file(SAMPLES_BINARY_DIR, "samples.rdc.cubin", &size);
	if (!data)
		skip();

	assert_int_equal(SIM_MODULE_UNSUPPORTED, sim_module_parse(data, &image));

	assert_null(image);
	free(data);
}

static void wrapper_leads_to_its_fatbin(void **state)
{
	(void)state;
	struct sim_module_image *image = NULL;
	size_t size;
	void *data = load_file(SAMPLES_BINARY_DIR, "samples.plain.fatbin", &size);
	if (!data)
		skip();
	struct {
		uint32_t magic, version;
		const void *data, *rest;
	} wrapper = {FATBIN_WRAPPER_MAGIC, 1, data, NULL};

	assert_int_equal(SIM_MODULE_OK, sim_module_parse(&wrapper, &image));

	assert_samples(image, 90);
	sim_module_free(image);
	free(data);
}

/* samples.plain.fatbin holds cubins for sm_75 and sm_90, and PTX for compute_75. */
static void fatbin_gives_what_fits_the_device(void **state)
{
	(void)state;
	static const struct {
		uint32_t device, image;
	} rows[] = {{75, 75}, {90, 90}, {80, 0}, {100, 0}, {70, 90}};
	size_t size;
	void *data = load_file(SAMPLES_BINARY_DIR, "samples.plain.fatbin", &size);
	if (!data)
		skip();

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sim_module_image *image = NULL;
		assert_int_equal(SIM_MODULE_OK, sim_module_parse_for(data, rows[i].device, &image));
		assert_samples(image, rows[i].image);
		sim_module_free(image);
	}
	free(data);
}

static void wrapper_of_something_else_is_invalid(void **state)
{
	(void)state;
	struct sim_module_image *image = NULL;
	struct {
		uint32_t magic, version;
		const void *data, *rest;
	} wrapper = {FATBIN_WRAPPER_MAGIC, 1, "text", NULL};

	assert_int_equal(SIM_MODULE_INVALID_IMAGE, sim_module_parse(&wrapper, &image));
	wrapper.data = NULL;
	assert_int_equal(SIM_MODULE_INVALID_IMAGE, sim_module_parse(&wrapper, &image));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(committed_ptx_is_read),
		cmocka_unit_test(fresh_ptx_is_read),
		cmocka_unit_test(cubin_of_sm_75_is_read),
		cmocka_unit_test(cubin_of_sm_80_is_read),
		cmocka_unit_test(cubin_of_sm_90_is_read),
		cmocka_unit_test(cubin_of_sm_100_is_read),
		cmocka_unit_test(fatbin_gives_its_newest_cubin),
		cmocka_unit_test(fatbin_of_ptx_alone_gives_ptx),
		cmocka_unit_test(fatbin_in_zstd_is_read),
		cmocka_unit_test(fatbin_in_lz4_is_read),
		cmocka_unit_test(relocatable_cubin_is_unsupported),
		cmocka_unit_test(wrapper_leads_to_its_fatbin),
		cmocka_unit_test(fatbin_gives_what_fits_the_device),
		cmocka_unit_test(wrapper_of_something_else_is_invalid),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
