/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Where settings come from and who wins: policy, environment, plain INI file; and what is done
 * about things that are no file of settings.
 */
#include "unit.h"
#include "config/config_file.h"
#include "test_config_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GIB (1ull << 30)

static char *variable(const char *name, const char *value)
{
	static char texts[4][700];
	static unsigned next;

	char *text = texts[next++ % 4];
	snprintf(text, sizeof(texts[0]), "%s=%s", name, value);
	return text;
}

/* Reads `plain` beside the policy. */
#define READ_PLAIN(...) TREE_READ(variable("CUSLICE_CONFIG", tree_path("plain.ini")), __VA_ARGS__)

/* The only problem, with the file in front. */
static void assert_problem(const char *name, const char *reason)
{
	const char *path = tree_path(name);

	if (config.problem_count != 1 || strncmp(config.problems[0], path, strlen(path)) != 0 ||
		strstr(config.problems[0], reason) == NULL)
		fail_msg("%u problems: %s", config.problem_count, config.problems[0]);
	assert_true(config_is_refused(&config));
}

static void policy_alone_limits(void **state)
{
	(void)state;
	tree_write("policy/a.ini", "[slice]\nmemory = 4GiB\ncompute = 25%\nburst = 5ms\n"
				   "[device 1]\nmemory = 2GiB\n");
	TREE_READ(NULL);

	assert_int_equal(config.problem_count, 0);
	assert_int_equal(tree_memory(ANY), 4 * GIB);
	assert_int_equal(tree_memory(DEVICE(1)), 2 * GIB);
	assert_int_equal(tree_compute(ANY), 250000);
	assert_int_equal(tree_burst(ANY), 5000000);
	assert_true(config_limits_memory(&config));
	assert_true(config_limits_compute(&config));
}

static void policy_absent_is_no_problem(void **state)
{
	(void)state;
	rmdir(tree_path("policy"));
	TREE_READ("CUSLICE_MEMORY=1GiB");
	assert_int_equal(config.problem_count, 0);
	assert_int_equal(config.file_count, 0);
}

static void policy_that_is_no_folder_is_refused(void **state)
{
	(void)state;
	rmdir(tree_path("policy"));
	tree_write("policy", "[slice]\n");
	TREE_READ(NULL);
	assert_problem("policy", "Not a directory");
}

static void policy_files_are_read_by_name_and_nothing_else(void **state)
{
	(void)state;
	tree_write("policy/20.ini", "[slice]\n");
	tree_write("policy/10.ini", "[slice]\n");
	tree_write("policy/A.ini", "[slice]\n");
	tree_write("policy/.hidden.ini", "nonsense\n");
	tree_write("policy/.ini", "nonsense\n");
	tree_write("policy/10.ini~", "nonsense\n");
	tree_write("policy/readme", "nonsense\n");
	TREE_READ(NULL);

	assert_int_equal(config.problem_count, 0);
	assert_int_equal(config.file_count, 3);
	assert_string_equal(config.files[0].path, tree_path("policy/10.ini"));
	assert_string_equal(config.files[1].path, tree_path("policy/20.ini"));
	assert_string_equal(config.files[2].path, tree_path("policy/A.ini"));
	assert_true(config.files[2].is_read);
}

static void policy_of_many_files_is_refused_beyond_the_most(void **state)
{
	char name[32];

	(void)state;
	for (unsigned i = 0; i < CONFIG_MAX_FILES + 1; i++) {
		snprintf(name, sizeof(name), "policy/%03u.ini", i);
		tree_write(name, "[slice]\n");
	}
	TREE_READ(NULL);
	assert_int_equal(config.file_count, CONFIG_MAX_FILES);
	assert_problem("policy", "more than 24 files");
}

static void strictest_of_policy_and_variable_wins(void **state)
{
	(void)state;
	tree_write("policy/a.ini", "[slice]\nmemory = 4GiB\ncompute = 25%\nburst = 5ms\n");
	tree_write("policy/b.ini", "[slice]\nmemory = 6GiB\n");

	TREE_READ("CUSLICE_MEMORY=8GiB", "CUSLICE_COMPUTE=10%", "CUSLICE_BURST=1s");
	assert_int_equal(tree_memory(ANY), 4 * GIB);
	assert_int_equal(tree_compute(ANY), 100000);
	assert_int_equal(tree_burst(ANY), 5000000);

	TREE_READ("CUSLICE_MEMORY_5=1GiB");
	assert_int_equal(tree_memory(ANY), 1 * GIB);
	assert_int_equal(tree_memory(DEVICE(6)), 4 * GIB);
}

