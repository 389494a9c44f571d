/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Settings from an environment, and what is said of those that are not understood.
 */
#include "unit.h"
#include "config/config_parse.h"
#include "test_config_tree.h"

#include <errno.h>
#include <string.h>

#define READ(...) config_read_from((char *const[]){__VA_ARGS__, NULL}, NULL, false, &config)

static void read_empty_environment_gives_defaults(void **state)
{
	(void)state;
	char *const nothing[] = {NULL};

	config_read_from(nothing, NULL, false, &config);

	assert_int_equal(config.problem_count, 0);
	assert_int_equal(config.on_error, CONFIG_REFUSE);
	assert_int_equal(config.log, LOG_WARN);
	assert_int_equal(config.value_count, 0);
	assert_false(config_limits_memory(&config));
	assert_false(config_limits_compute(&config));
	assert_false(config_is_refused(&config));
}

static void read_no_environment_gives_defaults(void **state)
{
	(void)state;

	config_read_from(NULL, NULL, false, &config);

	assert_int_equal(config.problem_count, 0);
	assert_false(config_limits_memory(&config));
}

static void read_overwrites_what_was_there(void **state)
{
	(void)state;
	READ("CUSLICE_MEMORY=1GiB", "CUSLICE_MEMORY_3=1GiB", "CUSLICE_NONSENSE=1");

	READ("PATH=/bin");

	assert_int_equal(config.problem_count, 0);
	assert_false(config_names_devices_by_number(&config));
	assert_false(config_limits_memory(&config));
}

static void read_limits_of_every_device(void **state)
{
	(void)state;

	READ("HOME=/", "CUSLICE_MEMORY=4GiB", "CUSLICE_COMPUTE=25%", "MEMORY=1");

	assert_int_equal(config.problem_count, 0);
	assert_int_equal(tree_memory(ANY), 4ull << 30);
	assert_int_equal(tree_compute(ANY), 250000);
	assert_true(config_limits_memory(&config));
	assert_true(config_limits_compute(&config));
	assert_false(config_names_devices_by_number(&config));
}

static void read_device_number_goes_to_that_device(void **state)
{
	(void)state;

	READ("CUSLICE_MEMORY_0=1GiB", "CUSLICE_MEMORY_63=2GiB", "CUSLICE_COMPUTE_07=10%");

	assert_int_equal(config.problem_count, 0);
	assert_int_equal(tree_memory(DEVICE(0)), 1ull << 30);
	assert_int_equal(tree_memory(DEVICE(63)), 2ull << 30);
	assert_int_equal(tree_compute(DEVICE(7)), 100000);
	assert_int_equal(tree_memory(ANY), 0);
	assert_int_equal(tree_memory(DEVICE(1)), 0);
	assert_true(config_names_devices_by_number(&config));
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
		assert_false(config_names_devices_by_number(&config));
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
	assert_false(config_names_devices_by_number(&config));
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
		"CUSLICE_F=1", "CUSLICE_G=1", "CUSLICE_H=1", "CUSLICE_I=1", "CUSLICE_J=1");

	assert_int_equal(config.problem_count, 10);
	assert_non_null(strstr(config.problems[0], "CUSLICE_A: no such setting"));
	assert_non_null(strstr(config.problems[3], "CUSLICE_D: no such setting"));
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

	assert_int_equal(tree_memory(ANY), 16ull << 30);
	assert_true(config_limits_memory(&config));
}

static void compute_in_sms_is_a_limit(void **state)
{
	(void)state;

	READ("CUSLICE_COMPUTE_1=16sm");

	assert_true(config_limits_compute(&config));
}

