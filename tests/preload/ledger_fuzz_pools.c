/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Memory in stream order: pools, and graphs that allocate. What pools and graphs have the driver
 * tells, and the model takes its word.
 */
#include "ledger_fuzz.h"

#define POOLS  3
#define PARTS  12
#define GRAPHS 4

struct pool {
	CUmemoryPool handle;
	unsigned parts; /* that are in use */
};
static struct pool pools[POOLS];

static struct part {
	CUdeviceptr address; /* 0: none */
	int pool;            /* its number; -1: the default one, -2: one that was destroyed */
} parts[PARTS];

static CUmemoryPool default_pool(void)
{
	CUmemoryPool pool;

	must(fuzz.cu.cuDeviceGetDefaultMemPool(&pool, 0), "cuDeviceGetDefaultMemPool");
	return pool;
}

static void make_pool(struct pool *ret_pool)
{
	const CUmemPoolProps props = {
		.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
		.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0},
	};

	*ret_pool = (struct pool){0};
	must(fuzz.cu.cuMemPoolCreate(&ret_pool->handle, &props), "cuMemPoolCreate");
}

void pools_open(void)
{
	for (unsigned i = 0; i < POOLS; i++)
		make_pool(&pools[i]);
}

static uint64_t bytes_of(CUmemoryPool pool)
{
	cuuint64_t bytes;

	must(fuzz.cu.cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, &bytes),
		"cuMemPoolGetAttribute");
	return bytes;
}

uint64_t pools_bytes(void)
{
	uint64_t bytes = bytes_of(default_pool());

	for (unsigned i = 0; i < POOLS; i++)
		bytes += bytes_of(pools[i].handle);
	return bytes;
}

/* The number of the pool that is current. */
static int current_pool(void)
{
	CUmemoryPool current;

	must(fuzz.cu.cuDeviceGetMemPool(&current, 0), "cuDeviceGetMemPool");
	for (int i = 0; i < POOLS; i++) {
		if (pools[i].handle == current)
			return i;
	}
	return -1;
}

static void take_part(struct draw *draw, struct part *at)
{
	const CUstream stream = fuzz.streams[draw_below(draw, STREAMS)];
	size_t bytes = draw_bytes(draw, fuzz.quota / 4);
	int pool = (int)draw_below(draw, POOLS + 1) - 1;
	CUdeviceptr address = 42;
	CUresult res;

	if (fuzz.takes_chunks)
		bytes = 2 * MIB;
	if (pool >= 0) {
		res = fuzz.cu.cuMemAllocFromPoolAsync(&address, bytes, pools[pool].handle, stream);
	} else {
		pool = current_pool();
		res = fuzz.cu.cuMemAllocAsync(&address, bytes, stream);
	}
	tell("%zu bytes of pool %d: %d", bytes, pool, (int)res);
	if (!answered(res, "pool", address != 42))
		return;
	*at = (struct part){address, pool};
	if (pool >= 0)
		pools[pool].parts++;
}

static void forget_part(struct part *at)
{
	if (at->pool >= 0)
		pools[at->pool].parts--;
	if (at->pool == -2) {
		fuzz.unknown--;
		fuzz.is_unknown = true;
	}
	at->address = 0;
}

static void give_part(struct draw *draw, struct part *at)
{
	unsigned stream = draw_below(draw, STREAMS);
	bool is_in_order = draw_below(draw, 3) > 0 && !fuzz.takes_chunks;

	tell("part of pool %d freed%s", at->pool, is_in_order ? " in order" : "");
	must(is_in_order ? fuzz.cu.cuMemFreeAsync(at->address, fuzz.streams[stream])
			 : fuzz.cu.cuMemFree_v2(at->address),
		"free of a pool's memory");
	forget_part(at);
}

void step_pool(struct draw *draw)
{
	struct part *at = &parts[draw_below(draw, PARTS)];

	if (at->address == 0)
		take_part(draw, at);
	else
		give_part(draw, at);
}

/* A pool lives on for what was allocated from it, and nobody can be asked any more how much. */
static void destroy_pool(struct pool *pool)
{
	must(fuzz.cu.cuMemPoolDestroy(pool->handle), "cuMemPoolDestroy");
	fuzz.unknown += pool->parts;
	fuzz.is_unknown = true;
	for (unsigned i = 0; i < PARTS; i++) {
		if (parts[i].address != 0 && parts[i].pool == (int)(pool - pools))
			parts[i].pool = -2;
	}
}

