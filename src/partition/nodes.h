/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Nodes that a program puts into graphs itself, as work of its device's partition. What is captured
 * belongs to the stream that captures, so it is in the partition already. Of the others
 *   copies, memsets, kernels of no context (CUkernel)
 *           run in the context that their parameters name: the partition's is named
 *   kernels of a context (CUfunction)
 *           run there, whatever their parameters name: they are captured into the program's graph,
 *           by a stream of the partition
 * What the driver takes in neither way is made as the program asked, outside, and the share is kept
 * by time from then on. Internal to the partition.
 */
#ifndef CUSLICE_PARTITION_NODES_H
#define CUSLICE_PARTITION_NODES_H

#include "base/compiler.h"
#include "base/lock.h"
#include "driver/driver.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Of one partition. */
struct nodes {
	struct lock lock;          /* of what captures, and of who begins a call below */
	CUstream stream;           /* captures */
	_Atomic uint64_t captures; /* so far */
	_Atomic unsigned calls;    /* about the whole context, that are in the driver */
	uint64_t last_call_ns;     /* when the last of them began */
	_Atomic bool get_out; /* what the program puts into graphs does not stay in the partition */
	/* Nor may conditional nodes name it: all nodes are left as they are. */
	_Atomic bool no_bodies;
};

/* Where a kernel node is to be added. */
struct place {
	CUgraphNode *ret_node;
	CUgraph graph;
	const CUgraphNode *dependencies;
	const CUgraphEdgeData *edges; /* or NULL */
	size_t count;
};

struct lanes;

/* Adds a node of the kernel params->func, in the partition `lanes`, in whose context this is done.
 * Where it cannot be the graph is as it was, unless the driver loses it with a launch that it
 * refuses: to be tried on another graph first. */
CUresult nodes_capture(struct lanes *lanes, const struct place *place,
	const CUDA_KERNEL_NODE_PARAMS_v3 *params) MUST_CHECK;

#endif
