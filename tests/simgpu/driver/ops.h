/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Operations of this process: gives them to the server, and when they have ended there applies
 * their effects, in the order of the completion ring, in one thread of the driver.
 *
 * An operation is known by its sequence number; 0 stands for none and has always ended.
 */
#ifndef SIMGPU_DRIVER_OPS_H
#define SIMGPU_DRIVER_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include <cuda.h>

#include "../wire.h"

struct work;

/* The operations that another one waits for. Zeroed memory is an empty list. */
struct deps {
	uint64_t *seqs;
	uint32_t count, room;
};

/* Starts the effects thread. Needs an open client. */
bool ops_start(void);

/* Adds `seq` unless it has ended or is there. Returns false when memory is out. */
bool deps_add(struct deps *deps, uint64_t seq);

/* Adds all of `from`; the same. */
bool deps_add_all(struct deps *deps, const struct deps *from);

/* Frees what the list holds and empties it. */
void deps_clear(struct deps *deps);

/* Submits an operation that waits for `deps`.
 * op       kind, context, priority and the numbers of the kind are set; seq and deps are not
 * work     applied when the operation has ended; the operation holds a reference of its own;
 *          NULL: nothing is to be done
 * Returns  its number, or 0 when memory is out or the server is gone
 * Threads  the caller holds the driver lock, which gives operations their order
 */
uint64_t ops_submit(const struct wire_op *op, const struct deps *deps, struct work *work);

/* Returns whether the operation has ended and its effects are there. */
bool ops_has_ended(uint64_t seq);

/* Waits until then. The caller does not hold the driver lock.
 * Returns  CUDA_ERROR_DEVICE_UNAVAILABLE when the server has gone
 */
CUresult ops_wait(uint64_t seq);
CUresult ops_wait_all(const struct deps *deps);

#endif
