/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Operations of processes over time: what depends on what, what is ready, what has ended.
 */
#include "engine.h"

#include <assert.h>
#include <stdlib.h>

#include "alloc.h"
#include "device.h"
#include "heap.h"
#include "op.h"

/* Longer operations are cut to this (two years): sums of times must not overflow. */
#define MAX_DURATION_NS (UINT64_C(1) << 56)

#define CONTEXT_SLOT_BITS 12
static_assert(ENGINE_MAX_CONTEXTS == 1 << CONTEXT_SLOT_BITS, "ids hold a slot and a serial number");

/* SMs at the end of a device that kernels of partitions share where a leak lets them. */
#define EXTRA_SMS 2

struct context {
	uint32_t id; /* 0: free. The slot in the low bits, a serial number above. */
	uint32_t device;
	bool is_partition;
	struct domain *domain;   /* its own, owned; NULL: the lane's, of all SMs */
	struct domain *extended; /* the same with the extra SMs, made when it is needed */
};

/* What a process has of a device. */
struct use {
	struct lane *lane; /* its own, or that of all where they share the device */
	struct lane_user user;
};

struct engine_process {
	struct engine_process *next, **link;
	void *owner;
	uint64_t last_seq;
	struct op_table ops;
	struct use *uses[WIRE_MAX_DEVICES]; /* made with the first context on the device */
	struct context *contexts;
	uint32_t context_slots;
	uint32_t context_serial;
	struct engine *engine;
};

struct engine {
	engine_end_fn *on_end;
	uint64_t now_ns;
	uint64_t arrivals;
	uint64_t pending; /* operations of all processes */
	uint32_t lane_ids;
	uint32_t device_count;
	struct device devices[WIRE_MAX_DEVICES];
	bool is_shared;
	struct lane *shared[WIRE_MAX_DEVICES]; /* of all processes, where they share */
	struct heap copies;                    /* struct op, by the time of their end */
	struct op *ready_first, *ready_last;
	struct engine_process *processes;
};

static bool copy_before(const void *a, const void *b)
{
	const struct op *left = a, *right = b;
	if (left->end_ns != right->end_ns)
		return left->end_ns < right->end_ns;
	return left->arrival < right->arrival;
}

struct engine *engine_create(engine_end_fn *on_end)
{
	struct engine *engine = alloc_zeroed(sizeof(*engine));
	engine->on_end = on_end;
	heap_init(&engine->copies, copy_before);
	return engine;
}

static void free_domain(struct domain *domain)
{
	if (domain)
		domain_finish(domain);
	free(domain);
}

static void free_context(struct context *context)
{
	free_domain(context->domain);
	free_domain(context->extended);
	*context = (struct context){0};
}

static void free_lane(struct lane *lane)
{
	if (lane)
		lane_finish(lane);
	free(lane);
}

static void process_free(struct engine_process *process)
{
	for (uint32_t i = 0; i < WIRE_MAX_DEVICES; i++) {
		if (process->uses[i] && !process->engine->is_shared)
			free_lane(process->uses[i]->lane);
		free(process->uses[i]);
	}
	for (uint32_t slot = 0; slot < process->context_slots; slot++)
		free_context(&process->contexts[slot]);
	*process->link = process->next;
	if (process->next)
		process->next->link = process->link;
	op_table_finish(&process->ops);
	free(process->contexts);
	free(process);
}

void engine_destroy(struct engine *engine)
{
	while (engine->processes)
		process_free(engine->processes);
	for (uint32_t i = 0; i < WIRE_MAX_DEVICES; i++)
		free_lane(engine->shared[i]);
	heap_finish(&engine->copies);
	free(engine);
}

void engine_add_device(struct engine *engine, uint32_t sm_count)
{
	engine->devices[engine->device_count++] = (struct device){
		.sm_count = sm_count,
		.slice_ns = 1000000,
	};
}

void engine_share(struct engine *engine)
{
	engine->is_shared = true;
}

void engine_set_slices(struct engine *engine, uint64_t slice_ns, uint64_t switch_ns)
{
	for (uint32_t i = 0; i < engine->device_count; i++) {
		engine->devices[i].slice_ns = slice_ns;
		engine->devices[i].switch_ns = switch_ns;
	}
}

struct engine_process *engine_process_create(struct engine *engine, void *owner)
{
	struct engine_process *process = alloc_zeroed(sizeof(*process));
	process->owner = owner;
	process->engine = engine;
	op_table_init(&process->ops);
	process->next = engine->processes;
	process->link = &engine->processes;
	if (process->next)
		process->next->link = &process->next;
	engine->processes = process;
	return process;
}

