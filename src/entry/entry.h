/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * How programs come to our hooks. Three ways in, one start:
 * - linked: the exported symbol jumps through entry_slots[]; a slot first leads to the start.
 * - dlsym, dlvsym: the real one answers first, then entry_route() looks at the address it gave.
 * - cuGetProcAddress: the same, from its hook (hooks/hooks_lookup.c).
 *
 * The start (once, at the first of these that concerns a libcuda) reads the settings, fills the
 * driver table and decides which rows are routed. It calls nothing in the driver but
 * cuGetProcAddress, makes no thread and opens no file but those of the settings; a process that
 * never uses CUDA never comes here.
 */
#ifndef CUSLICE_ENTRY_ENTRY_H
#define CUSLICE_ENTRY_ENTRY_H

#include "config/config.h"
#include "driver/driver.h"
#include "driver/nvml.h"
#include "group/group.h"

#include <stdbool.h>

/* Where the exported symbols jump to: the driver's function, our body, or the start. The rows of
 * hooks.def come first, those of nvml_hooks.def after them. */
extern void *entry_slots[HOOK_COUNT + NVML_HOOK_COUNT] __attribute__((visibility("hidden")));

/* The hook for a driver function's address, or `address` itself where nothing of ours belongs
 * there: not a libcuda, another instance of it, not hooked, feature off. NULL gives NULL.
 * Threads: any. Keeps dlerror() as the program left it.
 */
void *entry_route(void *address);

/* True once the start has been made. Threads: any. */
bool entry_is_started(void);

/* The features that are routed, FEATURE_*; 0 before the start. Threads: any. */
unsigned entry_features(void);

/* The settings as read at the start; empty before. Threads: any, read only. */
const struct config *entry_config(void);

/* The group that this process is to join at cuInit; of kind GROUP_NONE where it is for itself.
 * Threads: any, read only. */
const struct group_identity *entry_group(void);

#endif
