/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Good and bad settings, one row each: what comes out of them for a device of 16 GiB and 100 SMs,
 * or what is said of them.
 */
#include "unit.h"
#include "config/config_parse.h"
#include "test_config_tree.h"

#include <stdio.h>
#include <string.h>

#define KIB     1024ull
#define MIB     (1024 * KIB)
#define GIB     (1024 * MIB)
#define MS      1000000ull
#define NAME_64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define UUID    "12345678-9abc-def0-1234-56789abcdef0"

/* A value that is understood the same in a variable and in a file. */
static const struct {
	enum config_key key;
	const char *text;
	uint64_t result; /* bytes, parts per million, nanoseconds, or the place in its enum */
} good_values[] = {
	{CONFIG_MEMORY, "1", 1},
	{CONFIG_MEMORY, "1073741824", GIB},
	{CONFIG_MEMORY, "512B", 512},
	{CONFIG_MEMORY, "4GiB", 4 * GIB},
	{CONFIG_MEMORY, "4Gi", 4 * GIB},
	{CONFIG_MEMORY, "4 GiB", 4 * GIB},
	{CONFIG_MEMORY, "4GB", 4000000000},
	{CONFIG_MEMORY, "512MiB", 512 * MIB},
	{CONFIG_MEMORY, "512Mi", 512 * MIB},
	{CONFIG_MEMORY, "512MB", 512000000},
	{CONFIG_MEMORY, "1.5GiB", 3 * GIB / 2},
	{CONFIG_MEMORY, "0.5GiB", GIB / 2},
	{CONFIG_MEMORY, "64KiB", 64 * KIB},
	{CONFIG_MEMORY, "64Ki", 64 * KIB},
	{CONFIG_MEMORY, "64kB", 64000},
	{CONFIG_MEMORY, "64KB", 64000},
	{CONFIG_MEMORY, "1TiB", 1024 * GIB},
	{CONFIG_MEMORY, "1Ti", 1024 * GIB},
	{CONFIG_MEMORY, "1TB", 1000000000000},
	{CONFIG_MEMORY, "50%", 8 * GIB},
	{CONFIG_MEMORY, "12.5%", 2 * GIB},
	{CONFIG_MEMORY, "100%", 16 * GIB},
	{CONFIG_MEMORY, "0004GiB", 4 * GIB},
	{CONFIG_MEMORY, "9223372036854775807", INT64_MAX},
	{CONFIG_COMPUTE, "25%", 250000},
	{CONFIG_COMPUTE, "0.25", 250000},
	{CONFIG_COMPUTE, ".5", 500000},
	{CONFIG_COMPUTE, "1.0", 1000000},
	{CONFIG_COMPUTE, "32sm", 320000},
	{CONFIG_COMPUTE, "1sm", 10000},
	{CONFIG_COMPUTE, "500sm", 1000000},
	{CONFIG_COMPUTE, "100%", 1000000},
	{CONFIG_COMPUTE, "0.1%", 1000},
	{CONFIG_COMPUTE, "33.3333%", 333333},
	{CONFIG_COMPUTE, "0.0000001", 1},
	{CONFIG_BURST, "1ms", MS},
	{CONFIG_BURST, "20ms", 20 * MS},
	{CONFIG_BURST, "20 ms", 20 * MS},
	{CONFIG_BURST, "1000us", MS},
	{CONFIG_BURST, "1500us", 1500000},
	{CONFIG_BURST, "1s", 1000 * MS},
	{CONFIG_BURST, "10s", 10000 * MS},
	{CONFIG_BURST, "10000ms", 10000 * MS},
	{CONFIG_GROUP, "a", 1},
	{CONFIG_GROUP, "train-7.b_C", 1},
	{CONFIG_GROUP, NAME_64, 1},
	{CONFIG_GROUP, "none", 1},
	{CONFIG_GROUP, "-", 1},
	{CONFIG_GROUP, "a.group", 1},
	{CONFIG_GROUP, "/", 1},
	{CONFIG_GROUP, "/run/group", 1},
	{CONFIG_GROUP, "/run/group/", 1},
	{CONFIG_GROUP, "/run/two words", 1},
	{CONFIG_GROUP, "/run/.group", 1},
	{CONFIG_GROUP, "/run/a.group", 1},
	{CONFIG_GROUP, "/run/" NAME_64 ".group", 1},
	{CONFIG_MECHANISM, "auto", CONFIG_AUTO},
	{CONFIG_MECHANISM, "time", CONFIG_TIME},
	{CONFIG_MECHANISM, "sm", CONFIG_SM},
	{CONFIG_MECHANISM, "mps", CONFIG_MPS},
	{CONFIG_MECHANISM, "both", CONFIG_BOTH},
	{CONFIG_WEIGHT, "1", 1},
	{CONFIG_WEIGHT, "10000", 10000},
	{CONFIG_WEIGHT, "0250", 250},
	{CONFIG_CLASS, "batch", false},
	{CONFIG_CLASS, "latency", true},
	{CONFIG_BORROW, "no", false},
	{CONFIG_BORROW, "yes", true},
	{CONFIG_QUANTUM, "1ms", MS},
	{CONFIG_QUANTUM, "100ms", 100 * MS},
	{CONFIG_QUANTUM, "2500 us", 2500000},
	{CONFIG_ON_ERROR, "refuse", CONFIG_REFUSE},
	{CONFIG_ON_ERROR, "warn", CONFIG_WARN},
	{CONFIG_LOG, "error", LOG_ERROR},
	{CONFIG_LOG, "warn", LOG_WARN},
	{CONFIG_LOG, "info", LOG_INFO},
	{CONFIG_LOG, "debug", LOG_DEBUG},
};

