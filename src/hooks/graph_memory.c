/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "hooks/graph_memory.h"
#include "base/lock.h"
#include "base/wipe.h"
#include "driver/driver.h"
#include "hooks/capture_mode.h"
#include "slice/slice.h"

#define SMALLEST_CHUNK (2ull << 20)
#define LARGEST_CHUNK  (1ull << 30)
#define FIRST_CAPACITY 64
#define DEEPEST_GRAPH  16 /* of graphs in graphs that are looked at */

/* What an executable graph allocates on one device. */
struct exec_entry {
	CUgraphExec exec;
	CUdevice device;
	uint64_t bytes;
	uint64_t trims; /* of the pool when it was last launched, plus 1; 0: never */
};

struct device_pool {
	struct reservation charge;
	bool is_begun;     /* the reservation is valid */
	uint64_t expected; /* what calls on their way have reserved */
	uint64_t chunk;    /* in which it grows, as far as was seen */
	uint64_t trims;    /* that gave something back: graphs may have lost their memory */
};

static struct graph_books {
	_Atomic bool is_used;
	struct lock lock;
	struct device_pool pools[LEDGER_MAX_DEVICES];
	size_t count, capacity;
	struct exec_entry *table; /* in no order */
} * books;

_Atomic bool *graph_memory_used;

bool graph_memory_init(void)
{
	books = wipe_alloc(sizeof(*books));
	if (books != NULL)
		graph_memory_used = &books->is_used;
	return books != NULL;
}

void graph_memory_note_node(void)
{
	atomic_store_explicit(&books->is_used, true, memory_order_relaxed);
}

/* From here on the lock is held, unless it is said otherwise. */
static struct device_pool *pool_of(CUdevice device)
{
	if (device < 0 || device >= LEDGER_MAX_DEVICES || !slice_exists(device))
		return NULL;
	struct device_pool *pool = &books->pools[device];
	if (!pool->is_begun) {
		/* Nothing always fits. */
		pool->is_begun = ledger_reserve((unsigned)device, LEDGER_GRAPH, 0, &pool->charge);
		pool->chunk = SMALLEST_CHUNK;
	}
	return pool;
}

/* What calls on their way may have taken is covered by what they have reserved. What does not fit
 * has been taken all the same. */
static void settle(struct device_pool *pool)
{
	cuuint64_t reserved = 0;
	CUstreamCaptureMode mode = relax_capture();
	CUresult res = driver.cuDeviceGetGraphMemAttribute(
		(CUdevice)pool->charge.device, CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT, &reserved);

	restore_capture(mode);
	if (res != CUDA_SUCCESS)
		return;
	reserved = ledger_round(reserved);
	ledger_shrink(&pool->charge, reserved);
	uint64_t own = reserved > pool->expected ? reserved - pool->expected : 0;
	if (!ledger_extend(&pool->charge, own))
		ledger_settle(&pool->charge, own);
}

/* Without the lock. */
void graph_memory_settle(unsigned device)
{
	if (!graph_memory_is_used())
		return;
	lock_take(&books->lock);
	struct device_pool *pool = pool_of((CUdevice)device);
	if (pool != NULL)
		settle(pool);
	lock_drop(&books->lock);
}

void graph_memory_trimmed(CUdevice device)
{
	if (!graph_memory_is_used())
		return;
	lock_take(&books->lock);
	struct device_pool *pool = pool_of(device);
	if (pool != NULL) {
		uint64_t before = pool->charge.bytes;
		settle(pool);
		pool->trims += pool->charge.bytes < before;
	}
	lock_drop(&books->lock);
}

bool graph_memory_trim(unsigned device)
{
	uint64_t before = ledger_used_for(device, LEDGER_GRAPH);

	if (!graph_memory_is_used() || before == 0)
		return false;
	CUstreamCaptureMode mode = relax_capture();
	driver.cuDeviceGraphMemTrim((CUdevice)device);
	restore_capture(mode);
	graph_memory_trimmed((CUdevice)device);
	return ledger_used_for(device, LEDGER_GRAPH) < before;
}

