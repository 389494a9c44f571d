/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Starting the server of a machine in a process of its own, for `simgpu run` and `simgpu start`.
 */
#ifndef SIMGPU_LAUNCH_H
#define SIMGPU_LAUNCH_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

/* Exit status of the command itself where it fails, apart from that of the program that it runs. */
#define EXIT_SIMGPU 125

#define LAUNCH_MAX_ARGS 512

struct launch {
	char dir[PATH_MAX]; /* absolute; empty: to be made */
	bool is_temporary;  /* the directory was made, and goes with the server */
	bool is_detached;   /* the server outlives this process */
	int arg_count;
	const char *args[LAUNCH_MAX_ARGS]; /* -s and --file with their values, for the server */
};

/* Reads the options of a machine, up to the first word that is none, whose index is `ret_rest`.
 * Returns false, with a message, for anything else. */
bool launch_read_options(int argc, char **argv, struct launch *ret_launch, int *ret_rest);

/* Makes the directory (a temporary one if none is named), starts a server there, without
 * LD_PRELOAD, and waits until it accepts. Returns its pid, or -1 after a message. */
pid_t launch_server(struct launch *launch);

#endif
