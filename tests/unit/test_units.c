/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Sizes and shares as people write them, right and wrong.
 */
#include "unit.h"
#include "base/units.h"

#include <string.h>

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)

struct good_size {
	const char *text;
	uint64_t bytes;
	uint32_t ppm;
};

static const struct good_size good_sizes[] = {
	{"1", 1, 0},
	{"1B", 1, 0},
	{"1 B", 1, 0},
	{"007", 7, 0},
	{"1073741824", GIB, 0},
	{"1Ki", KIB, 0},
	{"1KiB", KIB, 0},
	{"1kB", 1000, 0},
	{"1KB", 1000, 0},
	{"512Mi", 512 * MIB, 0},
	{"512MiB", 512 * MIB, 0},
	{"512 MiB", 512 * MIB, 0},
	{"512MB", 512000000, 0},
	{"4Gi", 4 * GIB, 0},
	{"4GiB", 4 * GIB, 0},
	{"4GB", 4000000000, 0},
	{"1Ti", TIB, 0},
	{"1TiB", TIB, 0},
	{"1TB", 1000000000000, 0},
	{"1.5GiB", GIB + GIB / 2, 0},
	{"0.5KiB", 512, 0},
	{".5KiB", 512, 0},
	{"0.001KiB", 1, 0},
	{"1.0009765625KiB", 1025, 0},
	{"9223372036854775807", INT64_MAX, 0},
	{"8388607TiB", 8388607 * TIB, 0},
	{"50%", 0, 500000},
	{"100%", 0, PPM_WHOLE},
	{"12.5%", 0, 125000},
	{"0.00001%", 0, 1},
	{"99.9999%", 0, 999999},
};

static const char *const bad_sizes[] = {"", " ", "4G", "4M", "4K", "4k", "4T", "GiB", "%", "-1",
	"+1", "-4GiB", " 4GiB", "4GiB ", "4  GiB", "4\tGiB", "4gib", "4GIB", "4 GG", "4PiB",
	"4GiBx", "1.5", "1.5B ", "1.", "1.GiB", ".", ".GiB", "1.2.3GiB", "1,5GiB", "1_000", "0",
	"0GiB", "0.0GiB", "0%", "0.0%", "101%", "100.000001%", "50 %", "50%%", "1e9", "0x400",
	"9223372036854775808", "18446744073709551615", "18446744073709551616",
	"99999999999999999999999999999999", "8388608TiB", "0.0000000000000000000000001GiB", "inf",
	"nan", "four", "4GiB,2GiB", "0.0001KiB"};

struct good_share {
	const char *text;
	uint32_t ppm, sm_count;
};

static const struct good_share good_shares[] = {
	{"25%", 250000, 0},
	{"1%", 10000, 0},
	{"100%", PPM_WHOLE, 0},
	{"33.3333%", 333333, 0},
	{"33.33339%", 333333, 0},
	{"0.00000001%", 1, 0},
	{"0.25", 250000, 0},
	{".25", 250000, 0},
	{"1.0", PPM_WHOLE, 0},
	{"0.000001", 1, 0},
	{"0.0000000001", 1, 0},
	{"1sm", 0, 1},
	{"32sm", 0, 32},
	{"65535sm", 0, 65535},
};

static const char *const bad_shares[] = {"", "25", "1", "0", "0%", "0.0", "101%", "100.1%", "1.1",
	"2.0", "-25%", "+25%", "-0.5", " 25%", "25% ", "25 %", "25%%", "0sm", "65536sm", "1.5sm",
	"32SM", "32 sm", "32sms", "sm", "%", ".", "1.", "25percent", "4GiB", "0x10%",
	"99999999999999999999999%", "184467440737095516160sm", "0.99999999999999999999999", "1/4"};

static void size_good_text_is_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good_sizes); i++) {
		struct size_value size;
		const char *reason = units_parse_size(good_sizes[i].text, &size);

		if (reason != NULL)
			fail_msg("\"%s\" is refused: %s", good_sizes[i].text, reason);
		if (size.bytes != good_sizes[i].bytes || size.ppm != good_sizes[i].ppm)
			fail_msg("\"%s\" is read as %llu bytes, %u ppm", good_sizes[i].text,
				(unsigned long long)size.bytes, size.ppm);
	}
}

static void size_bad_text_is_refused_and_changes_nothing(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad_sizes); i++) {
		struct size_value size = {.bytes = 4711, .ppm = 42};
		const char *reason = units_parse_size(bad_sizes[i], &size);

		if (reason == NULL)
			fail_msg("\"%s\" is taken for %llu bytes, %u ppm", bad_sizes[i],
				(unsigned long long)size.bytes, size.ppm);
		assert_true(strlen(reason) > 0);
		assert_int_equal(size.bytes, 4711);
		assert_int_equal(size.ppm, 42);
	}
}

