/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The folder of the policy: reading it, seeing that it has changed, and whether it may loosen what
 * it has said before.
 */
#ifndef CUSLICE_CONFIG_CONFIG_POLICY_H
#define CUSLICE_CONFIG_CONFIG_POLICY_H

#include "config/config.h"

/* Adds what all files of the folder say, in the order of their names. `folder` has to stay. */
void config_policy_read(struct config *config, const char *folder);

/* Reads the policy again: ret_config gets what it says now, with its problems alone, and of
 * `before` all that others said. Nothing of the process's own (group, on_error, log, disable)
 * changes. Threads  none of its own; reads no environment. Keeps errno.
 */
void config_policy_read_again(const struct config *before, struct config *ret_config);

/* A number that changes when the folder or one of the files that `config` has of it does. Two
 * system calls for a folder with one file. */
uint64_t config_policy_print(const struct config *config);
/* The same of the folder alone: another one after it was replaced, or a name in it. */
uint64_t config_policy_folder_print(const struct config *config);

/* True where this process cannot have written the policy: its file system is mounted read-only, or
 * the folder and the files belong to the machine's root and nobody else may write to them. In a
 * user namespace owners prove nothing. Of a folder that is not there, the one above it. */
bool config_policy_is_trusted(const struct config *config) MUST_CHECK;

#endif
