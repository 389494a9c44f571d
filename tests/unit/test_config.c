/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Settings from an environment, and what is said of those that are not understood.
 */
#include "unit.h"
#include "config/config.h"

#include <string.h>

/* Big, so not on the stack of each test. */
static struct config config;

#define READ(...) config_read((char *const[]){__VA_ARGS__, NULL}, &config)

static void read_empty_environment_gives_defaults(void **state)
{
	(void)state;
	char *const nothing[] = {NULL};

	config_read(nothing, &config);

	assert_int_equal(config.problem_count, 0);
	assert_int_equal(config.on_error, CONFIG_REFUSE);
	assert_int_equal(config.log, LOG_WARN);
	assert_false(config.has_device_settings);
	assert_false(config_limits_memory(&config));
	assert_false(config_limits_compute(&config));
	assert_false(config_is_refused(&config));
}

static void read_no_environment_gives_defaults(void **state)
{
	(void)state;

	config_read(NULL, &config);

	assert_int_equal(config.problem_count, 0);
	assert_false(config_limits_memory(&config));
}

static void read_overwrites_what_was_there(void **state)
{
	(void)state;
	READ("CUSLICE_MEMORY=1GiB", "CUSLICE_MEMORY_3=1GiB", "CUSLICE_NONSENSE=1");

	READ("PATH=/bin");

	assert_int_equal(config.problem_count, 0);
	assert_false(config.has_device_settings);
	assert_false(config_limits_memory(&config));
}

static void read_limits_of_every_device(void **state)
{
	(void)state;

	READ("HOME=/", "CUSLICE_MEMORY=4GiB", "CUSLICE_COMPUTE=25%", "MEMORY=1");

	assert_int_equal(config.problem_count, 0);
	assert_int_equal(config.every_device.memory.bytes, 4ull << 30);
	assert_int_equal(config.every_device.compute.ppm, 250000);
	assert_true(config_limits_memory(&config));
	assert_true(config_limits_compute(&config));
	assert_false(config.has_device_settings);
}

static void read_device_number_goes_to_that_device(void **state)
{
	(void)state;

	READ("CUSLICE_MEMORY_0=1GiB", "CUSLICE_MEMORY_63=2GiB", "CUSLICE_COMPUTE_07=10%");

	assert_int_equal(config.problem_count, 0);
	assert_int_equal(config.device[0].memory.bytes, 1ull << 30);
	assert_int_equal(config.device[63].memory.bytes, 2ull << 30);
	assert_int_equal(config.device[7].compute.ppm, 100000);
	assert_int_equal(config.every_device.memory.bytes, 0);
	assert_int_equal(config.device[1].memory.bytes, 0);
	assert_true(config.has_device_settings);
	assert_true(config_limits_memory(&config));
	assert_true(config_limits_compute(&config));
}

static void read_wrong_device_number_is_a_problem(void **state)
{
	static const char *const names[] = {"CUSLICE_MEMORY_64=1GiB", "CUSLICE_MEMORY_=1GiB",
		"CUSLICE_MEMORY_-1=1GiB", "CUSLICE_MEMORY_1x=1GiB", "CUSLICE_MEMORY_100=1GiB",
		"CUSLICE_MEMORY_4294967296=1GiB", "CUSLICE_MEMORY1=1GiB", "CUSLICE_MEMORY_0_1=1GiB",
		"CUSLICE_ON_ERROR_0=warn", "CUSLICE_LOG_1=info"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		READ((char *)names[i]);
		if (config.problem_count != 1)
			fail_msg("%s gives %u problems", names[i], config.problem_count);
		assert_non_null(strstr(config.problems[0], "no such setting"));
		assert_false(config.has_device_settings);
		assert_false(config_limits_memory(&config));
		assert_true(config_is_refused(&config));
	}
}

static void read_unknown_name_is_a_problem_and_named(void **state)
{
	(void)state;

	READ("CUSLICE_MEMORIE=4GiB");

	assert_int_equal(config.problem_count, 1);
	assert_string_equal(config.problems[0], "CUSLICE_MEMORIE: no such setting");
	assert_true(config_is_refused(&config));
}

static void read_names_of_others_are_left_alone(void **state)
{
	(void)state;

	READ("cuslice_memory=x", "XCUSLICE_MEMORY=x", "CUSLICE=x", "CUSLICE_MEMORY", "=x", "");

	assert_int_equal(config.problem_count, 0);
	assert_false(config_limits_memory(&config));
}

/* A service called `cuslice` in the namespace must not take the GPUs away from all its pods. */
static void read_kubernetes_service_names_are_left_alone(void **state)
{
	(void)state;

	READ("CUSLICE_SERVICE_HOST=10.0.0.1", "CUSLICE_SERVICE_PORT=80",
		"CUSLICE_SERVICE_PORT_HTTP=80", "CUSLICE_PORT=tcp://10.0.0.1:80",
		"CUSLICE_PORT_80_TCP=tcp://10.0.0.1:80", "CUSLICE_PORT_80_TCP_ADDR=10.0.0.1");

	assert_int_equal(config.problem_count, 0);
	assert_false(config_is_refused(&config));
}

static void read_bad_value_is_quoted_with_its_reason(void **state)
{
	(void)state;

	READ("CUSLICE_MEMORY=4 GG");

	assert_int_equal(config.problem_count, 1);
	assert_non_null(strstr(config.problems[0], "CUSLICE_MEMORY=\"4 GG\": unknown unit"));
	assert_false(config_limits_memory(&config));
	assert_true(config_is_refused(&config));
}

static void read_bad_device_value_leaves_no_device_setting(void **state)
{
	(void)state;

	READ("CUSLICE_COMPUTE_2=200%");

	assert_int_equal(config.problem_count, 1);
	assert_non_null(strstr(config.problems[0], "CUSLICE_COMPUTE_2=\"200%\""));
	assert_false(config.has_device_settings);
	assert_false(config_limits_compute(&config));
}

