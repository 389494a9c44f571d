/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Tests of the server with clients that do not behave: nonsense, floods, rings that nobody reads.
 * The server must go on serving the others.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "server.h"
#include "test_wire.h"

static int set_up(void **state)
{
	struct test_machine *machine = calloc(1, sizeof(*machine));
	test_machine_start(machine, "-s sm_count=10");
	*state = machine;
	return 0;
}

static int tear_down(void **state)
{
	test_machine_stop(*state);
	free(*state);
	return 0;
}

/* That a new client is served, and promptly. */
static void assert_serves_others(const struct test_machine *machine)
{
	struct test_client client;
	uint64_t before_ns = test_now_ns();
	test_client_open(&client, machine);
	test_kernel(&client, 10, 1000, 0);
	test_next_end(&client);
	test_client_close(&client);
	assert_true(test_now_ns() - before_ns < 2000000000);
}

static void request_of_unknown_kind_is_answered_so(void **state)
{
	int fd = test_connect(*state);

	assert_int_equal(test_ask_kind(fd, (enum wire_kind)55, 0, 0).status, WIRE_BAD_REQUEST);
	assert_int_equal(test_ask_kind(fd, (enum wire_kind)0, 0, 0).status, WIRE_BAD_REQUEST);

	close(fd);
}

static void request_before_hello_is_refused(void **state)
{
	int fd = test_connect(*state);

	assert_int_equal(test_ask_kind(fd, WIRE_MEM_RESERVE, 1, 0).status, WIRE_BAD_REQUEST);
	assert_int_equal(test_ask_kind(fd, WIRE_CONTEXT_CREATE, 0, 0).status, WIRE_BAD_REQUEST);

	close(fd);
}

static void request_for_a_device_that_does_not_exist_is_refused(void **state)
{
	struct test_client client;
	test_client_open(&client, *state);
	struct wire_request request = {.kind = WIRE_MEM_INFO, .device = 1};

	assert_int_equal(test_ask(client.fd, &request).status, WIRE_BAD_REQUEST);
	request.device = -1;
	assert_int_equal(test_ask(client.fd, &request).status, WIRE_BAD_REQUEST);

	test_client_close(&client);
}

static void submit_that_is_cut_short_is_dropped(void **state)
{
	struct test_client client;
	test_client_open(&client, *state);
	struct wire_request request = {.kind = WIRE_SUBMIT};
	request.op.seq = 1;
	request.op.kind = WIRE_OP_MARKER;
	request.op.context = client.context;
	request.op.dep_count = 3;
	size_t head = offsetof(struct wire_request, op) + offsetof(struct wire_op, deps);

	assert_int_equal(send(client.fd, &request, head + 16, 0), head + 16);
	assert_int_equal(send(client.fd, &request, head - 1, 0), head - 1);
	request.op.dep_count = UINT32_MAX;
	assert_int_equal(send(client.fd, &request, sizeof(request), 0), sizeof(request));
	test_ask_kind(client.fd, WIRE_MEM_INFO, 0, 0);

	assert_int_equal(atomic_load(&client.ring->published), 0);
	test_client_close(&client);
}

