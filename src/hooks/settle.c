/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "hooks/settle.h"
#include "hooks/graph_memory.h"
#include "hooks/pending_frees.h"
#include "hooks/pools.h"
#include "ledger/ledger.h"

uint64_t settle_what_came_back(unsigned device)
{
	(void)pending_frees_collect(device);
	pools_settle(device);
	graph_memory_settle(device);
	return ledger_leaving(device);
}
