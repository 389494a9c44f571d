/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * One INI file: opened with distrust, parsed by inih, its values and problems added to a config.
 */
#ifndef CUSLICE_CONFIG_CONFIG_FILE_H
#define CUSLICE_CONFIG_CONFIG_FILE_H

#include "config/config.h"

/* Longer lines and files are no settings. */
#define CONFIG_LONGEST_LINE 190
#define CONFIG_LONGEST_FILE (1 << 20)

/* Reads `path` and notes it in config->files.
 * may_be_absent  without it, a file that is not there (or behind a folder that this user may not
 *                enter) is a problem
 * Threads        none of its own
 */
void config_file_read(
	struct config *config, enum config_source source, const char *path, bool may_be_absent);

#endif
