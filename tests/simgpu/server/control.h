/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What the simgpu command says to the server of a machine, over the same socket as the driver does
 * (see ../wire.h) and with kinds of its own. Every request is answered by one struct control_reply.
 */
#ifndef SIMGPU_CONTROL_H
#define SIMGPU_CONTROL_H

#include <stdint.h>

#include "../wire.h"

#define CONTROL_TEXT_LEN 512

enum control_kind {
	CONTROL_SET = 100, /* `text` is key=value; a refusal says why in the reply's text */
	CONTROL_FAIL,      /* the next `count` calls of the symbol `text` return `result` */
	CONTROL_ACCOUNT,   /* one line of the account, by its number in `index` */
	CONTROL_WAIT_IDLE, /* answered as soon as no operation of any process is pending */
	CONTROL_STOP,      /* the server ends: that the connection closes says that it has */
};

struct control_request {
	uint32_t kind; /* enum control_kind, where struct wire_request has its kind */
	int32_t result, count;
	uint32_t pad;
	uint64_t index;
	char text[CONTROL_TEXT_LEN];
};

/* The lines of an account, in this order: all devices, all uses of a device by a process in the
 * order of the processes' start, all unsupported calls, one END. */
enum control_line {
	CONTROL_LINE_DEVICE,
	CONTROL_LINE_PROCESS,
	CONTROL_LINE_CALL,
	CONTROL_LINE_END
};

struct control_reply {
	uint32_t status; /* enum wire_status */
	uint32_t line;   /* ACCOUNT: enum control_line, what is meant by the rest */
	uint32_t device;
	int32_t pid;          /* PROCESS */
	uint32_t is_alive;    /* PROCESS */
	uint32_t contexts;    /* PROCESS */
	uint64_t held_bytes;  /* PROCESS; DEVICE: used by all */
	uint64_t peak_bytes;  /* PROCESS; DEVICE: most that was used at a time */
	uint64_t gpu_time_ns; /* PROCESS; DEVICE: time in which at least one block ran */
	uint64_t count;       /* PROCESS: kernels that ended; CALL: calls; DEVICE: bytes of memory;
				 END: requests without a reply that were malformed and dropped */
	uint64_t next_index;  /* the `index` of the next line */
	uint64_t now_ns;      /* ACCOUNT: when all this was so, by CLOCK_MONOTONIC */
	uint64_t sms[WIRE_SM_WORDS]; /* PROCESS: on which a block of it ran: bit n % 64 of word n /
					64 */
	char text[CONTROL_TEXT_LEN]; /* why not; CALL and DEVICE: the name */
};

#endif