static void read_uuid_goes_to_that_device(void **state)
{
	static const struct config_device there = {.number = 5,
		.uuid_count = 2,
		.uuids = {{0x0a}, {0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 0x12, 0x34, 0x56,
					  0x78, 0x9a, 0xbc, 0xde, 0xf0}}};

	(void)state;
	READ("CUSLICE_MEMORY_GPU_12345678_9abc_def0_1234_56789abcdef0=1GiB",
		"CUSLICE_COMPUTE_MIG-12345678-9ABC-DEF0-1234-56789ABCDEF0=10%");

	assert_int_equal(config.problem_count, 0);
	assert_int_equal(tree_memory(&there), 1ull << 30);
	assert_int_equal(tree_compute(&there), 100000);
	assert_int_equal(tree_memory(ANY), 0);
	assert_true(config_names_devices_by_uuid(&config));
	assert_false(config_names_devices_by_number(&config));
	assert_true(config_limits_memory(&config));
}

static void read_keeps_errno(void **state)
{
	(void)state;
	errno = EXDEV;

	READ("HOME=/nonexistent", "CUSLICE_CONFIG=/nonexistent/too");

	assert_int_equal(errno, EXDEV);
	assert_int_equal(config.problem_count, 1);
}

/* Whatever an INI file or a variable holds may be shown on a terminal. */
static void read_problem_is_printable(void **state)
{
	(void)state;

	READ("CUSLICE_MEMORY=\x1b[2J\n\x7f\xc3\xa9");

	assert_int_equal(config.problem_count, 1);
	assert_non_null(strstr(config.problems[0], "CUSLICE_MEMORY=\"?[2J????\": a number"));
}

static void read_more_settings_than_kept_is_a_problem(void **state)
{
	static char *environment[CONFIG_MAX_VALUES + 3];

	(void)state;
	for (unsigned i = 0; i < CONFIG_MAX_VALUES + 2; i++)
		environment[i] = (char *)"CUSLICE_MEMORY=1GiB";
	config_read_from(environment, NULL, false, &config);

	assert_int_equal(config.value_count, CONFIG_MAX_VALUES);
	assert_int_equal(config.problem_count, 2);
	assert_true(config_is_refused(&config));
}

/* A variable may stand in an environment twice; neither loosens the other. */
static void read_variable_twice_is_the_stricter(void **state)
{
	(void)state;
	READ("CUSLICE_MEMORY=2GiB", "CUSLICE_MEMORY=1GiB", "CUSLICE_MEMORY=3GiB");
	assert_int_equal(tree_memory(ANY), 1ull << 30);
}

static void burst_is_read(void **state)
{
	(void)state;
	READ("CUSLICE_BURST=50ms", "CUSLICE_BURST_1=1s", "CUSLICE_BURST_2=2ms");
	assert_int_equal(tree_burst(ANY), 50000000);
	assert_int_equal(tree_burst(DEVICE(1)), 50000000);
	assert_int_equal(tree_burst(DEVICE(2)), 2000000);
	assert_false(config_limits_compute(&config));
}

/* Who starts programs has no say in the order of the environment. */
static void device_says_itself_how_it_is_shared(void **state)
{
	(void)state;
	for (int turn = 0; turn < 2; turn++) {
		if (turn == 0)
			READ("CUSLICE_MECHANISM=sm", "CUSLICE_WEIGHT=2", "CUSLICE_MECHANISM_1=time",
				"CUSLICE_WEIGHT_1=3");
		else
			READ("CUSLICE_WEIGHT_1=3", "CUSLICE_MECHANISM_1=time", "CUSLICE_WEIGHT=2",
				"CUSLICE_MECHANISM=sm");
		assert_int_equal(config_mechanism_of(&config, ANY), CONFIG_SM);
		assert_int_equal(config_mechanism_of(&config, DEVICE(1)), CONFIG_TIME);
		assert_int_equal(config_turns_of(&config, ANY).weight, 2);
		assert_int_equal(config_turns_of(&config, DEVICE(1)).weight, 3);
	}
}

