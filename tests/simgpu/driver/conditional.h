/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Conditional handles, and the bodies of the nodes that they decide for. No kernel sets a handle
 * here: its value is known at each launch.
 *
 * All functions but graph_add_conditional() need the driver lock.
 */
#ifndef SIMGPU_DRIVER_CONDITIONAL_H
#define SIMGPU_DRIVER_CONDITIONAL_H

#include <stdbool.h>
#include <stdint.h>

#include <cuda.h>

#include "handle.h"

struct work;

/* What a CUgraphConditionalHandle points to. */
struct conditional {
	struct handle handle;
	uint32_t refs;       /* of its graph, and of executable graphs */
	CUgraph graph;       /* for which it was made */
	CUcontext ctx;       /* of the handle, its node and all in the bodies */
	unsigned value;      /* at each launch */
	uint32_t node_count; /* that it decides for */
	bool is_instantiated;
	struct conditional *next; /* of the same graph */
};

/* What a conditional node has in place of work. */
struct branches {
	struct conditional *conditional;
	CUgraphConditionalNodeType type;
	unsigned size;
	CUgraph *bodies; /* owned, `size` of them */
};

void conditional_ref(struct conditional *conditional);
void conditional_unref(struct conditional *conditional);

/* Ends the handles that were made for `graph`. */
void conditional_end_all(CUgraph graph);

/* Ends the bodies; NULL is allowed. */
void branches_destroy(struct branches *branches);

/* Returns whether a node of `type` may be added to `graph`: bodies of conditional nodes, and child
 * graphs in them, take only some. */
bool conditional_allows(CUgraph graph, CUgraphNodeType type);

/* The same for all nodes of `child` and its child graphs. */
bool conditional_allows_all(CUgraph graph, CUgraph child);

/* Returns whether the graph has conditional nodes: it cannot be cloned then. */
bool graph_has_conditionals(CUgraph graph);

/* Returns whether a handle of the graph, or of a body in it, decides for no node. */
bool graph_has_unused_handle(CUgraph graph);

/* Returns whether `work` runs in the context of `conditional`, as all in its bodies must. */
bool conditional_fits(const struct conditional *conditional, const struct work *work);

/* Adds a conditional node with empty bodies, which are given back in params->phGraph_out. */
CUresult graph_add_conditional(CUgraph graph, const CUgraphNode *deps, size_t count,
	CUDA_CONDITIONAL_NODE_PARAMS *params, CUgraphNode *ret_node);

#endif
