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

struct conditional;
struct graph_memory;
struct work;

/* A body of a conditional node. */
struct exec_body {
	uint32_t outer;                  /* number of the body that the node is in, or 0 */
	struct conditional *conditional; /* holds a reference */
	CUgraphNode source;              /* the node */
	CUgraphConditionalNodeType type;
	unsigned index, size; /* among the bodies of the node */
	unsigned value;       /* of the condition, at each launch */
};

/* A node; those of child graphs and of bodies stand among the others, and each child graph and each
 * conditional node ends in a node of its own without work. */
struct exec_node {
	CUgraphNode source;
	CUgraphNodeType type;
	struct work *work;           /* owned; of nodes that only join: empty work */
	CUevent event;               /* waited for, holds a reference; or NULL */
	struct graph_memory *memory; /* allocated or freed, holds a reference; or NULL */
	uint32_t *deps;              /* indices of earlier nodes */
	uint32_t dep_count;
	uint32_t body; /* number of the body that it is in, from 1; or 0 */
	bool is_leaf;
	bool is_enabled;
	uint64_t seq; /* of the launch that is being submitted */
};

struct CUgraphExec_st {
	struct handle handle;
	unsigned long long flags;
	struct exec_node *nodes;
	uint32_t count, room;
	struct exec_body *bodies; /* number n is the n-th; an outer one stands before those in it */
	uint32_t body_count;
	bool has_claimed;      /* the memory that its nodes allocate */
	bool has_conditionals; /* it is their only executable graph */
	uint64_t last; /* operation of the last launch: launches of one exec follow each other */
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