static void size_reason_says_what_is_wrong(void **state)
{
	static const struct {
		const char *text, *part;
	} cases[] = {
		{"4G", "ambiguous"},
		{"4 GG", "unknown unit"},
		{"-1", "sign"},
		{"1.5", "fraction"},
		{"0", "zero"},
		{"101%", "100%"},
		{"8388608TiB", "larger"},
		{"99999999999999999999999999", "digits"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct size_value size;
		const char *reason = units_parse_size(cases[i].text, &size);

		assert_non_null(reason);
		if (strstr(reason, cases[i].part) == NULL)
			fail_msg("\"%s\": \"%s\" does not say \"%s\"", cases[i].text, reason,
				cases[i].part);
	}
}

static void share_good_text_is_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good_shares); i++) {
		struct share_value share;
		const char *reason = units_parse_share(good_shares[i].text, &share);

		if (reason != NULL)
			fail_msg("\"%s\" is refused: %s", good_shares[i].text, reason);
		if (share.ppm != good_shares[i].ppm || share.sm_count != good_shares[i].sm_count)
			fail_msg("\"%s\" is read as %u ppm, %u SMs", good_shares[i].text, share.ppm,
				share.sm_count);
	}
}

static void share_bad_text_is_refused_and_changes_nothing(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad_shares); i++) {
		struct share_value share = {.ppm = 42, .sm_count = 43};
		const char *reason = units_parse_share(bad_shares[i], &share);

		if (reason == NULL)
			fail_msg("\"%s\" is taken for %u ppm, %u SMs", bad_shares[i], share.ppm,
				share.sm_count);
		assert_true(strlen(reason) > 0);
		assert_int_equal(share.ppm, 42);
		assert_int_equal(share.sm_count, 43);
	}
}

static void resolve_size_bytes_stay(void **state)
{
	struct size_value size = {.bytes = 5 * GIB};

	(void)state;
	assert_int_equal(units_resolve_size(size, GIB), 5 * GIB);
}

static void resolve_size_percent_is_of_the_device(void **state)
{
	struct size_value half = {.ppm = 500000}, tiny = {.ppm = 1}, all = {.ppm = PPM_WHOLE};

	(void)state;
	assert_int_equal(units_resolve_size(half, 80 * GIB), 40 * GIB);
	assert_int_equal(units_resolve_size(tiny, 1000000), 1);
	assert_int_equal(units_resolve_size(all, INT64_MAX), INT64_MAX);
}

static void resolve_share_sms_are_part_of_the_device(void **state)
{
	struct share_value sms = {.sm_count = 33}, percent = {.ppm = 250000};

	(void)state;
	assert_int_equal(units_resolve_share(sms, 132), 250000);
	assert_int_equal(units_resolve_share(sms, 33), PPM_WHOLE);
	assert_int_equal(units_resolve_share(sms, 8), PPM_WHOLE);
	assert_int_equal(units_resolve_share(percent, 132), 250000);
}

static void resolve_share_one_sm_of_many_is_not_zero(void **state)
{
	struct share_value one = {.sm_count = 1};

	(void)state;
	assert_true(units_resolve_share(one, 65535) > 0);
}

static void format_bytes_rounds_down(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{0, "0 B"},
		{1023, "1023 B"},
		{1024, "1.00 KiB"},
		{1536, "1.50 KiB"},
		{MIB - 1, "1023.99 KiB"},
		{4 * GIB, "4.00 GiB"},
		{4 * GIB + GIB / 2, "4.50 GiB"},
		{TIB, "1.00 TiB"},
		{UINT64_MAX, "15.99 EiB"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_string_equal(units_format_bytes(cases[i].bytes).text, cases[i].text);
}

static void format_bytes_reads_back_within_its_precision(void **state)
{
	uint64_t random = 1;

	(void)state;
	for (unsigned i = 0; i < 10000; i++) {
		uint64_t bytes = random_next(&random) >> random_between(&random, 14, 60);
		struct units_text shown = units_format_bytes(bytes + 1);
		struct size_value size;

		assert_null(units_parse_size(shown.text, &size));
		assert_true(size.bytes <= bytes + 1);
		assert_true(bytes + 1 - size.bytes <= (bytes + 1) / 64);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(size_good_text_is_read),
		cmocka_unit_test(size_bad_text_is_refused_and_changes_nothing),
		cmocka_unit_test(size_reason_says_what_is_wrong),
		cmocka_unit_test(share_good_text_is_read),
		cmocka_unit_test(share_bad_text_is_refused_and_changes_nothing),
		cmocka_unit_test(resolve_size_bytes_stay),
		cmocka_unit_test(resolve_size_percent_is_of_the_device),
		cmocka_unit_test(resolve_share_sms_are_part_of_the_device),
		cmocka_unit_test(resolve_share_one_sm_of_many_is_not_zero),
		cmocka_unit_test(format_bytes_rounds_down),
		cmocka_unit_test(format_bytes_reads_back_within_its_precision),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
