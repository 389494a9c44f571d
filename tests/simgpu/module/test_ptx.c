/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The PTX parser on what nvcc does not write but other compilers and people do, and on what is
 * wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test_support.h"

#define PREAMBLE ".version 7.0\n.target sm_70, debug\n.address_size 64\n"

static enum sim_module_status parse(const char *body, struct sim_module_image **ret_image)
{
	char text[4096];
	snprintf(text, sizeof(text), PREAMBLE "%s", body);
	struct guarded guarded = guarded_copy(text, strlen(text) + 1);
	enum sim_module_status status = sim_module_parse(guarded.data, ret_image);
	guarded_free(&guarded);
	return status;
}

static struct sim_module_image *parse_ok(const char *body)
{
	struct sim_module_image *image = NULL;
	assert_int_equal(SIM_MODULE_OK, parse(body, &image));
	return image;
}

static void assert_status(enum sim_module_status expected, const char *body)
{
	struct sim_module_image *image = NULL;
	enum sim_module_status status = parse(body, &image);
	if (status != expected)
		fail_msg("status %d, not %d: %s", (int)status, (int)expected, body);
	assert_null(image);
}

static void assert_init(const char *body, const void *expected, size_t size)
{
	struct sim_module_image *image = parse_ok(body);
	const struct sim_global *global = global_named(image, "x");
	assert_int_equal(size, global->size);
	assert_non_null(global->init);
	assert_memory_equal(expected, global->init, size);
	sim_module_free(image);
}

static void pointee_alignment_does_not_move_parameters(void **state)
{
	(void)state;
	struct sim_module_image *image = parse_ok(".visible .entry k(.param.u32 n, "
						  ".param .u64 .ptr .global .align 128 p,"
						  ".param .u64 .ptr .align 64 q, .param .v4 .f32 v,"
						  ".param .f16x2 h) { ret; }");
	static const struct sim_param expected[] = {{0, 4}, {8, 8}, {16, 8}, {32, 16}, {48, 4}};

	const struct sim_kernel *kernel = kernel_named(image, "k");

	assert_int_equal(5, kernel->param_count);
	assert_memory_equal(expected, kernel->params, sizeof(expected));
	assert_int_equal(52, kernel->param_bytes);
	sim_module_free(image);
}

static void entry_without_parentheses_has_no_parameters(void **state)
{
	(void)state;
	struct sim_module_image *image = parse_ok(".entry a { ret; } .weak .entry b () { exit; }");

	assert_int_equal(2, image->kernel_count);
	assert_int_equal(0, kernel_named(image, "a")->param_count);
	assert_int_equal(0, kernel_named(image, "b")->param_bytes);
	sim_module_free(image);
}

static void launch_bounds_are_products(void **state)
{
	(void)state;
	struct sim_module_image *image =
		parse_ok(".entry a() .maxntid 16, 8, 2 .minnctapersm 2 { ret; }\n"
			 ".entry b() .pragma \"nounroll\"; .reqntid 96 .maxnreg 32 { ret; }");

	assert_int_equal(256, kernel_named(image, "a")->max_threads);
	assert_int_equal(96, kernel_named(image, "b")->max_threads);
	assert_int_equal(0, kernel_named(image, "b")->registers);
	sim_module_free(image);
}

static void prototype_is_no_kernel(void **state)
{
	(void)state;
	struct sim_module_image *image = parse_ok(".entry k(.param .u32 a);\n"
						  ".extern .func (.param .b32 r) vprintf (.param "
						  ".b64 f, .param .b64 v);\n"
						  ".entry k(.param .u32 a) { ret; }");

	assert_int_equal(1, image->kernel_count);
	assert_int_equal(1, kernel_named(image, "k")->param_count);
	sim_module_free(image);
}