/* Else a program could take the cap off that the policy has set. */
static void policys_compute_is_shared_as_the_policy_says(void **state)
{
	(void)state;
	TREE_READ("CUSLICE_COMPUTE=25%", "CUSLICE_BORROW=yes", "CUSLICE_WEIGHT=7",
		"CUSLICE_CLASS=latency", "CUSLICE_QUANTUM=50ms");
	assert_true(config_turns_of(&config, ANY).may_borrow);
	assert_true(config_turns_of(&config, ANY).is_latency);
	assert_int_equal(config_turns_of(&config, ANY).weight, 7);
	assert_int_equal(config_turns_of(&config, ANY).quantum_ns, 50000000);

	tree_write("policy/a.ini", "[slice]\ncompute = 25%\nweight = 3\n");
	TREE_READ("CUSLICE_BORROW=yes", "CUSLICE_WEIGHT=7", "CUSLICE_CLASS=latency",
		"CUSLICE_QUANTUM=50ms");
	assert_false(config_turns_of(&config, ANY).may_borrow);
	assert_false(config_turns_of(&config, ANY).is_latency);
	assert_int_equal(config_turns_of(&config, ANY).weight, 3);
	assert_int_equal(config_turns_of(&config, ANY).quantum_ns, 0);
}

/* Which of the two is less only the device tells: here 16 GiB. */
static void percents_and_bytes_are_compared_for_the_device(void **state)
{
	(void)state;
	tree_write("policy/a.ini", "[slice]\nmemory = 50%\ncompute = 20sm\n");
	TREE_READ("CUSLICE_MEMORY=4GiB", "CUSLICE_COMPUTE=25%");
	assert_int_equal(tree_memory(ANY), 4 * GIB);
	assert_int_equal(tree_compute(ANY), 200000);
	TREE_READ("CUSLICE_MEMORY=12GiB", "CUSLICE_COMPUTE=10%");
	assert_int_equal(tree_memory(ANY), 8 * GIB);
	assert_int_equal(tree_compute(ANY), 100000);
}

static void defaults_speak_where_nobody_else_does(void **state)
{
	(void)state;
	tree_write("policy/a.ini", "[device 1]\nmemory = 8GiB\n");
	tree_write("plain.ini", "[slice]\nmemory = 4GiB\ncompute = 10%\nlog = info\n");
	READ_PLAIN("CUSLICE_COMPUTE=50%");

	assert_int_equal(config.problem_count, 0);
	assert_int_equal(tree_memory(ANY), 4 * GIB);
	assert_int_equal(tree_memory(DEVICE(1)), 8 * GIB); /* the looser, but not a default */
	assert_int_equal(tree_compute(ANY), 500000);
	assert_int_equal(config.log, LOG_INFO);
}

/* A default that is silenced everywhere must not switch a feature on. */
static void defaults_that_are_silenced_limit_nothing(void **state)
{
	(void)state;
	tree_write("plain.ini", "[slice]\ncompute = 10%\n[device 1]\ncompute = 5%\n");
	READ_PLAIN("CUSLICE_COMPUTE=100%");
	assert_false(config_limits_compute(&config));
	READ_PLAIN("CUSLICE_COMPUTE_1=100%");
	assert_true(config_limits_compute(&config));
	assert_int_equal(tree_compute(ANY), 100000);
	assert_int_equal(tree_compute(DEVICE(1)), 1000000);
}

