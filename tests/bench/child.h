/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The processes that are measured: this program again, in a mode of its own and in the
 * environment of a setup.
 */
#ifndef CUSLICE_BENCH_CHILD_H
#define CUSLICE_BENCH_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

#include "rows.h"

struct child {
	pid_t pid;
	int fd; /* our end of the socket; 0 where there is no child */
};

/* One for each setup. Bare has nothing of ours; all else is as this process has it. */
struct environments {
	char **of[SETUP_COUNT];
};

/* `library` is what is preloaded, `group` the folder of SETUP_GROUP. `is_real` leaves the search
 * for libcuda as it is; otherwise simgpu's null mode is used. False having said what is missing.
 * Lives as long as the process. */
bool environments_make(const char *library, const char *group, bool is_real,
	struct environments *ret_environments);

/* Keeps this process and all children that follow on the core it runs on: two that run in turn have
 * no use for a second one, and cores that others use as well are not alike. */
void children_share_core(void);

/* Starts this program with the one argument `mode`, the socket as CHILD_FD. False having said why
 * it cannot be. */
bool child_start(const char *mode, char **environment, struct child *ret_child);

/* Closes the socket and waits. False where the child did not exit with 0. */
bool child_end(struct child *child);

#endif