static void shared_memory_is_charged_to_who_names_it(void **state)
{
	(void)state;
	struct sim_module_image *image =
		parse_ok(".shared .align 4 .b8 all[100];\n.extern .shared .b8 dynamic[];\n"
			 ".entry a() { .shared .b8 own[3]; mov.u32 %r1, all; mov.u32 %r2, all;\n"
			 "{ .shared .f64 inner[2]; } .local .align 16 .b8 depot[32]; ret; }\n"
			 ".entry b() { mov.u32 %r1, dynamic; ret; }");

	/* own 0..2, all 4..103, inner 104..119 */
	assert_int_equal(120, kernel_named(image, "a")->shared_bytes);
	assert_int_equal(32, kernel_named(image, "a")->local_bytes);
	assert_int_equal(0, kernel_named(image, "b")->shared_bytes);
	sim_module_free(image);
}

static void comments_and_strings_hide_what_is_in_them(void **state)
{
	(void)state;
	struct sim_module_image *image =
		parse_ok("/* .entry no() { */ // .entry neither() {\n"
			 ".file 1 \"a }{ \\\" .cu\", 1, 2\n"
			 ".entry k() { .loc 1 2 3, function_name $x, inlined_at 1 1 1\n"
			 ".pragma \"} .shared .b8 x[4];\"; /* } */ ret; }\n"
			 ".section .debug_str { $info: .b8 123,125,0 }");

	assert_int_equal(1, image->kernel_count);
	assert_int_equal(0, kernel_named(image, "k")->shared_bytes);
	sim_module_free(image);
}

static void extern_variables_are_not_the_modules(void **state)
{
	(void)state;
	struct sim_module_image *image =
		parse_ok(".extern .global .u32 elsewhere[];\n.global .texref texture;\n"
			 ".global .samplerref s = { addr_mode_0 = wrap, filter_mode = nearest };\n"
			 ".visible .global .attribute(.managed) .align 16 .b8 here[20], there;\n"
			 ".common .global .u64 tentative;");

	assert_int_equal(3, image->global_count);
	assert_int_equal(20, global_named(image, "here")->size);
	assert_null(global_named(image, "here")->init);
	assert_int_equal(1, global_named(image, "there")->size);
	assert_int_equal(8, global_named(image, "tentative")->size);
	sim_module_free(image);
}

static void integers_are_read_in_every_base(void **state)
{
	(void)state;
	static const int32_t expected[] = {10, 0x1F, 8, 5, -3, -1};

	assert_init(".global .s32 x[6] = {10, 0x1F, 010, 0b101, -3, 4294967295U};", expected,
		sizeof(expected));
}

static void floats_are_read_in_every_notation(void **state)
{
	(void)state;
	static const float narrow[] = {1.0f, -2.5f, 1e-3f, 4.0f};
	static const double wide[] = {1.0, -0.5, 3.0};

	assert_init(".const .f32 x[] = {0f3F800000, -2.5, 1.0e-3, 4};", narrow, sizeof(narrow));
	assert_init(".global .f64 x[] = {0d3FF0000000000000, 0DBFE0000000000000, 3};", wide,
		sizeof(wide));
}

static void short_lists_are_filled_with_zeroes(void **state)
{
	(void)state;
	static const int16_t nested[2][3] = {{1, 2, 0}, {3, 0, 0}};
	static const int16_t flat[2][3] = {{1, 2, 3}, {4, 0, 0}};
	static const float vectors[] = {1.0f, 2.0f, 3.0f, 0.0f};

	assert_init(".global .s16 x[2][3] = {{1, 2}, {3}};", nested, sizeof(nested));
	assert_init(".global .s16 x[][3] = {{1, 2}, {3}};", nested, sizeof(nested));
	assert_init(".global .s16 x[][3] = {1, 2, 3, 4};", flat, sizeof(flat));
	assert_init(".global .v2 .f32 x[2] = {{1.0, 2.0}, {3.0}};", vectors, sizeof(vectors));
}

static void addresses_stay_zero(void **state)
{
	(void)state;
	static const uint64_t expected[] = {0, 0, 3, 0};

	assert_init(".global .u32 y;\n.global .u64 x[4] = {y, generic(y)+4, 3, 0xFF00(y)};",
		expected, sizeof(expected));
}

