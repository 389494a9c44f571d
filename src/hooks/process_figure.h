/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The driver's own figure of what this process holds on a device, as NVML tells it by process.
 *
 * NVML tells processes by their pids in the host's PID namespace, or in ours: a container may not
 * know its own host pid. So an entry with our pid counts only where the list is seen to speak of
 * our namespace. Elsewhere we are the one process that came to the list while we made a context.
 * Where neither tells, the figure is not known.
 */
#ifndef CUSLICE_HOOKS_PROCESS_FIGURE_H
#define CUSLICE_HOOKS_PROCESS_FIGURE_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

/* Makes the state, empty; a forked child finds its own empty. At the start, once. False without
 * memory. */
bool process_figure_init(void) MUST_CHECK;

/* Loads NVML where that was not tried yet. False where there is none, or where another thread is
 * just loading it.
 * Threads: any, as for all that follow; those that come before it was tried hold no lock, for
 * that asks the loader. It costs milliseconds, as does each call of those that follow. All keep
 * errno. */
bool process_figure_is_there(void);

/* True once NVML was tried and is not to be had. */
bool process_figure_is_absent(void);

/* Bytes that this process holds on `device`; 0 where it holds no context there. False where that
 * is not known. */
bool process_figure_read(unsigned device, uint64_t *ret_bytes) MUST_CHECK;

/* Whether the driver's list has an entry of this process, even one of no bytes. */
bool process_figure_is_listed(unsigned device);

/* Bytes that are free on `device`, for a thread without a context there. */
bool process_figure_read_free(unsigned device, uint64_t *ret_bytes) MUST_CHECK;

/* Around the making of a context: whoever came to the list is us, if one did. */
#define PROCESS_FIGURE_MAX_WATCHED 64
struct process_watch {
	bool is_watching;
	unsigned device, count;
	unsigned pids[PROCESS_FIGURE_MAX_WATCHED];
};
void process_figure_watch(unsigned device, struct process_watch *ret_watch);
void process_figure_learn(const struct process_watch *watch);

#endif