static void group_of_odd_bytes_or_length_is_a_problem(void **state)
{
	static char path[64 + CONFIG_TEXT_LEN] = "CUSLICE_GROUP=/";
	char *const bad[] = {(char *)"CUSLICE_GROUP=gr\xc3\xbcn",
		(char *)"CUSLICE_GROUP=/run/\x1b[2J", (char *)"CUSLICE_GROUP=/run/a\n"};
	size_t longest = strlen("CUSLICE_GROUP=") + CONFIG_TEXT_LEN - 1;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		READ(bad[i]);
		assert_int_equal(config.problem_count, 1);
		assert_null(config_chosen(&config, CONFIG_GROUP));
	}
	memset(path + strlen(path), 'x', longest - strlen(path));
	READ(path);
	assert_int_equal(config.problem_count, 0);
	assert_string_equal(config_chosen(&config, CONFIG_GROUP)->text, strchr(path, '/'));
	path[longest] = 'x';
	READ(path);
	assert_non_null(strstr(config.problems[0], "the path is too long"));
}

static void disable_turns_all_off(void **state)
{
	(void)state;
	READ("CUSLICE_MEMORY_1=2GiB", "CUSLICE_COMPUTE=10%", "CUSLICE_DISABLE=1", "CUSLICE_X=1");
	assert_true(config.is_disabled);
	assert_false(config_names_devices_by_number(&config));
	assert_false(config_limits_memory(&config));
	assert_false(config_limits_compute(&config));
	assert_false(config_is_refused(&config));
	assert_int_equal(tree_memory(DEVICE(1)), 0);
}

static void disable_0_turns_nothing_off(void **state)
{
	(void)state;
	READ("CUSLICE_MEMORY=2GiB", "CUSLICE_DISABLE=0");
	assert_false(config.is_disabled);
	assert_true(config_limits_memory(&config));
}

static void disable_that_is_not_understood_turns_nothing_off(void **state)
{
	(void)state;
	READ("CUSLICE_MEMORY=2GiB", "CUSLICE_DISABLE=yes");
	assert_false(config.is_disabled);
	assert_true(config_is_refused(&config));
}

static void options_have_sentences_and_lower_case_keys(void **state)
{
	(void)state;
	for (unsigned i = 0; i < CONFIG_KEY_COUNT; i++) {
		const struct config_option *option = &config_options[i];
		assert_memory_equal(option->variable, "CUSLICE_", 8);
		assert_true(strlen(option->sentence) > 20);
		assert_true(strlen(option->default_text) > 0);
	}
	assert_string_equal(config_options[CONFIG_ON_ERROR].variable, "CUSLICE_ON_ERROR");
	assert_string_equal(config_key_name(CONFIG_ON_ERROR).text, "on_error");
	assert_string_equal(config_known_keys(true).text,
		"memory, compute, burst, mechanism, weight, class, borrow, quantum");
}

static void variable_names_survive_a_round(void **state)
{
	static const char *const devices[] = {"0", "63", "GPU_12345678_9abc_def0_1234_56789abcdef0",
		"MIG_00000000_0000_0000_0000_00000000000f"};
	struct config_devices parsed;

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(devices); i++) {
		assert_true(config_parse_device(devices[i], strlen(devices[i]), &parsed));
		assert_string_equal(config_device_name(&parsed, '_').text, devices[i]);
		struct config_name name = config_variable_name(CONFIG_MEMORY, &parsed);
		assert_memory_equal(name.text, "CUSLICE_MEMORY_", 15);
		assert_string_equal(name.text + 15, devices[i]);
	}
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
		cmocka_unit_test(read_uuid_goes_to_that_device),
		cmocka_unit_test(read_keeps_errno),
		cmocka_unit_test(read_problem_is_printable),
		cmocka_unit_test(read_more_settings_than_kept_is_a_problem),
		cmocka_unit_test(read_variable_twice_is_the_stricter),
		cmocka_unit_test(burst_is_read),
		cmocka_unit_test(device_says_itself_how_it_is_shared),
		cmocka_unit_test(group_of_odd_bytes_or_length_is_a_problem),
		cmocka_unit_test(disable_turns_all_off),
		cmocka_unit_test(disable_0_turns_nothing_off),
		cmocka_unit_test(disable_that_is_not_understood_turns_nothing_off),
		cmocka_unit_test(options_have_sentences_and_lower_case_keys),
		cmocka_unit_test(variable_names_survive_a_round),
		cmocka_unit_test(add_problem_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
