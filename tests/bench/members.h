/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The other processes of a group: they hold some memory, and do nothing while one is measured.
 */
#ifndef CUSLICE_BENCH_MEMBERS_H
#define CUSLICE_BENCH_MEMBERS_H

#include <limits.h>
#include <stdbool.h>

#include "child.h"

#define MEMBERS_COUNT 63 /* with the one that is measured a group is full */

struct members {
	struct child all[MEMBERS_COUNT];
	unsigned count; /* that were started */
};

/* Makes a folder of our own for a group. False having said why there is none. */
bool members_make_folder(char ret_folder[PATH_MAX]);

/* Takes it away, with the segment that the processes have made there. */
void members_remove_folder(const char *folder);

/* Starts all, unless they were, and waits until each has its memory. False having said what went
 * wrong. */
bool members_start(struct members *members, char **environment);

/* False where one did not end well. */
bool members_end(struct members *members);

/* The mode in which this program is a member; returns the exit status. */
#define MODE_MEMBER "--member"
int members_main(void);

#endif