/* And one that is refused in both. */
static const struct {
	enum config_key key;
	const char *text;
	const char *reason;
} bad_values[] = {
	{CONFIG_MEMORY, "", "a number is needed"},
	{CONFIG_MEMORY, "all", "a number is needed"},
	{CONFIG_MEMORY, "GiB", "a number is needed"},
	{CONFIG_MEMORY, "0", "zero is no limit"},
	{CONFIG_MEMORY, "0GiB", "zero is no limit"},
	{CONFIG_MEMORY, "0%", "zero is no limit"},
	{CONFIG_MEMORY, "0.1B", "zero is no limit"},
	{CONFIG_MEMORY, "-1", "without a sign"},
	{CONFIG_MEMORY, "-4GiB", "without a sign"},
	{CONFIG_MEMORY, "+4GiB", "without a sign"},
	{CONFIG_MEMORY, "4G", "the unit is ambiguous; write GiB"},
	{CONFIG_MEMORY, "4M", "the unit is ambiguous"},
	{CONFIG_MEMORY, "4k", "the unit is ambiguous"},
	{CONFIG_MEMORY, "4T", "the unit is ambiguous"},
	{CONFIG_MEMORY, "4g", "unknown unit"},
	{CONFIG_MEMORY, "4gib", "unknown unit"},
	{CONFIG_MEMORY, "4GIB", "unknown unit"},
	{CONFIG_MEMORY, "4PiB", "unknown unit"},
	{CONFIG_MEMORY, "4 GG", "unknown unit"},
	{CONFIG_MEMORY, "4  GiB", "unknown unit"},
	{CONFIG_MEMORY, "4GiB 5", "unknown unit"},
	{CONFIG_MEMORY, "4GiB # four", "unknown unit"},
	{CONFIG_MEMORY, "4,5GiB", "unknown unit"},
	{CONFIG_MEMORY, "4.5.6GiB", "unknown unit"},
	{CONFIG_MEMORY, "0x10", "unknown unit"},
	{CONFIG_MEMORY, "1e9", "unknown unit"},
	{CONFIG_MEMORY, "\"4GiB\"", "a number is needed"},
	{CONFIG_MEMORY, "1.5", "bytes have no fraction"},
	{CONFIG_MEMORY, "4.GiB", "digits are needed behind the point"},
	{CONFIG_MEMORY, "100.1%", "more than 100%"},
	{CONFIG_MEMORY, "200%", "more than 100%"},
	{CONFIG_MEMORY, "9223372036854775808", "larger than any memory"},
	{CONFIG_MEMORY, "99999999TiB", "larger than any memory"},
	{CONFIG_MEMORY, "18446744073709551616", "too many digits"},
	{CONFIG_MEMORY, "99999999999999999999999999", "too many digits"},
	{CONFIG_MEMORY, "no limit", "a number is needed"},
	{CONFIG_COMPUTE, "", "a number is needed"},
	{CONFIG_COMPUTE, "0%", "zero is no limit"},
	{CONFIG_COMPUTE, "0.0", "zero is no limit"},
	{CONFIG_COMPUTE, "-25%", "without a sign"},
	{CONFIG_COMPUTE, "25", "a unit is missing"},
	{CONFIG_COMPUTE, "1", "a unit is missing"},
	{CONFIG_COMPUTE, "101%", "more than 100%"},
	{CONFIG_COMPUTE, "1.01", "a fraction above 1"},
	{CONFIG_COMPUTE, "25 %", "unknown unit"},
	{CONFIG_COMPUTE, "25percent", "unknown unit"},
	{CONFIG_COMPUTE, "32SM", "unknown unit"},
	{CONFIG_COMPUTE, "32sms", "unknown unit"},
	{CONFIG_COMPUTE, "0sm", "a whole number of SMs"},
	{CONFIG_COMPUTE, "1.5sm", "a whole number of SMs"},
	{CONFIG_COMPUTE, "65536sm", "a whole number of SMs"},
	{CONFIG_COMPUTE, "99999999999999999999999%", "too many digits"},
	{CONFIG_BURST, "", "a whole number and a unit"},
	{CONFIG_BURST, "ms", "a whole number and a unit"},
	{CONFIG_BURST, "-20ms", "a whole number and a unit"},
	{CONFIG_BURST, "20", "a unit is missing"},
	{CONFIG_BURST, "0ms", "a burst is 1ms to 10s"},
	{CONFIG_BURST, "999us", "a burst is 1ms to 10s"},
	{CONFIG_BURST, "11s", "a burst is 1ms to 10s"},
	{CONFIG_BURST, "10001ms", "a burst is 1ms to 10s"},
	{CONFIG_BURST, "18446744073709551617ms", "a burst is 1ms to 10s"},
	{CONFIG_BURST, "10000000001s", "a burst is 1ms to 10s"},
	{CONFIG_BURST, "1.5s", "a whole number of us, ms or s"},
	{CONFIG_BURST, "20msec", "a whole number of us, ms or s"},
	{CONFIG_BURST, "20ns", "a whole number of us, ms or s"},
	{CONFIG_BURST, "1m", "a whole number of us, ms or s"},
	{CONFIG_GROUP, "", "use a name"},
	{CONFIG_GROUP, "two words", "use a name"},
	{CONFIG_GROUP, ".a", "no '.' in front"},
	{CONFIG_GROUP, "..", "no '.' in front"},
	{CONFIG_GROUP, "a/b", "the full path of a directory"},
	{CONFIG_GROUP, "./a", "the full path of a directory"},
	{CONFIG_GROUP, "a:b", "use a name"},
	{CONFIG_GROUP, "a%s", "use a name"},
	{CONFIG_GROUP, NAME_64 "x", "use a name"},
	{CONFIG_GROUP, "/run/..group", "not named as a group"},
	{CONFIG_GROUP, "/run/a b.group", "not named as a group"},
	{CONFIG_GROUP, "/run/" NAME_64 "x.group", "not named as a group"},
	{CONFIG_WEIGHT, "", "a weight is a whole number from 1 to 10000"},
	{CONFIG_WEIGHT, "0", "a weight is a whole number from 1 to 10000"},
	{CONFIG_WEIGHT, "10001", "a weight is a whole number from 1 to 10000"},
	{CONFIG_WEIGHT, "4294967297", "a weight is a whole number from 1 to 10000"},
	{CONFIG_WEIGHT, "1.5", "a weight is a whole number from 1 to 10000"},
	{CONFIG_WEIGHT, "-1", "a weight is a whole number from 1 to 10000"},
	{CONFIG_CLASS, "", "use batch or latency"},
	{CONFIG_CLASS, "Latency", "use batch or latency"},
	{CONFIG_BORROW, "1", "use yes or no"},
	{CONFIG_BORROW, "YES", "use yes or no"},
	{CONFIG_QUANTUM, "5", "a unit is missing"},
	{CONFIG_QUANTUM, "0ms", "a quantum is 1ms to 100ms"},
	{CONFIG_QUANTUM, "999us", "a quantum is 1ms to 100ms"},
	{CONFIG_QUANTUM, "101ms", "a quantum is 1ms to 100ms"},
	{CONFIG_QUANTUM, "1s", "a quantum is 1ms to 100ms"},
	{CONFIG_MECHANISM, "", "use auto, time, sm, mps or both"},
	{CONFIG_MECHANISM, "SM", "use auto, time, sm, mps or both"},
	{CONFIG_MECHANISM, "sm,time", "use auto, time, sm, mps or both"},
	{CONFIG_ON_ERROR, "", "use refuse or warn"},
	{CONFIG_ON_ERROR, "ignore", "use refuse or warn"},
	{CONFIG_ON_ERROR, "Warn", "use refuse or warn"},
	{CONFIG_LOG, "", "use error, warn, info or debug"},
	{CONFIG_LOG, "verbose", "use error, warn, info or debug"},
	{CONFIG_LOG, "3", "use error, warn, info or debug"},
};

