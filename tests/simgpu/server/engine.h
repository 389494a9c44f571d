/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The simulated machine as a pure calculation: processes, contexts, operations and devices over
 * time. Nothing here makes a system call. Time is an argument, in nanoseconds, and never runs
 * backwards; every operation ends exactly when the model says, however rarely the engine is called.
 *
 * Threads: one at a time.
 */
#ifndef SIMGPU_ENGINE_H
#define SIMGPU_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "../wire.h"
#include "lane.h"

struct engine;
struct engine_process;

/* Called once for each operation that ends, in the order of the ends, with the `owner` of its
 * process. It must not call the engine.
 * sms  on which its blocks ran, for kernels that asked for it; else NULL */
typedef void engine_end_fn(
	void *owner, const struct wire_ring_entry *entry, const struct sm_set *sms);

struct engine_usage {
	uint64_t gpu_time_ns; /* time in which at least one block of the process ran */
	uint64_t kernels;     /* that ended */
};

/* An engine without devices; destroy takes its processes with it. */
struct engine *engine_create(engine_end_fn *on_end);
void engine_destroy(struct engine *engine);

/* Adds the next device, the first being 0; WIRE_MAX_DEVICES at most, before any process. */
void engine_add_device(struct engine *engine, uint32_t sm_count);

/* All processes have the devices at the same time from now on, as under MPS: before any process. */
void engine_share(struct engine *engine);

/* How long a process has a device while others wait (at least 1), and what the change costs. */
void engine_set_slices(struct engine *engine, uint64_t slice_ns, uint64_t switch_ns);

struct engine_process *engine_process_create(struct engine *engine, void *owner);

/* Ends a process: what it runs stops at `now_ns`, and nothing of it is reported any more. */
void engine_process_destroy(struct engine *engine, struct engine_process *process, uint64_t now_ns);

/* Operations that were submitted and have not ended. */
size_t engine_process_pending(const struct engine_process *process);

/* As of the time to which the engine was last advanced. */
struct engine_usage engine_process_usage(const struct engine_process *process, uint32_t device);
/* The SMs on which any block of the process ran, or NULL if it never had a context there. */
const struct sm_set *engine_process_sms(const struct engine_process *process, uint32_t device);
uint64_t engine_busy_ns(const struct engine *engine, uint32_t device);

/* A context of the process on a device that exists. Returns its id, never 0, or 0 when the process
 * has ENGINE_MAX_CONTEXTS already. Ids are not used again soon. */
#define ENGINE_MAX_CONTEXTS 4096
uint32_t engine_context_create(struct engine_process *process, uint32_t device);

/* The same for a context whose kernels use only SMs of `sms` (NULL: all), and of those at most
 * `sm_limit` at a time (0: no limit). 0 if no SM of the device is among them, too. */
uint32_t engine_partition_create(struct engine_process *process, uint32_t device,
	const struct sm_set *sms, uint32_t sm_limit);

/* The device of a context, -1 if there is no such context. */
int engine_context_device(const struct engine_process *process, uint32_t context);

/* Whether it was made with `sms`. */
bool engine_context_is_partition(const struct engine_process *process, uint32_t context);

/* Drops what is queued or runs in a context, without reporting it, and the context. */
void engine_context_destroy(
	struct engine *engine, struct engine_process *process, uint32_t context, uint64_t now_ns);

/* Adds an operation that arrives at `now_ns`.
 * Returns false, with nothing changed, if its context does not exist, its seq is not above all
 * earlier ones, its kind is unknown, it has too many dependencies, or it is a kernel with a
 * blocks_per_sm of 0 (more than LANE_MAX_BLOCKS_PER_SM counts as that many). */
bool engine_submit(struct engine *engine, struct engine_process *process, const struct wire_op *op,
	uint64_t now_ns);

/* Ends everything that ends until `now_ns`. */
void engine_advance(struct engine *engine, uint64_t now_ns);

/* When the engine wants to be advanced next: nothing ends before. NEVER_NS if nothing runs. */
uint64_t engine_next(const struct engine *engine);

/* Whether no operation is pending in any process. */
bool engine_is_idle(const struct engine *engine);

#endif
