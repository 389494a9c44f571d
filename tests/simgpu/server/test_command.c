/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Tests of the simgpu command.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "test_wire.h"

static int set_up(void **state)
{
	struct test_machine *machine = calloc(1, sizeof(*machine));
	test_machine_start(machine, "-s devices=2 -s memory=1GiB");
	setenv("SIMGPU_DIR", machine->dir, 1);
	*state = machine;
	return 0;
}

static int tear_down(void **state)
{
	test_machine_stop(*state);
	unsetenv("SIMGPU_DIR");
	free(*state);
	return 0;
}

/* What `simgpu ARGS` writes, both streams together. */
static void read_output(const char *args, char *output, size_t size)
{
	char command[2048];
	snprintf(command, sizeof(command), "%s %s 2>&1", SIMGPU_PROGRAM, args);
	FILE *pipe = popen(command, "re");
	assert_non_null(pipe);
	size_t len = fread(output, 1, size - 1, pipe);
	output[len] = '\0';
	pclose(pipe);
}

static void assert_says(const char *args, const char *words)
{
	char output[8192];
	read_output(args, output, sizeof(output));
	if (!strstr(output, words))
		fail_msg("simgpu %s says \"%s\", not \"%s\"", args, output, words);
}

static void run_passes_the_exit_status_on(void **state)
{
	(void)state;
	assert_int_equal(test_simgpu("run true"), 0);
	assert_int_equal(test_simgpu("run -- sh -c 'exit 7'"), 7);
	assert_int_equal(test_simgpu("run sh -c 'kill -9 $$'"), 128 + 9);
	assert_int_equal(test_simgpu("run /nowhere/at/all 2>/dev/null"), 127);
	assert_int_equal(test_simgpu("run /etc/passwd 2>/dev/null"), 126);
}

static void run_shows_the_machine_to_the_program_and_removes_it(void **state)
{
	(void)state;
	char dir[256], *end;
	struct stat info;

	read_output("run sh -c 'test -S $SIMGPU_DIR/socket && echo $SIMGPU_DIR'", dir, sizeof(dir));
	end = strchr(dir, '\n');
	assert_non_null(end);
	*end = '\0';

	assert_true(strncmp(dir, "/", 1) == 0);
	assert_int_equal(stat(dir, &info), -1);
}

static void run_puts_the_driver_in_front_of_the_library_path(void **state)
{
	(void)state;
	unsetenv("LD_LIBRARY_PATH");
	assert_says("run sh -c 'echo $LD_LIBRARY_PATH'", "/simgpu\n");
	setenv("LD_LIBRARY_PATH", "/some/where", 1);
	assert_says("run sh -c 'echo $LD_LIBRARY_PATH'", "/simgpu:/some/where\n");
	unsetenv("LD_LIBRARY_PATH");
}

static void run_uses_a_directory_that_is_named_and_leaves_it(void **state)
{
	(void)state;
	char dir[] = "/tmp/simgpu-test-XXXXXX", args[256];
	assert_non_null(mkdtemp(dir));

	snprintf(args, sizeof(args), "run --dir %s test -S %s/socket", dir, dir);
	assert_int_equal(test_simgpu(args), 0);

	assert_int_equal(rmdir(dir), 0); /* it exists and is empty */
}

static void preload_reaches_the_program_and_not_the_server(void **state)
{
	(void)state;
	char dir[] = "/tmp/simgpu-test-XXXXXX", args[512], output[64], environment[65536];
	assert_non_null(mkdtemp(dir));
	/* Sanitizers want to be loaded first. */
	setenv("ASAN_OPTIONS", "verify_asan_link_order=0", 1);
	setenv("LD_PRELOAD", "libm.so.6", 1);
	snprintf(args, sizeof(args), "start --dir %s", dir);
	read_output(args, output, sizeof(output));
	int status = test_simgpu("run sh -c 'test $LD_PRELOAD = libm.so.6'");
	unsetenv("LD_PRELOAD");
	unsetenv("ASAN_OPTIONS");

	snprintf(args, sizeof(args), "/proc/%d/environ", atoi(output));
	FILE *file = fopen(args, "re");
	assert_non_null(file);
	size_t len = fread(environment, 1, sizeof(environment), file);
	fclose(file);
	snprintf(args, sizeof(args), "stop --dir %s", dir);
	assert_int_equal(test_simgpu(args), 0);
	rmdir(dir);

	assert_int_equal(status, 0);
	assert_true(len > 0);
	assert_null(memmem(environment, len, "LD_PRELOAD=", 11));
}

