/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A machine in virtual time.
 */
#include "test_virtual.h"

#include "alloc.h"

static void record(void *owner, const struct wire_ring_entry *entry, const struct sm_set *sms)
{
	struct virtual_process *process = owner;
	process->ended_order[process->ended_count++] = entry->seq;
	process->has_ended[entry->seq] = true;
	process->ended[entry->seq] = *entry;
	process->told_sms = sms != NULL;
	if (sms)
		process->sms = *sms;
}

struct engine *virtual_engine(uint32_t sm_count)
{
	struct engine *engine = engine_create(record);
	engine_add_device(engine, sm_count);
	return engine;
}

struct virtual_process *virtual_process(struct engine *engine)
{
	struct virtual_process *process = alloc_zeroed(sizeof(*process));
	process->engine_process = engine_process_create(engine, process);
	process->context = engine_context_create(process->engine_process, 0);
	return process;
}

uint64_t virtual_submit(struct engine *engine, struct virtual_process *process, uint64_t now_ns,
	struct wire_op op, uint64_t dep)
{
	op.seq = ++process->last_seq;
	if (!op.context)
		op.context = process->context;
	if (dep)
		op.deps[op.dep_count++] = dep;
	if (!engine_submit(engine, process->engine_process, &op, now_ns))
		return 0;
	return op.seq;
}

uint64_t virtual_kernel(struct engine *engine, struct virtual_process *process, uint64_t now_ns,
	uint64_t blocks, uint64_t block_ns, uint64_t dep)
{
	const struct wire_op op = {.kind = WIRE_OP_KERNEL,
		.blocks = blocks,
		.blocks_per_sm = 1,
		.duration_ns = block_ns};
	return virtual_submit(engine, process, now_ns, op, dep);
}
