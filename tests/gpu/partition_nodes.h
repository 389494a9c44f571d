/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Where nodes run that a program puts into graphs.
 */
#ifndef GPU_PARTITION_NODES_H
#define GPU_PARTITION_NODES_H

#include "probe.h"

/* What cuda.h says and what it leaves open, with a green context beside the primary one, which is
 * current: nodes that name it, nodes that its stream captures into the graph, and what becomes of
 * them when their parameters are set; bodies of conditional nodes that it fills, where handle and
 * node name it, where neither does, and where the node alone does. */
void nodes_tell_green(CUgreenCtx green);

/* Nodes as programs make them; to be run in a slice, too. */
void nodes_tell_own(void);

#endif