static void read_long_value_is_cut_in_its_quote(void **state)
{
	char text[4096];

	(void)state;
	memset(text, 'x', sizeof(text));
	memcpy(text, "CUSLICE_MEMORY=", 15);
	text[sizeof(text) - 1] = '\0';

	READ(text);

	assert_int_equal(config.problem_count, 1);
	assert_true(strlen(config.problems[0]) < CONFIG_PROBLEM_LEN);
	assert_non_null(strstr(config.problems[0], "xxx\": a number is needed"));
}

static void read_more_problems_than_kept_are_counted(void **state)
{
	(void)state;

	READ("CUSLICE_A=1", "CUSLICE_B=1", "CUSLICE_C=1", "CUSLICE_D=1", "CUSLICE_E=1",
		"CUSLICE_F=1");

	assert_int_equal(config.problem_count, 6);
	assert_string_equal(config.problems[0], "CUSLICE_A: no such setting");
	assert_string_equal(config.problems[3], "CUSLICE_D: no such setting");
}

static void on_error_warn_does_not_refuse(void **state)
{
	(void)state;

	READ("CUSLICE_MEMORY=nonsense", "CUSLICE_COMPUTE=50%", "CUSLICE_ON_ERROR=warn");

	assert_int_equal(config.problem_count, 1);
	assert_false(config_is_refused(&config));
	assert_false(config_limits_memory(&config));
	assert_true(config_limits_compute(&config));
}

static void on_error_bad_value_refuses(void **state)
{
	(void)state;

	READ("CUSLICE_ON_ERROR=ignore");

	assert_int_equal(config.problem_count, 1);
	assert_true(config_is_refused(&config));
}

static void log_levels_are_read(void **state)
{
	(void)state;

	READ("CUSLICE_LOG=error");
	assert_int_equal(config.log, LOG_ERROR);
	READ("CUSLICE_LOG=warn");
	assert_int_equal(config.log, LOG_WARN);
	READ("CUSLICE_LOG=info");
	assert_int_equal(config.log, LOG_INFO);
	READ("CUSLICE_LOG=debug");
	assert_int_equal(config.log, LOG_DEBUG);
	assert_int_equal(config.problem_count, 0);
}

static void log_bad_level_is_a_problem_and_keeps_the_default(void **state)
{
	(void)state;

	READ("CUSLICE_LOG=verbose");

	assert_int_equal(config.problem_count, 1);
	assert_int_equal(config.log, LOG_WARN);
}

/* An orchestrator may always set the variable: all of the device is no limit. */
static void compute_of_all_is_no_limit(void **state)
{
	(void)state;

	READ("CUSLICE_COMPUTE=100%");

	assert_int_equal(config.problem_count, 0);
	assert_false(config_limits_compute(&config));
}

static void memory_of_all_is_a_limit(void **state)
{
	(void)state;

	READ("CUSLICE_MEMORY=100%");

	assert_int_equal(config.every_device.memory.ppm, PPM_WHOLE);
	assert_true(config_limits_memory(&config));
}

static void compute_in_sms_is_a_limit(void **state)
{
	(void)state;

	READ("CUSLICE_COMPUTE_1=16sm");

	assert_true(config_limits_compute(&config));
}

static void options_are_listed_with_their_sentences(void **state)
{
	unsigned count = 0;

	(void)state;
	for (; config_option_at(count) != NULL; count++) {
		const struct config_option *option = config_option_at(count);
		assert_memory_equal(option->variable, "CUSLICE_", 8);
		assert_true(strlen(option->sentence) > 20);
		assert_true(strlen(option->default_text) > 0);
	}
	assert_true(count >= 4);
	assert_null(config_option_at(count + 1));
	assert_string_equal(config_option_at(0)->variable, "CUSLICE_MEMORY");
	assert_true(config_option_at(0)->per_device);
}

static void add_problem_refuses(void **state)
{
	(void)state;
	READ("PATH=/bin");

	config_add_problem(&config, "no memory for %d", 3);

	assert_true(config_is_refused(&config));
	assert_string_equal(config.problems[0], "no memory for 3");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(read_empty_environment_gives_defaults),
		cmocka_unit_test(read_no_environment_gives_defaults),
		cmocka_unit_test(read_overwrites_what_was_there),
		cmocka_unit_test(read_limits_of_every_device),
		cmocka_unit_test(read_device_number_goes_to_that_device),
		cmocka_unit_test(read_wrong_device_number_is_a_problem),
		cmocka_unit_test(read_unknown_name_is_a_problem_and_named),
		cmocka_unit_test(read_names_of_others_are_left_alone),
		cmocka_unit_test(read_kubernetes_service_names_are_left_alone),
		cmocka_unit_test(read_bad_value_is_quoted_with_its_reason),
		cmocka_unit_test(read_bad_device_value_leaves_no_device_setting),
		cmocka_unit_test(read_long_value_is_cut_in_its_quote),
		cmocka_unit_test(read_more_problems_than_kept_are_counted),
		cmocka_unit_test(on_error_warn_does_not_refuse),
		cmocka_unit_test(on_error_bad_value_refuses),
		cmocka_unit_test(log_levels_are_read),
		cmocka_unit_test(log_bad_level_is_a_problem_and_keeps_the_default),
		cmocka_unit_test(compute_of_all_is_no_limit),
		cmocka_unit_test(memory_of_all_is_a_limit),
		cmocka_unit_test(compute_in_sms_is_a_limit),
		cmocka_unit_test(options_are_listed_with_their_sentences),
		cmocka_unit_test(add_problem_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
