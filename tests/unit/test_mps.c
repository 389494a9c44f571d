/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Whether MPS is there, by real sockets in a folder of the test's; what of the settings becomes a
 * percentage; and the environment that it is put into.
 */
#include "unit.h"
#include "partition/mps.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define TIMEOUT_S 60

static char folder[] = "/tmp/cuslice-mps-XXXXXX";
static struct sockaddr_un control = {.sun_family = AF_UNIX};

static int make_folder(void **state)
{
	(void)state;
	alarm(TIMEOUT_S); /* nothing here may wait */
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(control.sun_path, sizeof(control.sun_path), "%s/control", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	return rmdir(folder);
}

static int remove_control(void **state)
{
	(void)state;
	unlink(control.sun_path);
	return 0;
}

static int bind_control(int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&control, sizeof(control)), 0);
	return fd;
}

static void assert_none(const char *directory, const char *why)
{
	errno = EDOM;
	struct mps_daemon found = mps_find(directory);
	assert_int_equal(errno, EDOM);
	assert_false(found.is_there);
	if (strstr(found.text, why) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", found.text, why);
}

static void assert_found(void)
{
	struct mps_daemon found = mps_find(folder);

	assert_true(found.is_there);
	assert_non_null(strstr(found.text, control.sun_path));
}

static void nothing_there(void **state)
{
	(void)state;
	assert_none(folder, "No such file");
	assert_none("/nowhere", "no MPS at /nowhere/control");
	int fd = open(control.sun_path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_none(folder, "refused");
	close(fd);
	unlink(control.sun_path);
	assert_int_equal(mkdir(control.sun_path, 0700), 0);
	assert_none(folder, "refused");
	rmdir(control.sun_path);
	assert_int_equal(symlink("control", control.sun_path), 0);
	assert_none(folder, "symbolic links");
}

static void path_is_too_long(void **state)
{
	char path[300];

	(void)state;
	memset(path, 'x', sizeof(path) - 1);
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	assert_none(path, "too long");
	/* One byte less than what does not fit: the system is asked. */
	path[sizeof(control.sun_path) - sizeof("/control") + 1] = '\0';
	assert_none(path, "too long for a socket");
	path[sizeof(control.sun_path) - sizeof("/control")] = '\0';
	assert_none(path, "No such file");
}

static void listeners_of_both_kinds_are_found(void **state)
{
	static const int types[] = {SOCK_SEQPACKET, SOCK_STREAM};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		int fd = bind_control(types[i]);
		assert_none(folder, "refused"); /* bound, and not listened on */
		assert_int_equal(listen(fd, 5), 0);
		assert_found();
		close(fd);
		assert_none(folder, "refused"); /* left by one that has died */
		unlink(control.sun_path);
	}
}

/* The daemon hangs: its queue fills, and nobody waits for it. */
static void nobody_accepts(void **state)
{
	(void)state;
	int fd = bind_control(SOCK_SEQPACKET);
	assert_int_equal(listen(fd, 0), 0);
	for (unsigned i = 0; i < 50; i++)
		assert_found();
	close(fd);
}

static void datagrams_are_not_mps(void **state)
{
	(void)state;
	int fd = bind_control(SOCK_DGRAM);
	assert_none(folder, "wrong type");
	close(fd);
}

static void no_permission(void **state)
{
	(void)state;
	int fd = bind_control(SOCK_SEQPACKET);
	assert_int_equal(listen(fd, 5), 0);
	assert_int_equal(chmod(folder, 0), 0);
	uid_t before = geteuid();
	if (before == 0)
		assert_int_equal(seteuid(65534), 0);
	assert_none(folder, "Permission denied");
	if (before == 0)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(chmod(folder, 0700), 0);
	close(fd);
}

/* What comes of CUSLICE_* and of what the environment of MPS says before. */
struct plan_row {
	const char *settings[5]; /* up to NULL */
	const char *before;      /* the percentage; NULL: none */
	uint32_t ppm;
	bool is_change;
	const char *percentage, *reason;
};

static const struct plan_row plan_rows[] = {
	{{"CUSLICE_COMPUTE=30%"}, NULL, 300000, true, "30", "MPS at"},
	{{"CUSLICE_COMPUTE=12.5%"}, NULL, 125000, true, "12.5", "MPS at"},
	{{"CUSLICE_COMPUTE=33.3333%"}, NULL, 333333, true, "33.3333", "MPS at"},
	{{"CUSLICE_COMPUTE=99.99%"}, NULL, 999900, true, "99.99", "MPS at"},
	{{"CUSLICE_COMPUTE=0.2%"}, NULL, 10000, true, "1", "MPS at"},
	{{"CUSLICE_COMPUTE=30%", "CUSLICE_MECHANISM=mps"}, NULL, 300000, true, "30", "MPS at"},
	/* The user's own stays where it is tighter, and where it is the same. */
	{{"CUSLICE_COMPUTE=30%"}, "20", 200000, false, "20", "MPS at"},
	{{"CUSLICE_COMPUTE=30%"}, "30.0", 300000, false, "30", "MPS at"},
	{{"CUSLICE_COMPUTE=30%"}, "30.1", 300000, true, "30", "MPS at"},
	{{"CUSLICE_COMPUTE=30%"}, "100", 300000, true, "30", "MPS at"},
	{{"CUSLICE_COMPUTE=30%"}, "", 300000, true, "30", "MPS at"},
	{{"CUSLICE_COMPUTE=30%"}, "0", 300000, true, "30", "MPS at"},
	{{"CUSLICE_COMPUTE=30%"}, "-5", 300000, true, "30", "MPS at"},
	{{"CUSLICE_COMPUTE=30%"}, "nan", 300000, true, "30", "MPS at"},
	{{"CUSLICE_COMPUTE=30%"}, "all", 300000, true, "30", "MPS at"},
	{{"CUSLICE_COMPUTE=30%"}, "1000000000000000000000000000000000000000", 300000, true, "30",
		"MPS at"},
	/* What drivers may read in different ways is written as all do, and is not made more. */
	{{"CUSLICE_COMPUTE=30%"}, "20%", 200000, true, "20", "MPS at"},
	{{"CUSLICE_COMPUTE=30%"}, " 20", 200000, true, "20", "MPS at"},
	{{"CUSLICE_COMPUTE=30%"}, "20.", 200000, true, "20", "MPS at"},
	{{"CUSLICE_COMPUTE=30%"}, "+2e1", 200000, true, "20", "MPS at"},
	{{"CUSLICE_COMPUTE=30%"}, "16.66666666666666666666666666666", 166666, true, "16.6666",
		"MPS at"},
	{{"CUSLICE_COMPUTE=30%"}, "33.33333333333333333333", 300000, true, "30", "MPS at"},
	{{"CUSLICE_COMPUTE=30%"}, "1e-9", 10000, true, "1", "MPS at"},
	{{"CUSLICE_COMPUTE=30%"}, "100 ", 300000, true, "30", "MPS at"},
	/* One for all devices is the largest of any. */
	{{"CUSLICE_COMPUTE=30%", "CUSLICE_COMPUTE_1=10%"}, NULL, 300000, true, "30", "MPS at"},
	{{"CUSLICE_COMPUTE=30%", "CUSLICE_MECHANISM_1=time"}, NULL, PPM_WHOLE, false, "",
		"one percentage for all devices"},
	{{"CUSLICE_COMPUTE_0=30%"}, NULL, PPM_WHOLE, false, "", "one percentage for all devices"},
	{{"CUSLICE_COMPUTE=32sm"}, NULL, PPM_WHOLE, false, "", "one percentage for all devices"},
	{{"CUSLICE_COMPUTE=32sm", "CUSLICE_COMPUTE_0=10%"}, NULL, PPM_WHOLE, false, "",
		"one percentage for all devices"},
	{{"CUSLICE_COMPUTE=30%", "CUDA_MPS_SM_PARTITION=GPU-1/a"}, NULL, PPM_WHOLE, false, "",
		"CUDA_MPS_SM_PARTITION"},
	/* What the environment has is there, whether or not more could be told. */
	{{"CUSLICE_COMPUTE_0=30%"}, "50", 500000, false, "50", "MPS at"},
	{{"CUSLICE_COMPUTE_0=30%"}, "100", PPM_WHOLE, false, "", "one percentage for all devices"},
	{{"CUSLICE_COMPUTE_0=30%"}, "50%", PPM_WHOLE, false, "", "one percentage for all devices"},
	{{"CUSLICE_COMPUTE=32sm"}, "50", 500000, false, "50", "MPS at"},
	{{"CUSLICE_COMPUTE=30%", "CUSLICE_MECHANISM_1=time"}, "20", 200000, false, "20", "MPS at"},
	{{"CUSLICE_COMPUTE=30%", "CUDA_MPS_SM_PARTITION=GPU-1/a"}, "20", PPM_WHOLE, false, "",
		"CUDA_MPS_SM_PARTITION"},
};

/* Settings that ask for no MPS, beside a percentage. */
static const struct plan_row beside_rows[] = {
	{{"CUSLICE_COMPUTE=30%", "CUSLICE_MECHANISM=sm"}, "50", 500000, false, "50", "MPS at"},
	{{"CUSLICE_COMPUTE=30%", "CUSLICE_MECHANISM=both"}, "30", 300000, false, "30", "MPS at"},
	{{"CUSLICE_COMPUTE=30%", "CUSLICE_MECHANISM=time"}, "20", 200000, false, "20", "MPS at"},
	{{"CUSLICE_COMPUTE=30%", "CUSLICE_MECHANISM=sm", "CUSLICE_MECHANISM_1=auto"}, "20", 200000,
		false, "20", "MPS at"},
	{{"CUSLICE_COMPUTE=30%", "CUSLICE_MECHANISM=sm"}, "100", PPM_WHOLE, false, "", ""},
	{{"CUSLICE_COMPUTE=30%", "CUSLICE_MECHANISM=sm"}, "50%", PPM_WHOLE, false, "", ""},
	{{"CUSLICE_COMPUTE=100%"}, "50", PPM_WHOLE, false, "", ""},
	{{"CUSLICE_MEMORY=1GiB"}, "50", PPM_WHOLE, false, "", ""},
	{{"CUSLICE_COMPUTE=30%", "CUSLICE_DISABLE=1"}, "50", PPM_WHOLE, false, "", ""},
};

static const struct plan_row unasked_rows[] = {
	{.settings = {NULL}},
	{.settings = {"CUSLICE_MEMORY=1GiB"}},
	{.settings = {"CUSLICE_COMPUTE=100%"}},
	{.settings = {"CUSLICE_COMPUTE=30%", "CUSLICE_DISABLE=1"}},
	{.settings = {"CUSLICE_COMPUTE=30%", "CUSLICE_MECHANISM=time"}},
	{.settings = {"CUSLICE_COMPUTE=30%", "CUSLICE_MECHANISM=sm"}},
	{.settings = {"CUSLICE_COMPUTE=30%", "CUSLICE_MECHANISM=both"}},
	{.settings = {"CUSLICE_MECHANISM=mps"}},
};

static struct mps_plan plan_of(const struct plan_row *row)
{
	static struct config config;
	char partition[] = "CUDA_MPS_SM_PARTITION";

	unsetenv(MPS_PERCENTAGE);
	unsetenv(partition);
	if (row->before != NULL)
		setenv(MPS_PERCENTAGE, row->before, 1);
	for (unsigned i = 0; row->settings[i] != NULL; i++) {
		if (strncmp(row->settings[i], partition, strlen(partition)) == 0)
			setenv(partition, strchr(row->settings[i], '=') + 1, 1);
	}
	config_read_from((char *const *)row->settings, NULL, false, &config);
	assert_int_equal(config.problem_count, 0);
	return mps_plan(&config);
}

static void check_plan(const struct plan_row *row, bool is_asked)
{
	struct mps_plan plan = plan_of(row);

	print_message("%s, before %s\n", row->settings[0], row->before);
	assert_int_equal(plan.is_asked, is_asked);
	assert_int_equal(plan.ppm, row->ppm);
	assert_int_equal(plan.is_change, row->is_change);
	assert_string_equal(plan.percentage, row->percentage);
	assert_non_null(strstr(plan.reason, row->reason));
}

static void settings_become_a_percentage(void **state)
{
	(void)state;
	setenv("CUDA_MPS_PIPE_DIRECTORY", folder, 1);
	int fd = bind_control(SOCK_SEQPACKET);
	assert_int_equal(listen(fd, 5), 0);
	for (unsigned i = 0; i < ARRAY_LEN(plan_rows); i++)
		check_plan(&plan_rows[i], true);
	for (unsigned i = 0; i < ARRAY_LEN(beside_rows); i++)
		check_plan(&beside_rows[i], false);
	for (unsigned i = 0; i < ARRAY_LEN(unasked_rows); i++) {
		struct mps_plan plan = plan_of(&unasked_rows[i]);
		assert_false(plan.is_asked);
		assert_false(plan.is_change);
		assert_int_equal(plan.ppm, PPM_WHOLE);
	}
	close(fd);
}

/* What is set, and what it makes of green contexts. */
static void variables_that_limit_are_known(void **state)
{
	static const struct {
		const char *percentage, *partition, *variable;
	} rows[] = {
		{NULL, NULL, NULL},
		{NULL, "", NULL},
		{"100", NULL, NULL},
		{"100.0", "", NULL},
		{"99.9", NULL, MPS_PERCENTAGE},
		{"101", NULL, MPS_PERCENTAGE},
		{"", NULL, MPS_PERCENTAGE},
		{"all", NULL, MPS_PERCENTAGE},
		{NULL, "GPU-1/a", MPS_SM_PARTITION},
		{"100", "GPU-1/a", MPS_SM_PARTITION},
		{"30", "GPU-1/a", MPS_SM_PARTITION},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		unsetenv(MPS_PERCENTAGE);
		unsetenv(MPS_SM_PARTITION);
		if (rows[i].percentage != NULL)
			setenv(MPS_PERCENTAGE, rows[i].percentage, 1);
		if (rows[i].partition != NULL)
			setenv(MPS_SM_PARTITION, rows[i].partition, 1);
		const char *found = mps_variable();
		print_message("row %u\n", i);
		if (rows[i].variable == NULL)
			assert_null(found);
		else
			assert_string_equal(found, rows[i].variable);
	}
	unsetenv(MPS_PERCENTAGE);
	unsetenv(MPS_SM_PARTITION);
}

static void without_a_daemon_nothing_changes(void **state)
{
	(void)state;
	setenv("CUDA_MPS_PIPE_DIRECTORY", folder, 1);
	struct mps_plan plan = plan_of(&plan_rows[0]);
	assert_true(plan.is_asked);
	assert_false(plan.is_change);
	assert_int_equal(plan.ppm, PPM_WHOLE);
	assert_non_null(strstr(plan.reason, "no MPS at"));
	for (unsigned i = 0; i < ARRAY_LEN(beside_rows); i++) {
		plan = plan_of(&beside_rows[i]);
		assert_false(plan.is_change);
		assert_int_equal(plan.ppm, PPM_WHOLE);
	}
}

static atomic_bool is_over;

/* As other threads of a program may do at any time. */
static void *read_environment(void *argument)
{
	unsigned long reads = 0;

	(void)argument;
	while (!atomic_load(&is_over)) {
		const char *home = getenv("CUSLICE_TEST_KEPT");
		assert_non_null(home);
		assert_string_equal(home, "kept");
		reads++;
	}
	return (void *)reads;
}

static void environment_is_read_meanwhile(void **state)
{
	char *const settings[] = {(char[]){"CUSLICE_COMPUTE=30%"}, NULL};
	static struct config config;
	pthread_t reader;

	(void)state;
	setenv("CUDA_MPS_PIPE_DIRECTORY", folder, 1);
	setenv("CUSLICE_TEST_KEPT", "kept", 1);
	unsetenv("CUDA_MPS_SM_PARTITION");
	setenv(MPS_PERCENTAGE, "75", 1);
	int fd = bind_control(SOCK_SEQPACKET);
	assert_int_equal(listen(fd, 5), 0);
	config_read_from(settings, NULL, false, &config);
	assert_int_equal(mps_begun()->ppm, PPM_WHOLE);
	assert_int_equal(pthread_create(&reader, NULL, read_environment, NULL), 0);
	mps_begin(&config);
	assert_string_equal(getenv(MPS_PERCENTAGE), "30");
	assert_int_equal(mps_begun()->ppm, 300000);
	atomic_store(&is_over, true);
	pthread_join(reader, NULL);
	/* libc goes on with what it finds. */
	setenv("CUSLICE_TEST_NEW", "new", 1);
	assert_string_equal(getenv("CUSLICE_TEST_NEW"), "new");
	assert_string_equal(getenv(MPS_PERCENTAGE), "30");
	unsetenv(MPS_PERCENTAGE);
	assert_null(getenv(MPS_PERCENTAGE));
	close(fd);
}

/* Two lists of a program's own, which another thread makes the environment by turns. */
#define MANY 500u
static char *many[MANY + 1], *few[3];
extern char **environ;

static atomic_uint changes;

static void *change_environment(void *argument)
{
	(void)argument;
	for (unsigned i = 0; !atomic_load(&is_over); i++) {
		__atomic_store_n(&environ, i % 2 == 0 ? many : few, __ATOMIC_RELEASE);
		assert_null(getenv("CUSLICE_TEST_ABSENT")); /* takes as long as to copy it */
		atomic_fetch_add(&changes, 1);
	}
	return NULL;
}

/* Neither may be read as far as the other goes. */
static void environment_is_changed_meanwhile(void **state)
{
	char *const settings[] = {(char[]){"CUSLICE_COMPUTE=30%"}, NULL};
	static struct config config;
	static char directory[64];
	char **before = environ;
	pthread_t writer;

	(void)state;
	int fd = bind_control(SOCK_SEQPACKET);
	assert_int_equal(listen(fd, 5), 0);
	config_read_from(settings, NULL, false, &config);
	snprintf(directory, sizeof(directory), "CUDA_MPS_PIPE_DIRECTORY=%s", folder);
	few[0] = many[0] = directory;
	few[1] = (char[]){"CUSLICE_TEST_KEPT=kept"};
	for (unsigned i = 1; i < MANY; i++)
		many[i] = few[1];
	atomic_store(&is_over, false);
	assert_int_equal(pthread_create(&writer, NULL, change_environment, NULL), 0);
	for (unsigned i = 0; i < 12000 || atomic_load(&changes) < 12000; i++)
		mps_begin(&config);
	atomic_store(&is_over, true);
	pthread_join(writer, NULL);
	environ = few;
	mps_begin(&config);
	assert_string_equal(getenv(MPS_PERCENTAGE), "30");
	assert_string_equal(getenv("CUSLICE_TEST_KEPT"), "kept");
	assert_ptr_not_equal(environ, few);
	environ = before;
	close(fd);
}

#define TEST(name) cmocka_unit_test_teardown(name, remove_control)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nothing_there),
		TEST(path_is_too_long),
		TEST(listeners_of_both_kinds_are_found),
		TEST(nobody_accepts),
		TEST(datagrams_are_not_mps),
		TEST(no_permission),
		TEST(settings_become_a_percentage),
		TEST(variables_that_limit_are_known),
		TEST(without_a_daemon_nothing_changes),
		TEST(environment_is_read_meanwhile),
		TEST(environment_is_changed_meanwhile),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
