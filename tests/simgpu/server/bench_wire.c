/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * How fast the server is: run it as `simgpu run -s context_bytes=0 bench_simgpu_wire`. It prints
 * how many operations a second one client can submit, and how long after the calculated end of a
 * lone kernel its client is awake again. No test: the figures belong to the machine.
 */
#include <setjmp.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "test_wire.h"

#define CHAIN  200000
#define ROUNDS 2000

static void retire_all(struct test_client *client)
{
	client->next_entry = atomic_load(&client->ring->published);
	atomic_store(&client->ring->retired, client->next_entry);
}

static void submit_rate(struct test_client *client, const char *what, uint64_t blocks)
{
	uint64_t last = client->last_seq, start_ns = test_now_ns();
	for (int i = 0; i < CHAIN; i++) {
		last = test_kernel(client, blocks, 1, last);
		if (i % 1024 == 0)
			retire_all(client);
	}
	while (atomic_load(&client->ring->published) != (uint32_t)last)
		retire_all(client);
	retire_all(client);
	printf("%s: %.0f operations a second\n", what,
		CHAIN * 1e9 / (double)(test_now_ns() - start_ns));
}

static int compare(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
	return (left > right) - (left < right);
}

static void wake_latency(struct test_client *client)
{
	static uint64_t late_ns[ROUNDS], answer_ns[ROUNDS];
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t before_ns = test_now_ns();
		uint32_t seen = client->next_entry;
		test_kernel(client, 1, 100000, 0);
		while (atomic_load(&client->ring->published) == seen)
			syscall(SYS_futex, &client->ring->published, FUTEX_WAIT, seen, NULL, NULL,
				0);
		uint64_t awake_ns = test_now_ns();
		struct wire_ring_entry entry = client->ring->entries[seen % WIRE_RING_ENTRIES];
		retire_all(client);
		late_ns[i] = awake_ns - entry.end_ns;
		answer_ns[i] = entry.start_ns - before_ns;
	}
	qsort(late_ns, ROUNDS, sizeof(late_ns[0]), compare);
	qsort(answer_ns, ROUNDS, sizeof(answer_ns[0]), compare);
	printf("submit to start: median %.1f us, p99 %.1f us\n",
		(double)answer_ns[ROUNDS / 2] / 1e3, (double)answer_ns[ROUNDS * 99 / 100] / 1e3);
	printf("end to client awake: median %.1f us, p99 %.1f us\n",
		(double)late_ns[ROUNDS / 2] / 1e3, (double)late_ns[ROUNDS * 99 / 100] / 1e3);
}

static void measure(void **state)
{
	(void)state;
	struct test_machine machine = {0};
	struct test_client client;
	snprintf(machine.dir, sizeof(machine.dir), "%s", getenv("SIMGPU_DIR"));
	test_client_open(&client, &machine);
	submit_rate(&client, "empty kernels in a chain", 0);
	submit_rate(&client, "kernels of one block in a chain", 1);
	wake_latency(&client);
	test_client_close(&client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(measure)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
