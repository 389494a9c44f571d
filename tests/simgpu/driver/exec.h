/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Executable graphs: a graph made flat, in an order in which it can be submitted.
 *
 * All functions need the driver lock.
 */
#ifndef SIMGPU_DRIVER_EXEC_H
#define SIMGPU_DRIVER_EXEC_H

#include <stdbool.h>
#include <stdint.h>

#include <cuda.h>

#include "handle.h"

struct graph_memory;
struct work;

/* A node; those of child graphs stand among the others, and each child graph ends in a node of its
 * own without work. */
struct exec_node {
	CUgraphNode source;
	CUgraphNodeType type;
	struct work *work;           /* owned; of nodes that only join: empty work */
	CUevent event;               /* waited for, holds a reference; or NULL */
	struct graph_memory *memory; /* allocated or freed, holds a reference; or NULL */
	uint32_t *deps;              /* indices of earlier nodes */
	uint32_t dep_count;
	bool is_leaf;
	bool is_enabled;
	uint64_t seq; /* of the launch that is being submitted */
};

struct CUgraphExec_st {
	struct handle handle;
	unsigned long long flags;
	struct exec_node *nodes;
	uint32_t count, room;
	bool has_claimed; /* the memory that its nodes allocate */
	uint64_t last;    /* operation of the last launch: launches of one exec follow each other */
};

/* Makes `graph` executable. The graph itself may change or end afterwards. */
CUresult exec_create(CUgraph graph, unsigned long long flags, CUgraphExec *ret_exec);
void exec_destroy(CUgraphExec exec);

/* Returns the node that was made of `source`, or NULL. */
struct exec_node *exec_find(CUgraphExec exec, CUgraphNode source);

/* Submits all nodes in `stream`, which is resolved and not being captured. */
CUresult exec_launch(CUgraphExec exec, CUstream stream);

/* Takes the work over from `graph` if it has the same shape. */
CUresult exec_update(CUgraphExec exec, CUgraph graph, CUgraphExecUpdateResultInfo *ret_info);

/* The same for the child graph that was made of `source`, as far as the types of nodes tell. */
CUresult exec_update_child(CUgraphExec exec, CUgraphNode source, CUgraph child);

#endif