static void uuid_wins_over_number_in_one_file(void **state)
{
	static const struct config_device there = {.number = 0, .uuid_count = 1, .uuids = {{0xab}}};

	(void)state;
	tree_write("policy/a.ini", "[device 0]\nmemory = 1GiB\ncompute = 10%\n"
				   "[device GPU-ab000000-0000-0000-0000-000000000000]\n"
				   "memory = 2GiB\n");
	TREE_READ(NULL);
	assert_int_equal(tree_memory(&there), 2 * GIB);
	assert_int_equal(tree_compute(&there), 100000);
	assert_int_equal(tree_memory(DEVICE(0)), 1 * GIB);

	/* Another file's number still tightens. */
	tree_write("policy/b.ini", "[device 0]\nmemory = 1536MiB\n");
	TREE_READ(NULL);
	assert_int_equal(tree_memory(&there), 3 * GIB / 2);
}

static void on_error_is_the_strictest(void **state)
{
	static const struct {
		const char *policy, *variable, *plain;
		enum config_on_error result;
	} rows[] = {
		{NULL, NULL, NULL, CONFIG_REFUSE},
		{NULL, NULL, "warn", CONFIG_WARN},
		{NULL, "warn", NULL, CONFIG_WARN},
		{NULL, "warn", "refuse", CONFIG_WARN},
		{NULL, "refuse", "warn", CONFIG_REFUSE},
		{"warn", NULL, NULL, CONFIG_WARN},
		{"warn", "refuse", NULL, CONFIG_REFUSE},
		{"warn", NULL, "refuse", CONFIG_WARN},
		{"refuse", "warn", "warn", CONFIG_REFUSE},
	};
	char text[64];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		const char *policy = rows[i].policy, *plain = rows[i].plain;
		snprintf(text, sizeof(text), "[slice]\n%s%s\n", policy ? "on_error=" : "",
			policy ? policy : "");
		tree_write("policy/a.ini", text);
		snprintf(text, sizeof(text), "[slice]\n%s%s\n", plain ? "on_error=" : "",
			plain ? plain : "");
		tree_write("plain.ini", text);
		READ_PLAIN(rows[i].variable ? variable("CUSLICE_ON_ERROR", rows[i].variable)
					    : (char *)"X=");
		assert_int_equal(config.problem_count, 0);
		assert_int_equal(config.on_error, rows[i].result);
	}
}

static void log_of_the_variable_comes_first(void **state)
{
	(void)state;
	tree_write("policy/a.ini", "[slice]\nlog = error\n");
	tree_write("plain.ini", "[slice]\nlog = info\n");
	READ_PLAIN("CUSLICE_LOG=debug");
	assert_int_equal(config.log, LOG_DEBUG);
	READ_PLAIN(NULL);
	assert_int_equal(config.log, LOG_ERROR);
}

/* A tenant must not turn a slip in the policy into no limits. */
static void variable_does_not_excuse_problems_of_the_policy(void **state)
{
	(void)state;
	tree_write("policy/a.ini", "[slice]\nmemory = 4G\n");
	TREE_READ("CUSLICE_ON_ERROR=warn");
	assert_problem("policy/a.ini:2: memory = \"4G\": ", "ambiguous");
	TREE_READ("CUSLICE_ON_ERROR=warn", "CUSLICE_DISABLE=1");
	assert_false(config.is_disabled);
	assert_true(config_is_refused(&config));

	tree_write("policy/b.ini", "[slice]\non_error = warn\n");
	TREE_READ(NULL);
	assert_int_equal(config.problem_count, 1);
	assert_false(config_is_refused(&config));
}

static void disable_counts_where_the_policy_sets_no_limit(void **state)
{
	static const struct {
		const char *policy;
		bool is_disabled;
	} rows[] = {
		{"", true},
		{"[slice]\nlog = info\n", true},
		{"[slice]\ncompute = 100%\nburst = 1s\n", true},
		{"[slice]\nmemory = 8GiB\n", false},
		{"[device 7]\nmemory = 100%\n", false},
		{"[device 7]\ncompute = 99%\n", false},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		tree_write("policy/a.ini", rows[i].policy);
		TREE_READ("CUSLICE_DISABLE=1", "CUSLICE_MEMORY=1GiB");
		assert_int_equal(config.is_disabled, rows[i].is_disabled);
		assert_int_equal(tree_memory(ANY), rows[i].is_disabled ? 0 : GIB);
	}
}

