/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A short life with a GPU, the same for every kind of client.
 */
#ifndef CUSLICE_TESTS_PRELOAD_SCENARIO_H
#define CUSLICE_TESTS_PRELOAD_SCENARIO_H

#include "client.h"

/* Initialises, allocates little and much of every kind, copies, launches, frees, and says what the
 * driver answered to each. What it tries of 96 MiB is refused under a quota of 64 MiB, all else is
 * granted. Returns the exit status. */
int scenario(const struct functions *cu);

#endif