/* What stands behind a good preamble. */
static const char *const wrong_bodies[] = {
	".entry",
	".entry 7() { ret; }",
	".entry k(",
	".entry k(.param .u32) { ret; }",
	".entry k(.param .u33 a) { ret; }",
	".entry k(.param .u32 a .param .u32 b) { ret; }",
	".entry k(.reg .u32 a) { ret; }",
	".entry k(.param .b8 a[]) { ret; }",
	".entry k(.param .b8 a[32765]) { ret; }",
	".entry k(.param .align 3 .b8 a[4]) { ret; }",
	".entry k() .maxntid x { ret; }",
	".entry k() ret; }",
	".entry k() { ret;",
	".entry k() { { ret; }",
	".entry k() { ret; } }",
	".entry k() { ret; } .entry k() { ret; }",
	".entry k() { \"",
	".global .u32 x",
	".global .u32 x[;",
	".global .u32 x[];",
	".global .u32 x[2][] = {1};",
	".global .u32 x[1][1][1][1][1][1][1][1][1];",
	".global .u32 x[99999999999][99999999999];",
	".global .u32 x[18446744073709551616];",
	".global .u32 x; .global .u32 x;",
	".global .u32 x[2] = {1, 2, 3};",
	".global .u32 x[2] = {{1}, 2};",
	".global .u32 x[2] = {1, 2;",
	".global .u32 x[2] = 1;",
	".global .u32 x = {1};",
	".global .u32 x = ;",
	".global .u32 x = 1.5;",
	".global .u32 x = y",
	".global .attribute(.managed .u32 x;",
	".unknown .u32 x;",
	"hello;",
};

static void wrong_text_is_invalid_ptx(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(wrong_bodies) / sizeof(wrong_bodies[0]); i++)
		assert_status(SIM_MODULE_INVALID_PTX, wrong_bodies[i]);
}

static void constant_expression_is_unsupported(void **state)
{
	(void)state;

	assert_status(SIM_MODULE_UNSUPPORTED, ".global .u32 x = 1 + 2;");
	assert_status(SIM_MODULE_UNSUPPORTED, ".global .b8 x[1099511627776] = {1};");
}

static void other_text_is_an_invalid_image(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"", "x", "hello", "// only a comment", "/* open", "\"", "."};
	struct sim_module_image *image = NULL;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct guarded guarded = guarded_copy(texts[i], strlen(texts[i]) + 1);
		assert_int_equal(SIM_MODULE_INVALID_IMAGE, sim_module_parse(guarded.data, &image));
		guarded_free(&guarded);
	}
	assert_null(image);
}

static void preamble_must_be_whole(void **state)
{
	(void)state;
	struct sim_module_image *image = NULL;

	assert_int_equal(SIM_MODULE_INVALID_PTX, sim_module_parse(".version 7.0\n", &image));
	assert_int_equal(SIM_MODULE_UNSUPPORTED,
		sim_module_parse(".version 7.0\n.target sm_70\n.address_size 32\n", &image));
	assert_int_equal(SIM_MODULE_OK, sim_module_parse(".version 7.0\n.target sm_70\n", &image));
	assert_int_equal(0, image->kernel_count);
	sim_module_free(image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pointee_alignment_does_not_move_parameters),
		cmocka_unit_test(entry_without_parentheses_has_no_parameters),
		cmocka_unit_test(launch_bounds_are_products),
		cmocka_unit_test(prototype_is_no_kernel),
		cmocka_unit_test(shared_memory_is_charged_to_who_names_it),
		cmocka_unit_test(comments_and_strings_hide_what_is_in_them),
		cmocka_unit_test(extern_variables_are_not_the_modules),
		cmocka_unit_test(integers_are_read_in_every_base),
		cmocka_unit_test(floats_are_read_in_every_notation),
		cmocka_unit_test(short_lists_are_filled_with_zeroes),
		cmocka_unit_test(addresses_stay_zero),
		cmocka_unit_test(wrong_text_is_invalid_ptx),
		cmocka_unit_test(constant_expression_is_unsupported),
		cmocka_unit_test(other_text_is_an_invalid_image),
		cmocka_unit_test(preamble_must_be_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
