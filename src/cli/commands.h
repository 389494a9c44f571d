/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The subcommands of `cuslice`, one file each.
 */
#ifndef CUSLICE_CLI_COMMANDS_H
#define CUSLICE_CLI_COMMANDS_H

/* Statuses of a program that runs another, as env, nice, timeout and docker use them. */
enum {
	EXIT_OWN_ERROR = 125,
	EXIT_CANNOT_RUN = 126,
	EXIT_NOT_FOUND = 127,
};

/* `argv[0]` is the name to show ("cuslice run"), the rest the command's own arguments. Each returns
 * the exit status; command_run() does not return where the program was started. */
int command_run(int argc, char *argv[]);
int command_explain(int argc, char *argv[]);

#endif
