/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The commands of simgpu. Each takes its own argument vector, its name first, and returns the exit
 * status of the program.
 */
#ifndef SIMGPU_COMMAND_H
#define SIMGPU_COMMAND_H

#include <stdbool.h>

#include "control.h"

/* Those that make a machine (run.c). */
int command_run(int argc, char **argv);
int command_start(int argc, char **argv);

/* The server itself, in the foreground; run and start execute it (main.c). */
int command_serve(int argc, char **argv);

/* Those that talk to one (command.c, report.c, watch.c). */
int command_stop(int argc, char **argv);
int command_set(int argc, char **argv);
int command_fail(int argc, char **argv);
int command_wait_idle(int argc, char **argv);
int command_account(int argc, char **argv);
int command_watch(int argc, char **argv);

/* Reads the options of a command that talks to a machine: --dir, $SIMGPU_DIR being the default, and
 * where `ret_json` is not NULL also --json. Returns a connection and the index of the first word
 * that is no option, or -1 after a message. The caller closes it. */
int command_connect(int argc, char **argv, int *ret_rest, bool *ret_json);

/* Connects to the machine in `dir`. Returns -1 after a message. */
int command_connect_to(const char *dir);

/* One request and its reply. Returns false after a message if the server is gone or refuses. */
bool command_ask(int fd, const struct control_request *request, struct control_reply *ret_reply);

/* Says that the arguments are not understood; returns the exit status for it. */
int command_usage(const char *arguments);

#endif