static void settings_that_are_not_understood_start_nothing(void **state)
{
	(void)state;
	assert_int_equal(test_simgpu("run -s memory=4GG true 2>/dev/null"), 125);
	assert_says("run -s memory=4GG true",
		"simgpu: memory=\"4GG\": unknown unit \"GG\" (use B, KiB, MiB, GiB or TiB)\n");
	assert_says("run -s device.1.memory=4GiB true", "device.1: the machine has 1 device\n");
	assert_says("run --file /nowhere true", "\"/nowhere\": No such file or directory\n");
}

static void path_that_is_too_long_for_a_socket_is_refused(void **state)
{
	(void)state;
	char args[256] = "stop --dir /tmp/", *end = args + strlen(args);
	memset(end, 'x', 100);

	assert_says(
		args, "the path of the socket there would have 112 characters, at most 107 work");
}

static void second_server_in_a_directory_is_refused(void **state)
{
	const struct test_machine *machine = *state;
	char args[128];

	snprintf(args, sizeof(args), "start --dir %s", machine->dir);

	assert_says(args, "a server runs there already\n");
}

static void set_changes_the_machine_that_clients_see(void **state)
{
	struct test_client client;
	test_client_open(&client, *state);

	assert_int_equal(test_simgpu("set memory=100MiB kernel.busy=7us"), 0);
	struct wire_reply reply = test_ask_kind(client.fd, WIRE_MEM_RESERVE, 50 << 20, 0);

	assert_int_equal(client.machine->devices[0].memory_bytes, 100 << 20);
	assert_int_equal(client.machine->kernel_count, 2);
	assert_int_equal(client.machine->kernels[1].block_ns, 7000);
	assert_int_equal(reply.status, WIRE_NO_MEMORY);
	test_client_close(&client);
}

static void set_refuses_what_cannot_change(void **state)
{
	(void)state;
	assert_int_equal(test_simgpu("set sm_count=3 2>/dev/null"), 1);
	assert_says("set sm_count=3", "sm_count=\"3\": cannot be changed while the machine runs\n");
	assert_int_equal(test_simgpu("set 2>/dev/null"), 1);
}

static void fail_writes_the_failure_into_the_machine(void **state)
{
	struct test_client client;
	test_client_open(&client, *state);

	assert_int_equal(test_simgpu("fail cuMemAlloc_v2 2 3"), 0);
	assert_int_equal(test_simgpu("fail cuLaunchKernel 719"), 0);
	assert_int_equal(test_simgpu("fail cuMemAlloc_v2 700 1"), 0);

	assert_int_equal(atomic_load(&client.machine->failure_count), 2);
	assert_string_equal(client.machine->failures[0].symbol, "cuMemAlloc_v2");
	assert_int_equal(client.machine->failures[0].result, 700);
	assert_int_equal(atomic_load(&client.machine->failures[0].remaining), 1);
	assert_int_equal(atomic_load(&client.machine->failures[1].remaining), 1);
	assert_int_equal(test_simgpu("fail cuMemAlloc_v2 two 2>/dev/null"), 2);
	test_client_close(&client);
}