size_t engine_process_pending(const struct engine_process *process)
{
	return process->ops.count;
}

struct engine_usage engine_process_usage(const struct engine_process *process, uint32_t device)
{
	const struct use *use = process->uses[device];
	if (!use)
		return (struct engine_usage){0};
	return (struct engine_usage){lane_user_time(use->lane, &use->user), use->user.kernels};
}

const struct sm_set *engine_process_sms(const struct engine_process *process, uint32_t device)
{
	const struct use *use = process->uses[device];
	return use ? &use->user.ran_on : NULL;
}

uint64_t engine_busy_ns(const struct engine *engine, uint32_t device)
{
	return engine->devices[device].busy_ns;
}

bool engine_is_idle(const struct engine *engine)
{
	return engine->pending == 0;
}

static void settle(struct engine *engine)
{
	for (uint32_t i = 0; i < engine->device_count; i++)
		device_settle(&engine->devices[i]);
}

static void push_ready(struct engine *engine, struct op *op)
{
	op->next_ready = NULL;
	if (engine->ready_last)
		engine->ready_last->next_ready = op;
	else
		engine->ready_first = op;
	engine->ready_last = op;
}

/* Frees an operation that is in no queue and no table any more; who waited for it does so no
 * longer. */
static void release(struct engine *engine, struct op *op)
{
	for (struct edge *edge = op->waiters, *next; edge; edge = next) {
		next = edge->next;
		edge->link = NULL;
		if (--edge->waiter->waits_for == 0)
			push_ready(engine, edge->waiter);
	}
	engine->pending--;
	op_free(op);
}

static void end(struct engine *engine, struct op *op, uint64_t start_ns, uint64_t end_ns)
{
	const struct wire_ring_entry entry = {op->seq, start_ns, end_ns};
	engine->on_end(op->process->owner, &entry, op->kernel.ran_on);
	op_table_remove(&op->process->ops, op);
	release(engine, op);
}

static struct context *find_context(const struct engine_process *process, uint32_t id)
{
	uint32_t slot = id % ENGINE_MAX_CONTEXTS;
	if (id == 0 || slot >= process->context_slots || process->contexts[slot].id != id)
		return NULL;
	return &process->contexts[slot];
}

static struct domain *extend(struct context *context, uint32_t sm_count)
{
	if (context->extended)
		return context->extended;
	struct sm_set sms = context->domain->sms;
	sm_set_add_range(&sms, sm_count > EXTRA_SMS ? sm_count - EXTRA_SMS : 0, sm_count);
	context->extended = alloc_zeroed(sizeof(struct domain));
	domain_init(context->extended, sm_count, &sms, context->domain->sm_limit);
	return context->extended;
}

static struct domain *domain_of(
	const struct engine *engine, const struct op *op, struct context *context)
{
	if (!context->domain)
		return &op->process->uses[context->device]->lane->all;
	if (context->is_partition && (op->flags & WIRE_OP_EXTRA_SMS))
		return extend(context, engine->devices[context->device].sm_count);
	return context->domain;
}

static void start_kernel(struct engine *engine, struct op *op)
{
	struct context *context = find_context(op->process, op->context);
	struct use *use = op->process->uses[context->device];
	op->kernel.domain = domain_of(engine, op, context);
	op->kernel.user = &use->user;
	op->kernel.block_ns = op->duration_ns;
	op->kernel.ready_ns = engine->now_ns;
	op->kernel.arrival = op->arrival;
	if (op->flags & WIRE_OP_TELL_SMS)
		op->kernel.ran_on = alloc_zeroed(sizeof(struct sm_set));
	if (op->kernel.blocks == 0 || op->kernel.block_ns == 0) {
		use->user.kernels++;
		end(engine, op, engine->now_ns, engine->now_ns);
		return;
	}
	device_add(&engine->devices[context->device], use->lane, &op->kernel);
}

static void start(struct engine *engine, struct op *op)
{
	if (op->kind == WIRE_OP_KERNEL) {
		start_kernel(engine, op);
	} else if (op->kind == WIRE_OP_COPY && op->duration_ns > 0) {
		op->start_ns = engine->now_ns;
		op->end_ns = engine->now_ns + op->duration_ns;
		heap_push(&engine->copies, op);
	} else {
		end(engine, op, engine->now_ns, engine->now_ns);
	}
}

