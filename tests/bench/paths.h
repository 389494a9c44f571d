/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Where the other parts of a build folder lie, seen from the program that runs.
 */
#ifndef CUSLICE_BENCH_PATHS_H
#define CUSLICE_BENCH_PATHS_H

#include <limits.h>
#include <stdbool.h>

/* Absolute paths. False where the program's own cannot be read or the name is too long; that a
 * file is there is not looked at. */
bool paths_of_program(char ret_path[PATH_MAX]);
bool paths_of_library(char ret_path[PATH_MAX]); /* lib/libcuslice.so */
bool paths_of_linked(char ret_path[PATH_MAX]);  /* the caller that is linked with libcuda */
bool paths_of_simgpu(char ret_path[PATH_MAX]);  /* the directory of simgpu's libcuda.so.1 */

#endif
