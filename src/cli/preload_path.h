/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Where libcuslice.so lies, and LD_PRELOAD with it in front.
 */
#ifndef CUSLICE_CLI_PRELOAD_PATH_H
#define CUSLICE_CLI_PRELOAD_PATH_H

/* The library that belongs to this program: in its own installation, in its build folder, or where
 * it was configured to be installed. Returns a malloc'ed absolute path, or NULL having printed what
 * was tried. */
char *preload_path_find(void);

/* Puts `path` in front of LD_PRELOAD, keeping what stands there; once is enough. Returns 0, or -1
 * having printed why it cannot be. */
int preload_path_set(const char *path);

#endif
