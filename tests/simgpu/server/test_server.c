/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Tests of the server with real clients: bytes, exact times, shares, death.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "test_wire.h"

#define MIB (UINT64_C(1) << 20)

/* 1 GiB of memory, contexts of 64 MiB, 10 SMs, slices of 1 ms. */
#define SETTINGS "-s memory=1GiB -s sm_count=10 "

static int set_up(void **state)
{
	struct test_machine *machine = calloc(1, sizeof(*machine));
	test_machine_start(machine, SETTINGS);
	*state = machine;
	return 0;
}

static int set_up_slow_reclaim(void **state)
{
	struct test_machine *machine = calloc(1, sizeof(*machine));
	test_machine_start(machine, SETTINGS "-s reclaim_us=300000");
	*state = machine;
	return 0;
}

static int tear_down(void **state)
{
	test_machine_stop(*state);
	free(*state);
	return 0;
}

static uint64_t free_bytes(const struct test_client *client)
{
	struct wire_reply reply = test_ask_kind(client->fd, WIRE_MEM_INFO, 0, 0);
	assert_int_equal(reply.status, WIRE_OK);
	return reply.free_bytes;
}

static void hello_shows_the_machine(void **state)
{
	struct test_client client;

	test_client_open(&client, *state);

	assert_int_equal(client.machine->version, WIRE_VERSION);
	assert_int_equal(client.machine->device_count, 1);
	assert_int_equal(client.machine->devices[0].memory_bytes, 1024 * MIB);
	assert_int_equal(client.machine->devices[0].sm_count, 10);
	assert_string_equal(client.machine->kernels[0].name, "*");
	assert_int_equal(atomic_load(&client.machine->generation) % 2, 0);
	test_client_close(&client);
}

static void hello_of_another_version_is_refused(void **state)
{
	int fd = test_connect(*state);

	struct wire_reply reply = test_ask_kind(fd, WIRE_HELLO, WIRE_VERSION + 1, 0);

	assert_int_equal(reply.status, WIRE_BAD_REQUEST);
	close(fd);
}

static void context_takes_its_bytes_and_gives_them_back(void **state)
{
	struct test_client client;
	test_client_open(&client, *state);
	assert_int_equal(free_bytes(&client), (1024 - 64) * MIB);
	const struct wire_request destroy = {
		.kind = WIRE_CONTEXT_DESTROY, .context = client.context};

	assert_int_equal(test_ask(client.fd, &destroy).status, WIRE_OK);
	assert_int_equal(free_bytes(&client), 1024 * MIB);

	assert_int_equal(test_ask(client.fd, &destroy).status, WIRE_BAD_REQUEST);
	test_client_close(&client);
}

static void reserve_is_granted_until_the_memory_is_used_up(void **state)
{
	struct test_client client;
	test_client_open(&client, *state);
	const struct wire_request release = {.kind = WIRE_MEM_RELEASE, .bytes = 10 * MIB};

	struct wire_reply most = test_ask_kind(client.fd, WIRE_MEM_RESERVE, 960 * MIB, 0);
	struct wire_reply one_more = test_ask_kind(client.fd, WIRE_MEM_RESERVE, 1, 0);
	assert_int_equal(send(client.fd, &release, sizeof(release), 0), sizeof(release));
	struct wire_reply after = test_ask_kind(client.fd, WIRE_MEM_RESERVE, 10 * MIB, 0);

	assert_int_equal(most.status, WIRE_OK);
	assert_int_equal(one_more.status, WIRE_NO_MEMORY);
	assert_int_equal(after.status, WIRE_OK);
	assert_int_equal(free_bytes(&client), 0);
	test_client_close(&client);
}

static void chain_of_kernels_runs_without_a_gap(void **state)
{
	struct test_client client;
	struct wire_ring_entry before = {0};
	uint64_t previous = 0;
	test_client_open(&client, *state);

	/* 25 blocks on 10 SMs: three waves of 20 us. The first is long enough for all to arrive. */
	previous = test_kernel(&client, 1, 200000000, 0);
	for (int i = 0; i < 500; i++)
		previous = test_kernel(&client, 25, 20000, previous);

	before = test_next_end(&client);
	assert_int_equal(before.end_ns - before.start_ns, 200000000);
	for (uint64_t seq = 2; seq <= 501; seq++) {
		struct wire_ring_entry entry = test_next_end(&client);
		assert_int_equal(entry.seq, seq);
		assert_int_equal(entry.start_ns, before.end_ns);
		assert_int_equal(entry.end_ns - entry.start_ns, 60000);
		before = entry;
	}
	assert_true(before.end_ns <= test_now_ns());
	test_client_close(&client);
}

static void operation_starts_when_it_arrives(void **state)
{
	struct test_client client;
	test_client_open(&client, *state);

	uint64_t before_ns = test_now_ns();
	test_kernel(&client, 1, 1000000, 0);
	struct wire_ring_entry entry = test_next_end(&client);

	assert_true(entry.start_ns >= before_ns);
	assert_int_equal(entry.end_ns - entry.start_ns, 1000000);
	assert_true(entry.end_ns <= test_now_ns());
	test_client_close(&client);
}