/* Starts what is ready, and what becomes ready by operations that take no time: a list, not a
 * recursion, because chains of markers may be long. */
static void start_ready(struct engine *engine)
{
	struct op *op;
	while ((op = engine->ready_first)) {
		engine->ready_first = op->next_ready;
		if (!engine->ready_first)
			engine->ready_last = NULL;
		start(engine, op);
	}
}

/* Runs on to a time that is not beyond engine_next. */
static void step(struct engine *engine, uint64_t now_ns)
{
	struct op *copy;

	engine->now_ns = now_ns;
	for (uint32_t i = 0; i < engine->device_count; i++) {
		struct kernel *kernel = device_advance(&engine->devices[i], now_ns);
		while (kernel) {
			/* The kernel is the first member of its operation, which end() frees. */
			struct op *op = (struct op *)kernel;
			kernel = kernel->next_ended;
			end(engine, op, op->kernel.start_ns, op->kernel.end_ns);
		}
	}
	while ((copy = heap_top(&engine->copies)) && copy->end_ns <= now_ns) {
		heap_pop(&engine->copies);
		end(engine, copy, copy->start_ns, copy->end_ns);
	}
	start_ready(engine);
	settle(engine);
}

uint64_t engine_next(const struct engine *engine)
{
	const struct op *copy = heap_top(&engine->copies);
	uint64_t next_ns = copy ? copy->end_ns : NEVER_NS;
	for (uint32_t i = 0; i < engine->device_count; i++) {
		uint64_t device_ns = device_next(&engine->devices[i]);
		if (device_ns < next_ns)
			next_ns = device_ns;
	}
	return next_ns;
}

void engine_advance(struct engine *engine, uint64_t now_ns)
{
	uint64_t next_ns;
	while ((next_ns = engine_next(engine)) <= now_ns)
		step(engine, next_ns);
	if (now_ns > engine->now_ns)
		step(engine, now_ns);
}

static bool is_well_formed(const struct engine_process *process, const struct wire_op *op)
{
	if (op->seq <= process->last_seq || op->dep_count > WIRE_MAX_DEPS)
		return false;
	if (op->kind > WIRE_OP_COPY || (op->kind == WIRE_OP_KERNEL && op->blocks_per_sm == 0))
		return false;
	return engine_context_device(process, op->context) >= 0;
}

static uint32_t block_fit(uint32_t blocks_per_sm)
{
	return blocks_per_sm < LANE_MAX_BLOCKS_PER_SM ? blocks_per_sm : LANE_MAX_BLOCKS_PER_SM;
}

bool engine_submit(struct engine *engine, struct engine_process *process,
	const struct wire_op *wire, uint64_t now_ns)
{
	if (!is_well_formed(process, wire))
		return false;
	if (now_ns > engine->now_ns)
		engine_advance(engine, now_ns);
	struct op *op = op_table_add(&process->ops, wire);
	op->process = process;
	op->arrival = ++engine->arrivals;
	op->kernel.blocks = wire->blocks;
	op->kernel.block_fit = block_fit(wire->blocks_per_sm);
	op->kernel.priority = wire->priority;
	op->kernel.bandwidth_ppm = wire->bandwidth_ppm;
	if (op->duration_ns > MAX_DURATION_NS)
		op->duration_ns = MAX_DURATION_NS;
	process->last_seq = wire->seq;
	engine->pending++;
	if (op->waits_for == 0) {
		push_ready(engine, op);
		start_ready(engine);
		settle(engine);
	}
	return true;
}

int engine_context_device(const struct engine_process *process, uint32_t id)
{
	const struct context *context = find_context(process, id);
	return context ? (int)context->device : -1;
}

static uint32_t find_free_slot(struct engine_process *process)
{
	for (uint32_t slot = 0; slot < process->context_slots; slot++) {
		if (process->contexts[slot].id == 0)
			return slot;
	}
	if (process->context_slots == ENGINE_MAX_CONTEXTS)
		return ENGINE_MAX_CONTEXTS;
	uint32_t slot = process->context_slots++;
	process->contexts = alloc_resized(
		process->contexts, process->context_slots, sizeof(process->contexts[0]));
	process->contexts[slot] = (struct context){0};
	return slot;
}

bool engine_context_is_partition(const struct engine_process *process, uint32_t id)
{
	const struct context *context = find_context(process, id);
	return context && context->is_partition;
}

