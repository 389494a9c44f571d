/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A real server and clients of it.
 */
#include "test_wire.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "address.h"

#define DEADLINE_NS UINT64_C(10000000000)

uint64_t test_now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void test_sleep_ms(unsigned ms)
{
	usleep(ms * 1000);
}

int test_simgpu(const char *args)
{
	char command[2048];
	snprintf(command, sizeof(command), "%s %s", SIMGPU_PROGRAM, args);
	int status = system(command);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

void test_machine_start(struct test_machine *machine, const char *settings)
{
	char command[2048];
	strcpy(machine->dir, "/tmp/simgpu-test-XXXXXX");
	assert_non_null(mkdtemp(machine->dir));
	snprintf(command, sizeof(command), "%s start --dir %s %s", SIMGPU_PROGRAM, machine->dir,
		settings);
	FILE *output = popen(command, "re");
	assert_non_null(output);
	assert_int_equal(fscanf(output, "%d", &machine->server_pid), 1);
	assert_int_equal(pclose(output), 0);
}

void test_machine_stop(struct test_machine *machine)
{
	char args[64];
	snprintf(args, sizeof(args), "stop --dir %s", machine->dir);
	assert_int_equal(test_simgpu(args), 0);
	assert_int_equal(rmdir(machine->dir), 0);
}

int test_connect(const struct test_machine *machine)
{
	struct sockaddr_un address;
	assert_true(address_of_machine(machine->dir, &address));
	int fd = address_connect(&address);
	assert_true(fd >= 0);
	return fd;
}

static void *map(int fd, size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(memory, MAP_FAILED);
	close(fd);
	return memory;
}

static void receive_hello(struct test_client *client)
{
	struct wire_reply reply;
	struct iovec part = {&reply, sizeof(reply)};
	int fds[2];
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(fds))];
	} control;
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};

	assert_int_equal(recvmsg(client->fd, &message, MSG_CMSG_CLOEXEC), sizeof(reply));
	assert_int_equal(reply.status, WIRE_OK);
	assert_non_null(CMSG_FIRSTHDR(&message));
	assert_int_equal(control.header.cmsg_len, CMSG_LEN(sizeof(fds)));
	memcpy(fds, CMSG_DATA(&control.header), sizeof(fds));
	client->ring = map(fds[0], sizeof(*client->ring));
	client->machine = map(fds[1], sizeof(*client->machine));
}

void test_client_open(struct test_client *client, const struct test_machine *machine)
{
	const struct wire_request hello = {.kind = WIRE_HELLO, .bytes = WIRE_VERSION};
	*client = (struct test_client){.fd = test_connect(machine)};
	assert_int_equal(send(client->fd, &hello, sizeof(hello), 0), sizeof(hello));
	receive_hello(client);
	struct wire_reply reply = test_ask_kind(client->fd, WIRE_CONTEXT_CREATE, 0, 0);
	assert_int_equal(reply.status, WIRE_OK);
	client->context = reply.context;
}

void test_client_close(struct test_client *client)
{
	close(client->fd);
	munmap(client->ring, sizeof(*client->ring));
	munmap(client->machine, sizeof(*client->machine));
}

struct wire_reply test_ask(int fd, const struct wire_request *request)
{
	struct wire_reply reply;
	assert_int_equal(send(fd, request, sizeof(*request), 0), sizeof(*request));
	assert_int_equal(recv(fd, &reply, sizeof(reply), 0), sizeof(reply));
	return reply;
}

struct wire_reply test_ask_kind(int fd, enum wire_kind kind, uint64_t bytes, int64_t pid)
{
	const struct wire_request request = {.kind = kind, .bytes = bytes, .pid = pid};
	return test_ask(fd, &request);
}

uint64_t test_submit(struct test_client *client, struct wire_op op, uint64_t dep)
{
	struct wire_request request = {.kind = WIRE_SUBMIT, .op = op};
	request.op.seq = ++client->last_seq;
	request.op.context = client->context;
	if (dep)
		request.op.deps[request.op.dep_count++] = dep;
	size_t size = offsetof(struct wire_request, op) + offsetof(struct wire_op, deps) +
		      request.op.dep_count * sizeof(uint64_t);
	assert_int_equal(send(client->fd, &request, size, 0), size);
	return client->last_seq;
}

uint64_t test_kernel(struct test_client *client, uint64_t blocks, uint64_t block_ns, uint64_t dep)
{
	const struct wire_op op = {.kind = WIRE_OP_KERNEL,
		.blocks = blocks,
		.blocks_per_sm = 1,
		.duration_ns = block_ns};
	return test_submit(client, op, dep);
}

struct wire_ring_entry test_next_end(struct test_client *client)
{
	uint64_t deadline_ns = test_now_ns() + DEADLINE_NS;
	while (atomic_load(&client->ring->published) == client->next_entry) {
		assert_true(test_now_ns() < deadline_ns);
		usleep(50);
	}
	struct wire_ring_entry entry =
		client->ring->entries[client->next_entry++ % WIRE_RING_ENTRIES];
	atomic_store(&client->ring->retired, client->next_entry);
	return entry;
}

pid_t test_child(void (*work)(const struct test_machine *), const struct test_machine *machine)
{
	int ready[2];
	char byte;
	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	if (pid == 0) {
		work(machine);
		if (write(ready[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

void test_kill(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}
