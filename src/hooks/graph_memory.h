/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Memory that nodes of graphs allocate. The driver takes it at the first launch or upload and keeps
 * it, in a pool of the device for all graphs, which is charged what it has taken
 * (CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT). Before a launch that may make it grow, what the graph
 * allocates is reserved.
 *
 * Nothing is looked at before the process has made its first such node.
 */
#ifndef CUSLICE_HOOKS_GRAPH_MEMORY_H
#define CUSLICE_HOOKS_GRAPH_MEMORY_H

#include "driver/cuda_api.h"
#include "hooks/charge.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define GRAPH_CALL_DEVICES                                                     \
	4 /* of one graph whose growth is reserved; others' is seen afterwards \
	   */

/* A launch or upload on its way. */
struct graph_call {
	unsigned count;
	struct charge charges[GRAPH_CALL_DEVICES];
};

/* Makes the books, empty; a forked child finds its own empty. At the start, once. False without
 * memory. */
bool graph_memory_init(void) MUST_CHECK;

/* The program makes a node that allocates, or captures one. Threads: any, as for all that follow.
 */
void graph_memory_note_node(void);

extern _Atomic bool *graph_memory_used __attribute__((visibility("hidden")));

static inline bool graph_memory_is_used(void)
{
	return atomic_load_explicit(graph_memory_used, memory_order_relaxed);
}

/* `exec` was made of `graph`, or is gone. */
void graph_memory_add(CUgraphExec exec, CUgraph graph);
void graph_memory_remove(CUgraphExec exec);

/* Reserves what the launch of `exec` may take.
 * stream    with CU_STREAM_PER_THREAD in place of a per-thread default stream
 * ret_call  to be ended, whatever the driver answers, if true is returned
 * Returns   false where the quota has no room
 */
bool graph_memory_begin(CUgraphExec exec, CUstream stream, struct graph_call *ret_call) MUST_CHECK;
void graph_memory_end(struct graph_call *call, CUgraphExec exec, CUresult res);

/* The program has trimmed the pool of the device. */
void graph_memory_trimmed(CUdevice device);

/* Makes the charge what the pool of the device has, the second after it gave back what no graph
 * uses. Returns whether anything came back. */
void graph_memory_settle(unsigned device);
bool graph_memory_trim(unsigned device);

#endif