static void account_tells_processes_and_unsupported_calls(void **state)
{
	struct test_client client;
	char expected[512];
	struct wire_request request = {.kind = WIRE_UNSUPPORTED, .name = "cuFancy\"Call"};
	test_client_open(&client, *state);

	assert_int_equal(send(client.fd, &request, sizeof(request), 0), sizeof(request));
	assert_int_equal(send(client.fd, &request, sizeof(request), 0), sizeof(request));
	test_kernel(&client, 1, 2000, 0);
	test_next_end(&client);

	snprintf(expected, sizeof(expected),
		"\"processes\": [{\"pid\": %d, \"alive\": true, \"device\": 0, \"held\": 67108864, "
		"\"peak\": 67108864, \"gpu_time_ns\": 2000, \"kernels\": 1, \"contexts\": 1, "
		"\"sms\": \"0\"}], "
		"\"unsupported\": [{\"count\": 2, \"name\": \"cuFancy\\\"Call\"}], "
		"\"malformed\": 0}\n",
		getpid());
	assert_says("account --json", expected);
	assert_says("account --json",
		"{\"devices\": [{\"device\": 0, \"used\": 67108864, \"peak\": 67108864, "
		"\"busy_ns\": 2000, \"memory\": 1073741824, \"name\": \"simgpu\"}, ");
	assert_says("account", "cuFancy\"Call");
	test_client_close(&client);
}

static void watch_tells_the_time_of_each_line(void **state)
{
	struct test_client client;
	unsigned long long at_ns[2], used_ns[2], kernels[2];
	unsigned device;
	int pid;
	test_client_open(&client, *state);
	test_kernel(&client, 1, 10000000000, 0);

	FILE *pipe = popen(SIMGPU_PROGRAM " watch --every 20ms", "re");
	assert_non_null(pipe);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(fscanf(pipe, "%llu %u %d %llu %llu", &at_ns[i], &device, &pid,
					 &used_ns[i], &kernels[i]),
			5);
		assert_int_equal(device, 0);
		assert_int_equal(pid, getpid());
		assert_int_equal(kernels[i], 0);
	}

	/* The kernel runs all the while, so both differ by the same. */
	assert_true(at_ns[1] > at_ns[0]);
	assert_int_equal(used_ns[1] - used_ns[0], at_ns[1] - at_ns[0]);
	test_client_close(&client);
	assert_int_not_equal(pclose(pipe), 0); /* ends with the reader */
	assert_says("watch --every 5", "simgpu: \"5\": ");
	assert_says("watch --every 5us", "simgpu: \"5us\": less than 100us\n");
}

static void wait_idle_returns_when_the_last_operation_has_ended(void **state)
{
	struct test_client client;
	test_client_open(&client, *state);

	uint64_t last = test_kernel(&client, 1, 100000000, test_kernel(&client, 1, 100000000, 0));
	assert_int_equal(test_simgpu("wait-idle"), 0);

	assert_int_equal(atomic_load(&client.ring->published), last);
	assert_int_equal(test_simgpu("wait-idle"), 0);
	test_client_close(&client);
}

static void command_without_a_machine_says_so(void **state)
{
	(void)state;
	char old[64];
	snprintf(old, sizeof(old), "%s", getenv("SIMGPU_DIR"));
	unsetenv("SIMGPU_DIR");
	assert_says("account", "which machine? Use --dir DIR or set SIMGPU_DIR\n");
	assert_says("account --dir /nowhere", "\"/nowhere/socket\": No such file or directory\n");
	setenv("SIMGPU_DIR", old, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(run_passes_the_exit_status_on),
		cmocka_unit_test(run_shows_the_machine_to_the_program_and_removes_it),
		cmocka_unit_test(run_puts_the_driver_in_front_of_the_library_path),
		cmocka_unit_test(run_uses_a_directory_that_is_named_and_leaves_it),
		cmocka_unit_test(preload_reaches_the_program_and_not_the_server),
		cmocka_unit_test(settings_that_are_not_understood_start_nothing),
		cmocka_unit_test(path_that_is_too_long_for_a_socket_is_refused),
		TEST(second_server_in_a_directory_is_refused),
		TEST(set_changes_the_machine_that_clients_see),
		TEST(set_refuses_what_cannot_change),
		TEST(fail_writes_the_failure_into_the_machine),
		TEST(account_tells_processes_and_unsupported_calls),
		TEST(watch_tells_the_time_of_each_line),
		TEST(wait_idle_returns_when_the_last_operation_has_ended),
		TEST(command_without_a_machine_says_so),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