static struct exec_entry *find_entry(CUgraphExec exec, CUdevice device)
{
	for (size_t i = 0; i < books->count; i++) {
		if (books->table[i].exec == exec && books->table[i].device == device)
			return &books->table[i];
	}
	return NULL;
}

static bool has_room(void)
{
	size_t capacity = books->capacity == 0 ? FIRST_CAPACITY : books->capacity * 2;

	if (books->count < books->capacity)
		return true;
	struct exec_entry *table = pages_alloc(capacity * sizeof(*table));
	if (table == NULL)
		return false;
	for (size_t i = 0; i < books->count; i++)
		table[i] = books->table[i];
	pages_free(books->table, books->capacity * sizeof(*table));
	books->table = table;
	books->capacity = capacity;
	return true;
}

/* Without memory for the entry the launch is charged when it was made. */
static void add_bytes(CUgraphExec exec, CUdevice device, uint64_t bytes)
{
	struct exec_entry *entry = find_entry(exec, device);

	if (entry == NULL && has_room()) {
		entry = &books->table[books->count++];
		*entry = (struct exec_entry){.exec = exec, .device = device};
	}
	if (entry != NULL)
		entry->bytes += ledger_round(bytes);
}

static void remove_entries(CUgraphExec exec)
{
	for (size_t i = 0; i < books->count;) {
		if (books->table[i].exec == exec)
			books->table[i] = books->table[--books->count];
		else
			i++;
	}
}

static void add_graph(CUgraphExec exec, CUgraph graph, unsigned depth);

static void add_node(CUgraphExec exec, CUgraphNode node, unsigned depth)
{
	CUDA_MEM_ALLOC_NODE_PARAMS params;
	CUgraphNodeType type;
	CUgraph child;

	if (driver.cuGraphNodeGetType(node, &type) != CUDA_SUCCESS)
		return;
	if (type == CU_GRAPH_NODE_TYPE_MEM_ALLOC &&
		driver.cuGraphMemAllocNodeGetParams(node, &params) == CUDA_SUCCESS)
		add_bytes(exec, params.poolProps.location.id, params.bytesize);
	else if (type == CU_GRAPH_NODE_TYPE_GRAPH && depth < DEEPEST_GRAPH &&
		 driver.cuGraphChildGraphNodeGetGraph(node, &child) == CUDA_SUCCESS)
		add_graph(exec, child, depth + 1);
}

static void add_graph(CUgraphExec exec, CUgraph graph, unsigned depth)
{
	size_t count = 0;

	if (driver.cuGraphGetNodes(graph, NULL, &count) != CUDA_SUCCESS || count == 0)
		return;
	CUgraphNode *nodes = pages_alloc(count * sizeof(*nodes));
	if (nodes == NULL)
		return;
	size_t room = count;
	if (driver.cuGraphGetNodes(graph, nodes, &count) != CUDA_SUCCESS)
		count = 0;
	for (size_t i = 0; i < count && i < room; i++)
		add_node(exec, nodes[i], depth);
	pages_free(nodes, room * sizeof(*nodes));
}

void graph_memory_add(CUgraphExec exec, CUgraph graph)
{
	lock_take(&books->lock);
	remove_entries(exec);
	add_graph(exec, graph, 0);
	lock_drop(&books->lock);
}

void graph_memory_remove(CUgraphExec exec)
{
	lock_take(&books->lock);
	remove_entries(exec);
	lock_drop(&books->lock);
}

static bool is_capturing(CUstream stream)
{
	CUstreamCaptureStatus status;

	return driver.cuStreamIsCapturing(stream, &status) == CUDA_SUCCESS &&
	       status != CU_STREAM_CAPTURE_STATUS_NONE;
}

/* What one device may have to give. */
struct need {
	CUdevice device;
	uint64_t bytes;
	bool was_launched; /* and nothing was trimmed since: it will hardly take anything */
};

static uint64_t round_up(uint64_t bytes, uint64_t unit)
{
	return bytes > UINT64_MAX - unit ? UINT64_MAX : (bytes + unit - 1) / unit * unit;
}

