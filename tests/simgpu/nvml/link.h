/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A connection to the server of the simulated machine that only asks. Not thread-safe: the callers
 * lock.
 */
#ifndef SIMGPU_NVML_LINK_H
#define SIMGPU_NVML_LINK_H

#include <stdbool.h>
#include <sys/types.h>

#include "../wire.h"

struct link {
	int fd;                             /* -1: closed */
	pid_t owner;                        /* the process that opened it */
	const struct wire_machine *machine; /* NULL: closed */
};

/* Connect to the machine of $SIMGPU_DIR. False, with `ret_link` closed, if there is none. */
bool link_open(struct link *ret_link);

/* Nothing happens if it is closed. */
void link_close(struct link *link);

/* Ask and wait for the answer. In a forked child, connects anew first: the server knows a process
 * by its connection. False if the server is gone. */
bool link_ask(struct link *link, const struct wire_request *request, struct wire_reply *ret_reply);

/* Send what has no reply. False if the server is gone. */
bool link_tell(struct link *link, const struct wire_request *request, size_t size);

#endif