static void plain_file_is_found_below_the_home(void **state)
{
	(void)state;
	mkdir(tree_path(".config"), 0755);
	mkdir(tree_path(".config/cuslice"), 0755);
	mkdir(tree_path("cuslice"), 0755);
	tree_write(".config/cuslice/cuslice.ini", "[slice]\nmemory = 3GiB\n");
	tree_write("cuslice/cuslice.ini", "[slice]\nmemory = 2GiB\n");

	TREE_READ(variable("HOME", tree_path("")));
	assert_int_equal(tree_memory(ANY), 3 * GIB);
	TREE_READ(variable("HOME", tree_path("")), variable("XDG_CONFIG_HOME", tree_path("")));
	assert_int_equal(tree_memory(ANY), 2 * GIB);
	TREE_READ(variable("HOME", tree_path("")), "XDG_CONFIG_HOME=relative");
	assert_int_equal(tree_memory(ANY), 3 * GIB);
	TREE_READ("HOME=relative");
	assert_int_equal(config.file_count, 0);
}

static void plain_file_that_is_not_there_is_no_problem_unless_named(void **state)
{
	(void)state;
	TREE_READ(variable("HOME", tree_path("nobody")));
	assert_int_equal(config.problem_count, 0);
	assert_int_equal(config.file_count, 1);
	assert_false(config.files[0].is_read);

	READ_PLAIN(NULL);
	assert_problem("plain.ini", "No such file");
	TREE_READ("CUSLICE_CONFIG=");
	assert_string_equal(
		config.problems[0], "CUSLICE_CONFIG=\"\": the name of a file is needed");
	assert_int_equal(config.problem_count, 1);
}

static void name_that_is_too_long_is_one_problem(void **state)
{
	char name[CONFIG_PATH_LEN + 20];

	(void)state;
	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	TREE_READ(variable("CUSLICE_CONFIG", name));
	assert_int_equal(config.problem_count, 1);
	assert_non_null(strstr(config.problems[0], "too long"));
}

/* A program with privileges of its own must not open files that its caller names. */
static void secure_process_reads_the_policy_alone(void **state)
{
	(void)state;
	tree_write("policy/a.ini", "[slice]\nmemory = 4GiB\n");
	tree_write("plain.ini", "[slice]\ncompute = 10%\n");
	config_read_from((char *const[]){variable("CUSLICE_CONFIG", tree_path("plain.ini")),
				 (char *)"CUSLICE_MEMORY=2GiB", (char *)"HOME=/root", NULL},
		tree_path("policy"), true, &config);

	assert_int_equal(config.problem_count, 0);
	assert_int_equal(config.file_count, 1);
	assert_int_equal(tree_memory(ANY), 2 * GIB);
	assert_int_equal(tree_compute(ANY), 0);
}

static void file_that_cannot_be_read_is_refused(void **state)
{
	(void)state;
	tree_write("policy/a.ini", "[slice]\n");
	chmod(tree_path("policy/a.ini"), 0);
	/* For root nothing is unreadable. */
	bool is_root = geteuid() == 0;
	assert_true(!is_root || seteuid(65534) == 0);
	TREE_READ(NULL);
	assert_true(!is_root || seteuid(0) == 0);
	assert_problem("policy/a.ini", "Permission denied");
}

/* A service may run under another user with HOME=/root. */
static void home_that_may_not_be_entered_is_no_problem(void **state)
{
	(void)state;
	mkdir(tree_path("closed"), 0);
	bool is_root = geteuid() == 0;
	assert_true(!is_root || seteuid(65534) == 0);
	TREE_READ(variable("HOME", tree_path("closed")));
	assert_true(!is_root || seteuid(0) == 0);
	assert_int_equal(config.problem_count, 0);
}

static void things_that_are_no_file_are_refused_at_once(void **state)
{
	(void)state;
	assert_int_equal(mkfifo(tree_path("policy/a.ini"), 0644), 0);
	TREE_READ(NULL);
	assert_problem("policy/a.ini", "it is no plain file");

	unlink(tree_path("policy/a.ini"));
	mkdir(tree_path("policy/a.ini"), 0755);
	TREE_READ(NULL);
	assert_problem("policy/a.ini", "it is a folder");

	rmdir(tree_path("policy/a.ini"));
	assert_int_equal(symlink("/dev/zero", tree_path("policy/a.ini")), 0);
	TREE_READ(NULL);
	assert_problem("policy/a.ini", "it is no plain file");

	unlink(tree_path("policy/a.ini"));
	assert_int_equal(symlink("a.ini", tree_path("policy/a.ini")), 0);
	TREE_READ(NULL);
	assert_problem("policy/a.ini", "Too many levels of symbolic links");

	unlink(tree_path("policy/a.ini"));
	assert_int_equal(symlink("nowhere", tree_path("policy/a.ini")), 0);
	TREE_READ(NULL);
	assert_problem("policy/a.ini", "No such file");
}

