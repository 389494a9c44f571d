/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "hooks/settle.h"
#include "hooks/graph_memory.h"
#include "hooks/pending_frees.h"
#include "hooks/pools.h"

uint64_t settle_what_came_back(unsigned device)
{
	uint64_t pending_bytes = pending_frees_collect(device);

	pools_settle(device);
	graph_memory_settle(device);
	return pending_bytes;
}
