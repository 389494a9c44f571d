/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A machine with a real server, and clients that speak ../wire.h to it, for tests. Everything here
 * fails the running test if it cannot do its work.
 */
#ifndef SIMGPU_TEST_WIRE_H
#define SIMGPU_TEST_WIRE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "../wire.h"

struct test_machine {
	char dir[32];
	pid_t server_pid;
};

struct test_client {
	int fd;
	struct wire_ring *ring;
	struct wire_machine *machine;
	uint32_t context; /* on device 0 */
	uint64_t last_seq;
	uint32_t next_entry;
};

/* Starts a machine with `settings`, options of `simgpu start` such as "-s memory=1GiB". */
void test_machine_start(struct test_machine *machine, const char *settings);
void test_machine_stop(struct test_machine *machine);

/* Runs `simgpu ARGS` by a shell and returns its exit status. */
int test_simgpu(const char *args);

/* A connection without and one with HELLO and a context. */
int test_connect(const struct test_machine *machine);
void test_client_open(struct test_client *client, const struct test_machine *machine);
void test_client_close(struct test_client *client);

/* One request and its answer. */
struct wire_reply test_ask(int fd, const struct wire_request *request);
struct wire_reply test_ask_kind(int fd, enum wire_kind kind, uint64_t bytes, int64_t pid);

/* Sends an operation that depends on `dep` (0: on nothing), and returns its seq. */
uint64_t test_submit(struct test_client *client, struct wire_op op, uint64_t dep);
uint64_t test_kernel(struct test_client *client, uint64_t blocks, uint64_t block_ns, uint64_t dep);

/* The next entry of the ring, waited for up to 10 s and retired. */
struct wire_ring_entry test_next_end(struct test_client *client);

/* A child process that runs `work` and then sleeps until it is killed. Returns when `work` has. */
pid_t test_child(void (*work)(const struct test_machine *), const struct test_machine *machine);
void test_kill(pid_t pid);

uint64_t test_now_ns(void);
void test_sleep_ms(unsigned ms);

#endif