/* As Kubernetes mounts a ConfigMap. */
static void symbolic_link_to_a_file_is_followed(void **state)
{
	(void)state;
	tree_write("real", "[slice]\nmemory = 4GiB\n");
	assert_int_equal(symlink("../real", tree_path("policy/a.ini")), 0);
	TREE_READ(NULL);
	assert_int_equal(config.problem_count, 0);
	assert_int_equal(tree_memory(ANY), 4 * GIB);
}

static void huge_file_is_refused_unread(void **state)
{
	(void)state;
	tree_write("policy/a.ini", "[slice]\nmemory = 4GiB\n");
	assert_int_equal(truncate(tree_path("policy/a.ini"), 1 << 30), 0);
	TREE_READ(NULL);
	assert_problem("policy/a.ini", "it is larger than 1 MiB");
	assert_int_equal(config.value_count, 0);
}

/* Files of the kernel have no size until they are read. */
static void endless_file_without_a_size_is_given_up(void **state)
{
	(void)state;
	TREE_READ("CUSLICE_CONFIG=/proc/self/pagemap");
	assert_true(config.problem_count > 0);
	assert_true(config_is_refused(&config));
}

static void file_of_the_largest_size_is_read(void **state)
{
	char *text = malloc(CONFIG_LONGEST_FILE);

	(void)state;
	memset(text, '\n', CONFIG_LONGEST_FILE);
	memcpy(text, "[slice]\nmemory = 4GiB\n", 22);
	tree_write_bytes("policy/a.ini", text, CONFIG_LONGEST_FILE);
	free(text);
	TREE_READ(NULL);
	assert_int_equal(config.problem_count, 0);
	assert_int_equal(tree_memory(ANY), 4 * GIB);
}

static void long_line_is_refused_and_the_next_is_read(void **state)
{
	char text[10000];

	(void)state;
	for (size_t pad = CONFIG_LONGEST_LINE - 13; pad < 9000; pad += 1 + pad / 4) {
		size_t len = (size_t)snprintf(
			text, sizeof(text), "[slice]\nmemory = 4GiB%*s\n", (int)pad, "");
		/* A limit that a cut line would have hidden. */
		memcpy(text + len - 3, "5%", 2);
		snprintf(text + len, sizeof(text) - len, "compute = 10%%\n");
		tree_write("policy/a.ini", text);
		TREE_READ(NULL);
		assert_problem("policy/a.ini:2: ", pad == CONFIG_LONGEST_LINE - 13
							   ? "unknown unit"
							   : "longer than 190 characters");
		assert_int_equal(tree_compute(ANY), 100000);
	}
}

static void nul_byte_is_refused_and_the_next_line_is_read(void **state)
{
	static const char text[] = "[slice]\nmemory = 4GiB\0MB\ncompute = 10%\n";

	(void)state;
	tree_write_bytes("policy/a.ini", text, sizeof(text) - 1);
	TREE_READ(NULL);
	assert_problem("policy/a.ini:2: ", "a NUL byte");
	assert_int_equal(tree_compute(ANY), 100000);
	assert_int_equal(tree_memory(ANY), 0);
}

/* With on_error = warn its keys must not go to the section before. */
static void section_that_is_no_line_begins_an_unknown_one(void **state)
{
	static const char text[] =
		"[device 1]\n[device 2\0]\nmemory = 4GiB\n[device 3]\nmemory=1GiB\n";

	(void)state;
	tree_write_bytes("policy/a.ini", text, sizeof(text) - 1);
	TREE_READ(NULL);
	assert_problem("policy/a.ini:2: ", "a NUL byte");
	assert_int_equal(tree_memory(DEVICE(1)), 0);
	assert_int_equal(tree_memory(DEVICE(2)), 0);
	assert_int_equal(tree_memory(DEVICE(3)), GIB);
}