static struct lane *create_lane(struct engine *engine, uint32_t device)
{
	struct lane *lane = alloc_zeroed(sizeof(*lane));
	lane_init(lane, engine->devices[device].sm_count);
	lane->id = ++engine->lane_ids;
	return lane;
}

static void open_device(struct engine_process *process, uint32_t device)
{
	struct engine *engine = process->engine;
	struct lane *lane = engine->shared[device];
	if (process->uses[device])
		return;
	if (!lane)
		lane = create_lane(engine, device);
	if (engine->is_shared)
		engine->shared[device] = lane;
	process->uses[device] = alloc_zeroed(sizeof(struct use));
	process->uses[device]->lane = lane;
}

uint32_t engine_context_create(struct engine_process *process, uint32_t device)
{
	return engine_partition_create(process, device, NULL, 0);
}

/* A partition of `sms` without those that the device does not have; NULL if none is left. */
static struct domain *create_domain(
	const struct device *device, const struct sm_set *sms, uint32_t sm_limit)
{
	struct sm_set has = {0};
	sm_set_add_range(&has, 0, device->sm_count);
	for (uint32_t i = 0; sms && i < WIRE_SM_WORDS; i++)
		has.words[i] &= sms->words[i];
	if (sm_set_count(&has) == 0)
		return NULL;
	struct domain *domain = alloc_zeroed(sizeof(*domain));
	domain_init(domain, device->sm_count, &has, sm_limit);
	return domain;
}

uint32_t engine_partition_create(struct engine_process *process, uint32_t device,
	const struct sm_set *sms, uint32_t sm_limit)
{
	struct domain *domain = NULL;
	uint32_t slot = find_free_slot(process);
	if (slot == ENGINE_MAX_CONTEXTS)
		return 0;
	if (sms || sm_limit) {
		domain = create_domain(&process->engine->devices[device], sms, sm_limit);
		if (!domain)
			return 0;
	}
	open_device(process, device);
	/* From 1, so that no id is 0. */
	process->context_serial = process->context_serial % ((1u << 20) - 1) + 1;
	process->contexts[slot] = (struct context){
		.id = process->context_serial << CONTEXT_SLOT_BITS | slot,
		.device = device,
		.is_partition = sms != NULL,
		.domain = domain,
	};
	return process->contexts[slot].id;
}

static bool kernel_is_of_context(const struct kernel *kernel, void *arg)
{
	const struct op *op = (const struct op *)kernel, *model = arg;
	return op->process == model->process && op->context == model->context;
}

static bool copy_is_of_context(void *item, void *arg)
{
	const struct op *op = item, *model = arg;
	return op->process == model->process && op->context == model->context;
}

void engine_context_destroy(
	struct engine *engine, struct engine_process *process, uint32_t id, uint64_t now_ns)
{
	struct op model = {.process = process, .context = id};
	int device = engine_context_device(process, id);
	if (device < 0)
		return;
	engine_advance(engine, now_ns);
	device_remove_if(&engine->devices[device], process->uses[device]->lane,
		kernel_is_of_context, &model);
	heap_remove_if(&engine->copies, copy_is_of_context, &model);

	/* First all leave the lists of those they wait for, so that none of them becomes ready. */
	struct op *dropped = op_table_take_context(&process->ops, id);
	for (struct op *op = dropped; op; op = op->next)
		op_unlink(op);
	while (dropped) {
		struct op *op = dropped;
		dropped = op->next;
		release(engine, op);
	}
	free_context(&process->contexts[id % ENGINE_MAX_CONTEXTS]);
	start_ready(engine);
	settle(engine);
}

static bool kernel_is_of_process(const struct kernel *kernel, void *process)
{
	return ((const struct op *)kernel)->process == process;
}

static bool copy_is_of_process(void *item, void *process)
{
	return ((const struct op *)item)->process == process;
}

void engine_process_destroy(struct engine *engine, struct engine_process *process, uint64_t now_ns)
{
	engine_advance(engine, now_ns);
	for (uint32_t i = 0; i < engine->device_count; i++) {
		if (process->uses[i] && engine->is_shared)
			device_remove_if(&engine->devices[i], process->uses[i]->lane,
				kernel_is_of_process, process);
		else if (process->uses[i])
			device_forget(&engine->devices[i], process->uses[i]->lane);
	}
	heap_remove_if(&engine->copies, copy_is_of_process, process);
	engine->pending -= process->ops.count;
	process_free(process);
	settle(engine);
}