static void random_packets_do_no_harm(void **state)
{
	unsigned seed = 7;
	for (int round = 0; round < 20; round++) {
		struct test_client client;
		test_client_open(&client, *state);
		for (int i = 0; i < 1000; i++) {
			uint32_t packet[300];
			struct wire_request *request = (struct wire_request *)packet;
			size_t size = 1 + (size_t)rand_r(&seed) % sizeof(packet);
			for (size_t word = 0; word < 300; word++)
				packet[word] = (uint32_t)rand_r(&seed) % (word < 16 ? 4 : 1u << 30);
			/* The commands have a STOP that would be obeyed. */
			request->kind = (uint32_t)rand_r(&seed) % 20;
			if (send(client.fd, packet, size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
				break;
			char reply[1024];
			while (recv(client.fd, reply, sizeof(reply), MSG_DONTWAIT) > 0)
				continue;
		}
		test_client_close(&client);
	}
	assert_serves_others(*state);
}

static void ring_that_overflows_loses_nothing(void **state)
{
	struct test_client client;
	const struct wire_op marker = {.kind = WIRE_OP_MARKER};
	const uint64_t count = 3 * WIRE_RING_ENTRIES / 2;
	test_client_open(&client, *state);

	for (uint64_t i = 0; i < count; i++)
		test_submit(&client, marker, 0);
	test_ask_kind(client.fd, WIRE_MEM_INFO, 0, 0);
	assert_int_equal(atomic_load(&client.ring->published), WIRE_RING_ENTRIES);

	for (uint64_t seq = 1; seq <= count; seq++)
		assert_int_equal(test_next_end(&client).seq, seq);
	test_client_close(&client);
}

/* False where the server has read nothing for half a second, nor once it has answered another: on a
 * busy computer it may not have run before. */
static bool send_patiently(struct test_client *client, const void *packet, size_t size,
	const struct test_machine *machine)
{
	if (send(client->fd, packet, size, 0) == (ssize_t)size)
		return true;
	assert_serves_others(machine);
	return send(client->fd, packet, size, 0) == (ssize_t)size;
}

/* Sends markers until the server reads no more. Returns how many were sent. */
static uint64_t flood(struct test_client *client, const struct test_machine *machine)
{
	struct wire_request request = {.kind = WIRE_SUBMIT};
	const struct timeval patience = {.tv_usec = 500000};
	size_t head = offsetof(struct wire_request, op) + offsetof(struct wire_op, deps);

	request.op.kind = WIRE_OP_MARKER;
	request.op.context = client->context;
	setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	do
		request.op.seq++;
	while (request.op.seq < 4 * CLIENT_MAX_OUTSTANDING &&
		send_patiently(client, &request, head, machine));
	return request.op.seq - 1;
}

static void client_that_reads_nothing_is_held_back(void **state)
{
	struct test_client client;
	test_client_open(&client, *state);

	uint64_t sent = flood(&client, *state);

	assert_in_range(sent, CLIENT_MAX_OUTSTANDING, 2 * CLIENT_MAX_OUTSTANDING);
	assert_serves_others(*state);
	for (uint64_t seq = 1; seq <= sent; seq++)
		assert_int_equal(test_next_end(&client).seq, seq);
	test_client_close(&client);
}

static void flood_and_wait(const struct test_machine *machine)
{
	struct test_client client;
	test_client_open(&client, machine);
	flood(&client, machine);
}

static void client_that_is_held_back_and_killed_is_forgotten(void **state)
{
	struct test_client observer;
	test_client_open(&observer, *state);
	pid_t pid = test_child(flood_and_wait, *state);

	test_kill(pid);
	uint64_t deadline_ns = test_now_ns() + 5000000000;
	while (test_ask_kind(observer.fd, WIRE_NVML_PROCESSES, 0, 0).process_count != 1)
		assert_true(test_now_ns() < deadline_ns);

	test_client_close(&observer);
}

static void client_that_lies_about_its_ring_hurts_itself_only(void **state)
{
	struct test_client client;
	test_client_open(&client, *state);

	atomic_store(&client.ring->retired, 0x7fffffff);
	test_kernel(&client, 1, 1000, 0);
	test_ask_kind(client.fd, WIRE_MEM_INFO, 0, 0);

	assert_serves_others(*state);
	test_client_close(&client);
}

static void client_that_reads_no_replies_is_disconnected(void **state)
{
	struct test_client client;
	const struct wire_request request = {.kind = WIRE_MEM_INFO};
	int sent = 0;
	test_client_open(&client, *state);

	while (sent < 100000 && send(client.fd, &request, sizeof(request), MSG_NOSIGNAL) > 0)
		sent++;

	assert_true(sent < 100000);
	assert_serves_others(*state);
	test_client_close(&client);
}

static void stop_with_much_in_flight(const struct test_machine *machine)
{
	struct test_client client;
	test_client_open(&client, machine);
	for (int i = 0; i < 1000; i++)
		test_kernel(&client, 1, 1000, 0);
}

static void client_that_is_stopped_keeps_nobody(void **state)
{
	pid_t pid = test_child(stop_with_much_in_flight, *state);
	assert_int_equal(kill(pid, SIGSTOP), 0);

	assert_serves_others(*state);

	test_kill(pid);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(request_of_unknown_kind_is_answered_so),
		TEST(request_before_hello_is_refused),
		TEST(request_for_a_device_that_does_not_exist_is_refused),
		TEST(submit_that_is_cut_short_is_dropped),
		TEST(random_packets_do_no_harm),
		TEST(ring_that_overflows_loses_nothing),
		TEST(client_that_reads_nothing_is_held_back),
		TEST(client_that_is_held_back_and_killed_is_forgotten),
		TEST(client_that_lies_about_its_ring_hurts_itself_only),
		TEST(client_that_reads_no_replies_is_disconnected),
		TEST(client_that_is_stopped_keeps_nobody),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
