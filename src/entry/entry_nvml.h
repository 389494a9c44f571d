/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * How programs come to the hooks of NVML: by linked symbols and by dlsym, as with the driver. It
 * has no start of its own. The first lookup or linked call of a hooked function reads the settings,
 * if the start of entry.h has not done so; where they limit no memory, NVML's own function is the
 * answer.
 */
#ifndef CUSLICE_ENTRY_ENTRY_NVML_H
#define CUSLICE_ENTRY_ENTRY_NVML_H

#include "config/config.h"

#include <stdbool.h>

/* True for the name of a row of nvml_hooks.def. */
bool entry_nvml_is_hooked(const char *name);

/* What a lookup of `name` is to give, for which the real one gave `address`. Threads: any; asks the
 * loader. */
void *entry_nvml_route(void *address, const char *name);

/* Where a linked call of the row is to go; never NULL. Threads: as above. */
void *entry_nvml_start_linked(unsigned row);

/* The settings: those of the start, or as they are read now for a process that has not used CUDA
 * yet. Threads: any. NULL to a thread that comes back from inside the reading. */
const struct config *entry_nvml_config(void);

#endif