void step_pool_itself(struct draw *draw)
{
	struct pool *pool = &pools[draw_below(draw, POOLS)];
	CUmemoryPool handle = draw_below(draw, 2) == 0 ? default_pool() : pool->handle;
	cuuint64_t keep = draw_below(draw, 2) == 0 ? UINT64_MAX : draw_bytes(draw, 32 * MIB);

	switch (draw_below(draw, 4)) {
	case 0:
		tell("pool %d destroyed", (int)(pool - pools));
		destroy_pool(pool);
		make_pool(pool);
		break;
	case 1:
		tell("pool trimmed");
		must(fuzz.cu.cuMemPoolTrimTo(handle, keep), "cuMemPoolTrimTo");
		break;
	case 2:
		tell("pool keeps %llu", (unsigned long long)keep);
		must(fuzz.cu.cuMemPoolSetAttribute(
			     handle, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &keep),
			"threshold");
		break;
	default:
		tell("pool made current");
		must(fuzz.cu.cuDeviceSetMemPool(0, handle), "cuDeviceSetMemPool");
		break;
	}
}

/* Streams are of the primary context, and what was allocated on them dies with it. */
void pools_lose(CUcontext context)
{
	for (unsigned i = 0; i < PARTS && context == fuzz.contexts[0]; i++) {
		if (parts[i].address != 0)
			forget_part(&parts[i]);
	}
}

void pools_end(void)
{
	for (unsigned i = 0; i < PARTS; i++) {
		if (parts[i].address == 0)
			continue;
		must(fuzz.cu.cuMemFree_v2(parts[i].address), "free");
		forget_part(&parts[i]);
	}
	for (unsigned i = 0; i < POOLS; i++)
		must(fuzz.cu.cuMemPoolDestroy(pools[i].handle), "cuMemPoolDestroy");
	must(fuzz.cu.cuMemPoolTrimTo(default_pool(), 0), "cuMemPoolTrimTo");
}

static CUgraphExec graphs[GRAPHS];

uint64_t graphs_bytes(void)
{
	cuuint64_t bytes;

	must(fuzz.cu.cuDeviceGetGraphMemAttribute(
		     0, CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT, &bytes),
		"cuDeviceGetGraphMemAttribute");
	return bytes;
}

/* Allocates, perhaps twice, and frees. */
static CUgraphExec make_graph(struct draw *draw)
{
	CUDA_MEM_ALLOC_NODE_PARAMS params = {
		.poolProps = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
			.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0}},
	};
	unsigned count = draw_below(draw, 2) + 1;
	CUgraphNode alloc, release;
	CUgraph graph;
	CUgraphExec exec;

	must(fuzz.cu.cuGraphCreate(&graph, 0), "cuGraphCreate");
	for (unsigned i = 0; i < count; i++) {
		params.bytesize = draw_bytes(draw, fuzz.quota / 6);
		must(fuzz.cu.cuGraphAddMemAllocNode(&alloc, graph, NULL, 0, &params), "alloc");
		must(fuzz.cu.cuGraphAddMemFreeNode(&release, graph, &alloc, 1, params.dptr),
			"free");
	}
	must(fuzz.cu.cuGraphInstantiateWithFlags(&exec, graph, 0), "instantiate");
	must(fuzz.cu.cuGraphDestroy(graph), "cuGraphDestroy");
	return exec;
}

static void use_graph(struct draw *draw, CUgraphExec *graph)
{
	const CUstream stream = fuzz.streams[draw_below(draw, STREAMS)];
	unsigned way = draw_below(draw, 8);
	CUresult res = CUDA_SUCCESS;

	if (way == 0) {
		tell("graph destroyed");
		must(fuzz.cu.cuGraphExecDestroy(*graph), "cuGraphExecDestroy");
		*graph = NULL;
		return;
	}
	if (way == 1)
		must(fuzz.cu.cuDeviceGraphMemTrim(0), "cuDeviceGraphMemTrim");
	else if (way == 2)
		res = fuzz.cu.cuGraphUpload(*graph, stream);
	else
		res = fuzz.cu.cuGraphLaunch(*graph, stream);
	tell("graph used by way %u: %d", way, (int)res);
	answered(res, "graph", false);
}

void step_graph(struct draw *draw)
{
	CUgraphExec *graph = &graphs[draw_below(draw, GRAPHS)];

	if (*graph != NULL) {
		use_graph(draw, graph);
	} else {
		*graph = make_graph(draw);
		tell("graph made");
	}
}

void graphs_end(void)
{
	for (unsigned i = 0; i < GRAPHS; i++) {
		if (graphs[i] == NULL)
			continue;
		must(fuzz.cu.cuGraphExecDestroy(graphs[i]), "cuGraphExecDestroy");
		graphs[i] = NULL;
	}
	must(fuzz.cu.cuDeviceGraphMemTrim(0), "cuDeviceGraphMemTrim");
}
