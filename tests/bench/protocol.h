/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What the benchmark and its workers say to each other: one request, one reply, over a socket
 * that every child finds as CHILD_FD. Both ends are the same program.
 */
#ifndef CUSLICE_BENCH_PROTOCOL_H
#define CUSLICE_BENCH_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "task.h"

#define CHILD_FD 3

enum request_kind { REQUEST_DESCRIBE, REQUEST_PREPARE, REQUEST_BATCH, REQUEST_FINISH };

struct request {
	enum request_kind kind;
	uint32_t row;     /* index into rows[] */
	uint32_t calls;   /* BATCH */
	uint32_t singles; /* BATCH: calls that are timed one by one after the others; 0: none */
};

struct singles {
	uint32_t count, median_ns, p99_ns; /* without any, 0 */
};

struct reply {
	enum task_state state;
	uint64_t elapsed_ns; /* BATCH: all calls together */
	uint64_t records;    /* BATCH: events that were recorded by these, where the driver tells */
	/* BATCH: calls timed one by one, the clock's reading included: those that recorded no
	 * event, and those that did */
	struct singles singles, samples;
	/* DESCRIBE */
	bool is_preloaded;
	int driver_version;
	char device[64];
};

/* Whole messages. False at the end of the stream or on an error. */
bool protocol_send(int fd, const void *message, size_t size);
bool protocol_receive(int fd, void *ret_message, size_t size);

#endif