/* Names of variables that mean nothing. */
static const char *const bad_names[] = {"CUSLICE_MEMORIE", "CUSLICE_memory", "CUSLICE_",
	"CUSLICE_GROUP_0", "CUSLICE_GROUPS", "CUSLICE_WEIGHTS", "CUSLICE_MEMORY_",
	"CUSLICE_MEMORY_64", "CUSLICE_MEMORY_-1", "CUSLICE_MEMORY_1x", "CUSLICE_MEMORY_0_1",
	"CUSLICE_MEMORY_000", "CUSLICE_MEMORY_GPU", "CUSLICE_MEMORY_GPU_1",
	"CUSLICE_MEMORY_GPU-" UUID "0", "CUSLICE_MEMORY_gpu-" UUID, "CUSLICE_MEMORY_ABC-" UUID,
	"CUSLICE_LOG_0", "CUSLICE_DISABLE_0", "CUSLICE_CONFIG_0", "CUSLICE_BURST_64"};

/* Files that are understood, and the memory that they give device 5. */
static const struct {
	const char *text;
	uint64_t memory;
} good_files[] = {
	{"", 0},
	{"\n\n\n", 0},
	{"# only\n; comments\n", 0},
	{"[slice]\nmemory=4GiB", 4 * GIB},
	{"[slice]\nmemory = 4GiB\n", 4 * GIB},
	{"[slice]\nmemory: 4GiB\n", 4 * GIB},
	{"[slice]\r\nmemory = 4GiB\r\n", 4 * GIB},
	{"\xef\xbb\xbf[slice]\nmemory = 4GiB\n", 4 * GIB},
	{"\xef\xbb\xbf\n[slice]\nmemory = 4GiB\n", 4 * GIB},
	{"[ slice ]\n\tmemory\t=\t4GiB\t\n", 4 * GIB},
	{"  [slice]  ; for all\n  memory = 4GiB  ; four\n", 4 * GIB},
	{"[slice] # for all\n# memory = 1GiB\n;memory = 1GiB\nmemory = 4GiB\n", 4 * GIB},
	{"[device 5]\nmemory = 4GiB\n", 4 * GIB},
	{"[device  05]\nmemory = 4GiB\n", 4 * GIB},
	{"[device\t5]\nmemory = 4GiB\n", 4 * GIB},
	{"[device 4]\nmemory = 4GiB\n", 0},
	{"[device GPU-" UUID "]\nmemory = 4GiB\n", 0},
	{"[device MIG-" UUID "]\nmemory = 4GiB\n", 0},
	{"[slice]\nmemory = 8GiB\n[device 5]\nmemory = 4GiB\n", 4 * GIB},
	{"[slice]\nmemory = 2GiB\n[device 5]\nmemory = 4GiB\n", 2 * GIB},
	{"[slice]\ncompute = 5%\n[device 5]\n[slice]\nmemory = 4GiB\n", 4 * GIB},
	{"[slice]\nmemory = 50%\n", 8 * GIB},
};

