/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Graphs: work with dependencies, and what a graph becomes when it is instantiated.
 *
 * All functions need the driver lock.
 */
#ifndef SIMGPU_DRIVER_GRAPH_H
#define SIMGPU_DRIVER_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda.h>

#include "handle.h"
#include "stream.h"
#include "work.h"

/* Marks of a walk along the dependencies. */
enum node_mark { NODE_NEW, NODE_OPEN, NODE_DONE };

struct branches;
struct conditional;
struct graph_memory;

struct CUgraphNode_st {
	struct handle handle;
	CUgraph graph;
	CUgraphNodeType type;
	struct work *work;           /* owned; of a type that does something; else NULL */
	CUevent event;               /* waited for, holds a reference; or NULL */
	CUgraph child;               /* owned; or NULL */
	struct branches *branches;   /* owned; of a conditional node; else NULL */
	struct graph_memory *memory; /* that it allocates or frees, holds a reference; or NULL */
	struct node_list deps;
	CUgraphNode original; /* that it is a clone of; or NULL */
	enum node_mark mark;
	uint32_t scratch; /* of whoever walks the graph */
};

struct CUgraph_st {
	struct handle handle;
	struct node_list nodes;           /* in the order in which they were added */
	CUgraph original;                 /* that it is a clone of; or NULL */
	CUgraphNode parent;               /* whose child graph or body it is; or NULL */
	struct conditional *conditionals; /* handles that were made for it */
	bool is_lost;                     /* takes no more nodes */
};

/* Adds `node` unless it is there. Returns false when memory is out. */
bool node_list_add(struct node_list *list, CUgraphNode node);
bool node_list_copy(struct node_list *list, const struct node_list *from);
void node_list_remove(struct node_list *list, CUgraphNode node);

/* Returns an empty graph, or NULL when memory is out. */
CUgraph graph_create(void);

/* Ends a graph with its nodes; NULL is allowed. */
void graph_destroy(CUgraph graph);

/* Adds a node without work to `graph`.
 * deps     of the same graph
 * Returns  CUDA_ERROR_INVALID_VALUE for others, CUDA_ERROR_NOT_SUPPORTED for a node that no body of
 * a conditional node takes
 */
CUresult graph_add_node(CUgraph graph, CUgraphNodeType type, const CUgraphNode *deps, size_t count,
	CUgraphNode *ret_node);

/* Returns whether it has nodes that allocate or free memory: it cannot be cloned then, nor lose
 * nodes. */
bool graph_has_memory(CUgraph graph);

/* Takes a node and all edges to it out of its graph. */
void graph_remove_node(CUgraphNode node);

/* Returns a copy of `graph`, or NULL when memory is out. */
CUgraph graph_clone(CUgraph graph);

/* Returns the type of node that does `work`. */
CUgraphNodeType graph_type_of(const struct work *work);

/* Calls `visit` for each node after those that it depends on.
 * Returns  what a visit that fails returns; CUDA_ERROR_INVALID_VALUE if the graph has a cycle
 */
CUresult graph_walk(CUgraph graph, CUresult (*visit)(CUgraphNode node, void *arg), void *arg);

#endif