static void file_in_another_encoding_is_refused(void **state)
{
	static const char text[] = "\xff\xfe[\0s\0l\0i\0c\0e\0]\0\n\0";

	(void)state;
	tree_write_bytes("policy/a.ini", text, sizeof(text) - 1);
	TREE_READ(NULL);
	assert_true(config.problem_count > 0);
	assert_non_null(strstr(config.problems[0], "a NUL byte"));
	assert_true(config_is_refused(&config));
}

static void every_problem_of_a_file_is_counted(void **state)
{
	(void)state;
	tree_write(
		"policy/a.ini", "[slice]\nmemory\nmemory = x\ncompute = 10%\n[no]\nmemory = 1\n");
	TREE_READ("CUSLICE_X=1");
	assert_int_equal(config.problem_count, 4);
	assert_int_equal(config.policy_problem_count, 3);
	assert_int_equal(tree_compute(ANY), 100000);
	assert_int_equal(tree_memory(ANY), 0);
}

static void values_remember_where_they_came_from(void **state)
{
	char place[600];

	(void)state;
	tree_write("policy/a.ini", "\n[device 3]\n\nmemory = 4 GiB ; four\n");
	TREE_READ("CUSLICE_COMPUTE_07=0.50");
	assert_int_equal(config.value_count, 2);
	assert_string_equal(config.values[0].text, "4 GiB");
	assert_int_equal(config.values[0].source, CONFIG_POLICY);
	snprintf(place, sizeof(place), "%s:4", tree_path("policy/a.ini"));
	assert_string_equal(config_value_origin(&config, &config.values[0]).text, place);
	assert_string_equal(config.values[1].text, "0.50");
	assert_string_equal(
		config_value_origin(&config, &config.values[1]).text, "CUSLICE_COMPUTE_7");
}

static void no_file_stays_open(void **state)
{
	(void)state;
	int before = dup(0);
	close(before);
	tree_write("policy/a.ini", "[slice]\nmemory = 4GiB\n");
	mkdir(tree_path("policy/b.ini"), 0755);
	TREE_READ(NULL);
	int after = dup(0);
	close(after);
	assert_int_equal(before, after);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, tree_make, tree_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(policy_alone_limits),
		CASE(policy_absent_is_no_problem),
		CASE(policy_that_is_no_folder_is_refused),
		CASE(policy_files_are_read_by_name_and_nothing_else),
		CASE(policy_of_many_files_is_refused_beyond_the_most),
		CASE(strictest_of_policy_and_variable_wins),
		CASE(policys_compute_is_shared_as_the_policy_says),
		CASE(percents_and_bytes_are_compared_for_the_device),
		CASE(defaults_speak_where_nobody_else_does),
		CASE(defaults_that_are_silenced_limit_nothing),
		CASE(uuid_wins_over_number_in_one_file),
		CASE(on_error_is_the_strictest),
		CASE(log_of_the_variable_comes_first),
		CASE(variable_does_not_excuse_problems_of_the_policy),
		CASE(disable_counts_where_the_policy_sets_no_limit),
		CASE(plain_file_is_found_below_the_home),
		CASE(plain_file_that_is_not_there_is_no_problem_unless_named),
		CASE(name_that_is_too_long_is_one_problem),
		CASE(secure_process_reads_the_policy_alone),
		CASE(file_that_cannot_be_read_is_refused),
		CASE(home_that_may_not_be_entered_is_no_problem),
		CASE(things_that_are_no_file_are_refused_at_once),
		CASE(symbolic_link_to_a_file_is_followed),
		CASE(huge_file_is_refused_unread),
		CASE(endless_file_without_a_size_is_given_up),
		CASE(file_of_the_largest_size_is_read),
		CASE(long_line_is_refused_and_the_next_is_read),
		CASE(nul_byte_is_refused_and_the_next_line_is_read),
		CASE(section_that_is_no_line_begins_an_unknown_one),
		CASE(file_in_another_encoding_is_refused),
		CASE(every_problem_of_a_file_is_counted),
		CASE(values_remember_where_they_came_from),
		CASE(no_file_stays_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