/* Files with one mistake: the line where it stands, and what is said. */
static const struct {
	const char *text;
	unsigned line;
	const char *reason;
} bad_files[] = {
	{"memory = 4GiB\n", 1, "before the first section"},
	{"\n\nmemory = 4GiB\n[slice]\n", 3, "before the first section"},
	{"[slice]\nmemory\n", 2, "neither a [section] nor key = value"},
	{"[slice]\nmemory 4GiB", 2, "\"memory 4GiB\": neither"},
	{"[slice]\nmemory ; = 4GiB\n", 2, "neither a [section] nor key = value"},
	{"[slice]\n= 4GiB\n", 2, "\"\": no such setting"},
	{"[slice]\nmemory =\n", 2, "memory = \"\": a number is needed"},
	{"[slice]\nmemory = = 4GiB\n", 2, "memory = \"= 4GiB\""},
	{"[slice]\nMemory = 4GiB\n", 2,
		"no such setting; there are memory, compute, burst, mechanism, weight, class, "
		"borrow, quantum, group"},
	{"[slice]\nCUSLICE_MEMORY = 4GiB\n", 2, "\"CUSLICE_MEMORY\": no such setting"},
	{"[slice]\nweights = 3\n", 2, "\"weights\": no such setting"},
	{"[slice]\nborrows = yes\n", 2, "\"borrows\": no such setting"},
	{"[device 0]\ngroup = a\n", 2, "for all devices together"},
	{"[slice]\nmechanisms = sm\n", 2, "\"mechanisms\": no such setting"},
	{"[slice]\nconfig = a.ini\n", 2, "in the environment alone"},
	{"[slice]\ndisable = 1\n", 2, "in the environment alone"},
	{"[device 0]\nlog = info\n", 2, "for all devices together"},
	{"[device 0]\non_error = warn\n", 2, "for all devices together"},
	{"[device 0]\nmemorie = 1\n", 2, "there are memory, compute, burst"},
	{"[slice]\nmemory = 4GiB\nmemory = 4GiB\n", 3, "memory is set already, in line 2"},
	{"[slice]\nmemory=1GiB\n[device 0]\n[slice]\nmemory=2GiB\n", 5, "already, in line 2"},
	{"[device 1]\nburst=1s\n\n[device 01]\nburst=2s\n", 5, "already, in line 2"},
	{"[slice\nmemory = 4GiB\n", 1, "a ] is missing"},
	{"[slice] memory = 4GiB\n", 1, "nothing may stand behind the ]"},
	{"[slice]]\n", 1, "nothing may stand behind the ]"},
	{"[]\nmemory = 4GiB\n", 1, "\"[]\": no such section"},
	{"[Slice]\nmemory = 4GiB\n", 1, "no such section; use [slice]"},
	{"[defaults]\n", 1, "no such section"},
	{"[device]\nmemory = 4GiB\n", 1, "no such section"},
	{"[device0]\n", 1, "no such section"},
	{"[device 64]\nmemory = 4GiB\n", 1, "[device 0] to [device 63]"},
	{"[device -1]\n", 1, "no such section"},
	{"[device 0 1]\n", 1, "no such section"},
	{"[device all]\n", 1, "no such section"},
	{"[device GPU-1234]\n", 1, "no such section"},
	{"[device GPU-" UUID "0]\n", 1, "no such section"},
	{"[device GPU-1234567g-9abc-def0-1234-56789abcdef0]\n", 1, "no such section"},
	{"[device " UUID "]\n", 1, "no such section"},
	{"[device 0                                                              x]\n", 1,
		"no such section"},
	{"[slice]\nmemory = 4GiB\n  compute = 5 %\n", 3, "compute = \"5 %\": unknown unit"},
	{"[slice]\n\xef\xbb\xbfmemory = 4GiB\n", 2, "\"???memory\": no such setting"},
};

