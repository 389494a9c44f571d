/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "hooks/settle.h"
#include "hooks/graph_memory.h"
#include "hooks/pending_frees.h"
#include "hooks/pools.h"

void settle_what_came_back(unsigned device)
{
	pending_frees_collect(device);
	pools_settle(device);
	graph_memory_settle(device);
}