static unsigned find_needs(CUgraphExec exec, struct need needs[GRAPH_CALL_DEVICES])
{
	unsigned count = 0;

	for (size_t i = 0; i < books->count && count < GRAPH_CALL_DEVICES; i++) {
		struct exec_entry *entry = &books->table[i];
		struct device_pool *pool = entry->exec == exec ? pool_of(entry->device) : NULL;
		if (pool == NULL)
			continue;
		needs[count++] = (struct need){
			.device = entry->device,
			.bytes = round_up(entry->bytes, pool->chunk),
			.was_launched = entry->trims == pool->trims + 1,
		};
	}
	return count;
}

/* Without the lock. One that has its memory is launched even if the quota is used up. */
static bool reserve(const struct need *need, uint64_t wait_until_ns, struct charge *ret_charge)
{
	if (charge_try_on(need->device, LEDGER_GRAPH, need->bytes, ret_charge))
		return true;
	if (need->was_launched)
		return charge_try_on(need->device, LEDGER_GRAPH, 0, ret_charge);
	return charge_begin_within(
		need->device, LEDGER_GRAPH, need->bytes, wait_until_ns, ret_charge);
}

/* Whether it has its memory now. With the lock held. */
static void note_launch(CUgraphExec exec, bool has_memory)
{
	for (size_t i = 0; i < books->count; i++) {
		struct exec_entry *entry = &books->table[i];
		struct device_pool *pool = entry->exec == exec ? pool_of(entry->device) : NULL;
		if (pool != NULL)
			entry->trims = has_memory ? pool->trims + 1 : 0;
	}
}

static void expect(const struct charge *charge)
{
	lock_take(&books->lock);
	books->pools[charge->reservation.device].expected += charge->reservation.bytes;
	lock_drop(&books->lock);
}

bool graph_memory_begin(CUgraphExec exec, CUstream stream, struct graph_call *ret_call)
{
	struct need needs[GRAPH_CALL_DEVICES];
	uint64_t wait_until_ns = 0;

	*ret_call = (struct graph_call){0};
	lock_take(&books->lock);
	unsigned count = find_needs(exec, needs);
	lock_drop(&books->lock);
	if (count == 0 || is_capturing(stream))
		return true;
	for (unsigned i = 0; i < count; i++) {
		struct charge *charge = &ret_call->charges[i];
		if (!reserve(&needs[i], wait_until_ns, charge)) {
			graph_memory_end(ret_call, exec, CUDA_ERROR_OUT_OF_MEMORY);
			return false;
		}
		if (charge->wait_until_ns != 0)
			wait_until_ns = charge->wait_until_ns;
		if (charge->is_counted)
			expect(charge);
		ret_call->count++;
	}
	return true;
}

/* In which steps the pool grows shows in growth by more than was thought. */
static void learn_chunk(struct device_pool *pool, uint64_t before, uint64_t reserved)
{
	uint64_t growth = pool->charge.bytes > before ? pool->charge.bytes - before : 0;

	while (growth > round_up(reserved, pool->chunk) && pool->chunk < LARGEST_CHUNK)
		pool->chunk *= 2;
}

void graph_memory_end(struct graph_call *call, CUgraphExec exec, CUresult res)
{
	lock_take(&books->lock);
	if (res == CUDA_SUCCESS || res == CUDA_ERROR_OUT_OF_MEMORY)
		note_launch(exec, res == CUDA_SUCCESS);
	for (unsigned i = 0; i < call->count; i++) {
		struct charge *charge = &call->charges[i];
		if (!charge->is_counted)
			continue;
		struct device_pool *pool = &books->pools[charge->reservation.device];
		uint64_t before = pool->charge.bytes;
		uint64_t reserved = charge->reservation.bytes;
		pool->expected -= reserved;
		charge_move(charge, &pool->charge);
		settle(pool);
		if (reserved > 0 && pool->expected == 0)
			learn_chunk(pool, before, reserved);
	}
	lock_drop(&books->lock);
}