static unsigned case_count;

static bool has_group(const char *text)
{
	const struct config_value *chosen = config_chosen(&config, CONFIG_GROUP);

	return chosen != NULL && strcmp(chosen->text, text) == 0;
}

static void expect_result(enum config_key key, uint64_t result, const char *text)
{
	uint64_t found = key == CONFIG_MEMORY      ? tree_memory(ANY)
			 : key == CONFIG_COMPUTE   ? tree_compute(ANY)
			 : key == CONFIG_BURST     ? tree_burst(ANY)
			 : key == CONFIG_WEIGHT    ? config_turns_of(&config, ANY).weight
			 : key == CONFIG_CLASS     ? config_turns_of(&config, ANY).is_latency
			 : key == CONFIG_BORROW    ? config_turns_of(&config, ANY).may_borrow
			 : key == CONFIG_QUANTUM   ? config_turns_of(&config, ANY).quantum_ns
			 : key == CONFIG_MECHANISM ? (uint64_t)config_mechanism_of(&config, ANY)
			 : key == CONFIG_ON_ERROR  ? (uint64_t)config.on_error
			 : key == CONFIG_LOG       ? (uint64_t)config.log
						   : has_group(text);

	case_count++;
	if (config.problem_count != 0)
		fail_msg("\"%s\": %s", text, config.problems[0]);
	if (found != result)
		fail_msg("\"%s\" gives %llu, not %llu", text, (unsigned long long)found,
			(unsigned long long)result);
}

