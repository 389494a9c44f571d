/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A policy that changes: it is seen, read again without what others said being lost, and believed
 * to loosen only where the process cannot have written it.
 */
#include "unit.h"
#include "config/config_policy.h"
#include "test_config_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GIB (1ull << 30)

static struct config before;
static char folder[CONFIG_PATH_LEN];

/* What tree_read() finds becomes the settings of the start. */
static void start(char *const environment[])
{
	tree_read(environment);
	snprintf(folder, sizeof(folder), "%s", tree_path("policy"));
	before = config;
	before.policy_dir = folder;
}

static void read_again(void)
{
	config_policy_read_again(&before, &config);
}

static void read_again_takes_the_new_policy_and_keeps_the_others(void **state)
{
	char defaults[600];

	(void)state;
	snprintf(defaults, sizeof(defaults), "CUSLICE_CONFIG=%s", tree_path("plain.ini"));
	tree_write("policy/a.ini", "[slice]\nmemory = 4GiB\n");
	tree_write("plain.ini", "[slice]\nburst = 7ms\n");
	start((char *const[]){"CUSLICE_COMPUTE=50%", defaults, NULL});
	tree_write("policy/0.ini", "[slice]\nlog = info\n");
	tree_write("policy/a.ini", "[slice]\nmemory = 8GiB\ncompute = 20%\n");
	read_again();

	assert_int_equal(config.problem_count, 0);
	assert_int_equal(tree_memory(ANY), 8 * GIB);
	assert_int_equal(tree_compute(ANY), 200000);
	assert_int_equal(tree_burst(ANY), 7000000);
	assert_int_equal(config.log, before.log);
	/* The defaults' file has another number by now. */
	for (unsigned i = 0; i < config.value_count; i++) {
		if (config.values[i].source == CONFIG_DEFAULTS)
			assert_non_null(strstr(
				config_value_origin(&config, &config.values[i]).text, "plain.ini"));
	}
}

static void read_again_of_no_folder_leaves_the_others(void **state)
{
	(void)state;
	tree_write("policy/a.ini", "[slice]\ncompute = 10%\n");
	start((char *const[]){"CUSLICE_COMPUTE=50%", NULL});
	assert_true(before.has_policy);
	assert_int_equal(tree_compute(ANY), 100000);
	unlink(tree_path("policy/a.ini"));
	assert_int_equal(rmdir(folder), 0);
	read_again();

	assert_int_equal(config.problem_count, 0);
	assert_false(config.has_policy);
	assert_int_equal(tree_compute(ANY), 500000);
}

static void read_again_tells_its_own_problems_alone(void **state)
{
	(void)state;
	tree_write("policy/a.ini", "[slice]\ncompute = 10%\n");
	start((char *const[]){"CUSLICE_MEMORY=oops", NULL});
	assert_int_equal(before.problem_count, 1);
	read_again();
	assert_int_equal(config.problem_count, 0);
	tree_write("policy/a.ini", "[slice]\ncompute = ten\n");
	read_again();
	assert_int_equal(config.problem_count, 1);
	assert_non_null(strstr(config.problems[0], "a.ini:2"));
}

static void print_changes_with_whatever_changes(void **state)
{
	uint64_t prints[6];

	(void)state;
	tree_write("policy/a.ini", "[slice]\ncompute = 10%\n");
	start((char *const[]){NULL});
	prints[0] = config_policy_print(&before);
	assert_int_equal(config_policy_print(&before), prints[0]);
	tree_write("policy/a.ini", "[slice]\ncompute = 5%\n");
	prints[1] = config_policy_print(&before);
	tree_write("policy/b.ini", "[slice]\n");
	prints[2] = config_policy_print(&before);
	chmod(tree_path("policy/a.ini"), 0600);
	prints[3] = config_policy_print(&before);
	unlink(tree_path("policy/a.ini"));
	prints[4] = config_policy_print(&before);
	unlink(tree_path("policy/b.ini"));
	rmdir(folder);
	prints[5] = config_policy_print(&before);
	for (unsigned i = 0; i < 6; i++) {
		for (unsigned k = 0; k < i; k++)
			assert_int_not_equal(prints[i], prints[k]);
	}
	assert_int_equal(config_policy_print(&before), prints[5]);
}

/* What a symbolic link leads to is what is read: an orchestrator replaces that. */
static void print_follows_links(void **state)
{
	(void)state;
	tree_write("one", "[slice]\ncompute = 10%\n");
	tree_write("other", "[slice]\ncompute = 20%\n");
	tree_write("policy/b.ini", "[slice]\n");
	assert_int_equal(symlink("../one", tree_path("policy/a.ini")), 0);
	start((char *const[]){NULL});
	assert_int_equal(tree_compute(ANY), 100000);
	uint64_t print = config_policy_print(&before);
	tree_write("one", "[slice]\ncompute = 30%\n");
	assert_int_not_equal(config_policy_print(&before), print);
}

static bool is_machine_s_root(void)
{
	char text[64] = "";

	return geteuid() == 0 && readlink("/proc/self/ns/user", text, sizeof(text) - 1) > 0 &&
	       strcmp(text, "user:[4026531837]") == 0;
}

/* A user's own folder is trusted by nobody; root's where nobody else may write. */
static void trust_needs_root_and_nobody_else(void **state)
{
	bool is_root = is_machine_s_root();

	(void)state;
	tree_write("policy/a.ini", "[slice]\n");
	start((char *const[]){NULL});
	chmod(folder, 0755);
	chmod(tree_path("policy/a.ini"), 0644);
	assert_int_equal(config_policy_is_trusted(&before), is_root);
	chmod(tree_path("policy/a.ini"), 0664);
	assert_false(config_policy_is_trusted(&before));
	chmod(tree_path("policy/a.ini"), 0644);
	chmod(folder, 0757);
	assert_false(config_policy_is_trusted(&before));
	chmod(folder, 0755);
	assert_int_equal(config_policy_is_trusted(&before), is_root);
	if (is_root) {
		assert_int_equal(chown(tree_path("policy/a.ini"), 1234, 0), 0);
		assert_false(config_policy_is_trusted(&before));
	}
}

static void trust_in_what_is_gone_needs_the_file_read_again(void **state)
{
	(void)state;
	tree_write("policy/a.ini", "[slice]\n");
	start((char *const[]){NULL});
	chmod(folder, 0755);
	unlink(tree_path("policy/a.ini"));
	assert_false(config_policy_is_trusted(&before));
	read_again();
	assert_int_equal(config_policy_is_trusted(&config), is_machine_s_root());
	assert_int_equal(rmdir(folder), 0);
	read_again();
	chmod(tree_path("."), 0777);
	assert_false(config_policy_is_trusted(&config));
	chmod(tree_path("."), 0700);
	assert_int_equal(config_policy_is_trusted(&config), is_machine_s_root());
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tree_make, tree_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(read_again_takes_the_new_policy_and_keeps_the_others),
		TEST(read_again_of_no_folder_leaves_the_others),
		TEST(read_again_tells_its_own_problems_alone),
		TEST(print_changes_with_whatever_changes),
		TEST(print_follows_links),
		TEST(trust_needs_root_and_nobody_else),
		TEST(trust_in_what_is_gone_needs_the_file_read_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