static void keep_busy(const struct test_machine *machine)
{
	struct test_client client;
	uint64_t previous = 0;
	test_client_open(&client, machine);
	for (int i = 0; i < 400; i++)
		previous = test_kernel(&client, 10, 5000000, previous);
	test_ask_kind(client.fd, WIRE_MEM_INFO, 0, 0); /* all have arrived */
}

static uint64_t gpu_time_ns(const struct test_client *client, pid_t pid)
{
	struct wire_reply reply = test_ask_kind(client->fd, WIRE_ACCOUNT, 0, pid);
	assert_int_equal(reply.status, WIRE_OK);
	return reply.gpu_time_ns;
}

static void two_busy_processes_have_half_each(void **state)
{
	struct test_client observer;
	test_client_open(&observer, *state);
	pid_t first = test_child(keep_busy, *state), second = test_child(keep_busy, *state);

	test_sleep_ms(20);
	uint64_t first_ns = gpu_time_ns(&observer, first);
	uint64_t second_ns = gpu_time_ns(&observer, second);
	test_sleep_ms(200);
	first_ns = gpu_time_ns(&observer, first) - first_ns;
	second_ns = gpu_time_ns(&observer, second) - second_ns;

	/* The two questions are asked one after the other: a slice and a late wake-up may lie
	 * between. */
	assert_true(first_ns > 80000000);
	assert_in_range(second_ns * 100 / first_ns, 90, 110);
	test_kill(first);
	test_kill(second);
	test_client_close(&observer);
}

static void account_of_a_dead_process_stays(void **state)
{
	struct test_client observer;
	test_client_open(&observer, *state);
	pid_t pid = test_child(keep_busy, *state);

	test_sleep_ms(20);
	test_kill(pid);
	while (free_bytes(&observer) != (1024 - 64) * MIB)
		test_sleep_ms(1);
	struct wire_reply reply = test_ask_kind(observer.fd, WIRE_ACCOUNT, 0, pid);

	assert_int_equal(reply.status, WIRE_OK);
	assert_int_equal(reply.held_bytes, 0);
	assert_int_equal(reply.peak_bytes, 64 * MIB);
	assert_true(reply.gpu_time_ns >= 15000000);
	assert_true(reply.kernels >= 3);
	test_client_close(&observer);
}

static void hold_much(const struct test_machine *machine)
{
	struct test_client client;
	test_client_open(&client, machine);
	test_ask_kind(client.fd, WIRE_MEM_RESERVE, 500 * MIB, 0);
	test_kernel(&client, 1, UINT64_C(3600000000000), 0);
	test_ask_kind(client.fd, WIRE_MEM_INFO, 0, 0);
}

static void process_that_is_killed_gives_everything_back(void **state)
{
	struct test_client observer;
	test_client_open(&observer, *state);
	pid_t pid = test_child(hold_much, *state);
	assert_int_equal(free_bytes(&observer), (1024 - 64 - 564) * MIB);

	test_kill(pid);
	uint64_t deadline_ns = test_now_ns() + UINT64_C(5000000000);
	while (free_bytes(&observer) != (1024 - 64) * MIB)
		assert_true(test_now_ns() < deadline_ns);

	test_kernel(&observer, 10, 1000, 0);
	struct wire_ring_entry entry = test_next_end(&observer);
	assert_int_equal(entry.end_ns - entry.start_ns, 1000);
	test_client_close(&observer);
}

static void memory_of_a_dead_process_comes_back_after_the_delay(void **state)
{
	struct test_client observer;
	test_client_open(&observer, *state);
	pid_t pid = test_child(hold_much, *state);

	uint64_t killed_ns = test_now_ns();
	test_kill(pid);
	test_sleep_ms(100);
	assert_int_equal(free_bytes(&observer), (1024 - 64 - 564) * MIB);
	while (free_bytes(&observer) != (1024 - 64) * MIB)
		test_sleep_ms(1);

	assert_in_range(test_now_ns() - killed_ns, 300000000, 5000000000);
	test_client_close(&observer);
}

static void processes_with_a_context_are_listed(void **state)
{
	struct test_client observer;
	test_client_open(&observer, *state);
	pid_t pid = test_child(hold_much, *state);

	struct wire_reply reply = test_ask_kind(observer.fd, WIRE_NVML_PROCESSES, 0, 0);

	assert_int_equal(reply.process_count, 2);
	assert_int_equal(reply.processes[0].pid, getpid());
	assert_int_equal(reply.processes[0].bytes, 64 * MIB);
	assert_int_equal(reply.processes[1].pid, pid);
	assert_int_equal(reply.processes[1].bytes, 564 * MIB);
	test_kill(pid);
	test_client_close(&observer);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(hello_shows_the_machine),
		TEST(hello_of_another_version_is_refused),
		TEST(context_takes_its_bytes_and_gives_them_back),
		TEST(reserve_is_granted_until_the_memory_is_used_up),
		TEST(chain_of_kernels_runs_without_a_gap),
		TEST(operation_starts_when_it_arrives),
		TEST(two_busy_processes_have_half_each),
		TEST(account_of_a_dead_process_stays),
		TEST(process_that_is_killed_gives_everything_back),
		cmocka_unit_test_setup_teardown(memory_of_a_dead_process_comes_back_after_the_delay,
			set_up_slow_reclaim, tear_down),
		TEST(processes_with_a_context_are_listed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