/* One problem, quoted, with the place in front; and no GPU. */
static void expect_problem(const char *place, const char *reason, const char *text)
{
	case_count++;
	if (config.problem_count != 1)
		fail_msg("\"%s\": %u problems: %s", text, config.problem_count, config.problems[0]);
	if (strncmp(config.problems[0], place, strlen(place)) != 0 ||
		strstr(config.problems[0], reason) == NULL)
		fail_msg("\"%s\": %s", text, config.problems[0]);
	if (!config_is_refused(&config))
		fail_msg("\"%s\" is not refused", text);
}

static void set_variable(enum config_key key, const char *text)
{
	char variable[200];

	snprintf(variable, sizeof(variable), "%s=%s", config_options[key].variable, text);
	TREE_READ(variable);
}

static void set_in_file(enum config_key key, const char *text)
{
	char file[200];

	snprintf(file, sizeof(file), "# a policy\n[slice]\n%s = %s\n", config_key_name(key).text,
		text);
	tree_write("policy/a.ini", file);
	TREE_READ(NULL);
}

static void good_values_are_understood(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(good_values); i++) {
		set_variable(good_values[i].key, good_values[i].text);
		expect_result(good_values[i].key, good_values[i].result, good_values[i].text);
	}
}

static void good_values_are_understood_in_files(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(good_values); i++) {
		set_in_file(good_values[i].key, good_values[i].text);
		expect_result(good_values[i].key, good_values[i].result, good_values[i].text);
	}
}

static void bad_values_are_quoted_with_their_variable(void **state)
{
	char place[200];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(bad_values); i++) {
		set_variable(bad_values[i].key, bad_values[i].text);
		snprintf(place, sizeof(place),
			"%s=\"%s\": ", config_options[bad_values[i].key].variable,
			bad_values[i].text);
		expect_problem(place, bad_values[i].reason, bad_values[i].text);
	}
}

static void bad_values_are_quoted_with_file_and_line(void **state)
{
	char place[300];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(bad_values); i++) {
		set_in_file(bad_values[i].key, bad_values[i].text);
		snprintf(place, sizeof(place), "%s:3: %s = \"%s\": ", tree_path("policy/a.ini"),
			config_key_name(bad_values[i].key).text, bad_values[i].text);
		expect_problem(place, bad_values[i].reason, bad_values[i].text);
	}
}

static void bad_names_are_no_settings(void **state)
{
	char variable[200];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(bad_names); i++) {
		snprintf(variable, sizeof(variable), "%s=1", bad_names[i]);
		TREE_READ(variable);
		expect_problem(bad_names[i], ": no such setting", bad_names[i]);
	}
}

static void good_files_are_understood(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(good_files); i++) {
		tree_write("policy/a.ini", good_files[i].text);
		TREE_READ(NULL);
		expect_result(CONFIG_MEMORY, good_files[i].memory, good_files[i].text);
	}
}

static void bad_files_are_quoted_with_file_and_line(void **state)
{
	char place[300];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(bad_files); i++) {
		tree_write("policy/a.ini", bad_files[i].text);
		TREE_READ(NULL);
		snprintf(place, sizeof(place), "%s:%u: ", tree_path("policy/a.ini"),
			bad_files[i].line);
		expect_problem(place, bad_files[i].reason, bad_files[i].text);
	}
}

static void table_is_long_enough(void **state)
{
	(void)state;
	print_message("%u settings\n", case_count);
	assert_true(case_count >= 150);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, tree_make, tree_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(good_values_are_understood),
		CASE(good_values_are_understood_in_files),
		CASE(bad_values_are_quoted_with_their_variable),
		CASE(bad_values_are_quoted_with_file_and_line),
		CASE(bad_names_are_no_settings),
		CASE(good_files_are_understood),
		CASE(bad_files_are_quoted_with_file_and_line),
		CASE(table_is_long_enough),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
