/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_bills COUNT [SYMBOL VARIANT]
 *
 * Makes each call of bills.def, or the one that is named, COUNT times, and says of each what it
 * answered and how much GPU time was billed for it: `SYMBOL VARIANT KIND RESULT NANOSECONDS`. Each
 * has a context of its own, whose end settles its bills.
 */
#include "client.h"

#include <dlfcn.h>
#include <string.h>

#define WIDTH  1024u
#define HEIGHT 64u
#define BYTES  (WIDTH * HEIGHT)

static struct functions cu;
static void *libcuda;

/* What the calls are given. Names are those of bills.def. */
static int device_count;
static CUcontext context, other;
static CUmodule module;
static CUfunction kernel;
static CUstream stream, urgent;
static CUevent event;
static CUgraphExec exec, exec_of_body, exec_of_none;
static CUdeviceptr dst, src, foreign, managed, host, pinned;
static CUdeviceptr_v1 low_dst, low_src;
static CUarray row_dst, row_src, plane_src;
static char memory[BYTES];
static CUDA_MEMCPY2D plane, plane_array, plane_unified, plane_host, plane_host_unified;
static CUDA_MEMCPY2D_v1 plane_v1;
static CUDA_MEMCPY3D space, space_host;
static CUDA_MEMCPY3D_v1 space_v1;
static CUDA_MEMCPY3D_PEER space_peer, space_foreign;
static CUDA_MEMCPY3D_BATCH_OP spaces[2];
static CUlaunchConfig config, config_of_none;
static CUDA_LAUNCH_PARAMS params;
static CUdeviceptr dsts[2], srcs[2], hosts[2];
static size_t sizes[2] = {BYTES / 2, BYTES / 2}, first, failed;
static CUmemcpyAttributes order = {.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM};

static void CUDA_CB host_function(void *unused)
{
	(void)unused;
}

/* By symbol; the driver exports all that the clients use. */
static void *find(const char *symbol)
{
	void *found = dlsym(libcuda, symbol);

	must_be(found != NULL, symbol);
	return found;
}
#define FIND(symbol) ((__typeof__(symbol) *)find(#symbol))

static void make_copies(void)
{
	CUmemorytype device = CU_MEMORYTYPE_DEVICE;

	plane = (CUDA_MEMCPY2D){.srcMemoryType = device,
		.srcDevice = src,
		.srcPitch = WIDTH,
		.dstMemoryType = device,
		.dstDevice = dst,
		.dstPitch = WIDTH,
		.WidthInBytes = WIDTH,
		.Height = HEIGHT};
	plane_array = plane;
	plane_array.srcMemoryType = CU_MEMORYTYPE_ARRAY;
	plane_array.srcArray = plane_src;
	plane_unified = plane;
	plane_unified.srcMemoryType = plane_unified.dstMemoryType = CU_MEMORYTYPE_UNIFIED;
	plane_host_unified = plane_unified;
	plane_host_unified.srcDevice = host;
	plane_host = plane;
	plane_host.dstMemoryType = CU_MEMORYTYPE_HOST;
	plane_host.dstHost = memory;
	plane_v1 = (CUDA_MEMCPY2D_v1){.srcMemoryType = device,
		.srcDevice = low_src,
		.srcPitch = WIDTH,
		.dstMemoryType = device,
		.dstDevice = low_dst,
		.dstPitch = WIDTH,
		.WidthInBytes = WIDTH,
		.Height = HEIGHT};
}

static void make_deep_copies(void)
{
	CUmemorytype device = CU_MEMORYTYPE_DEVICE;

	space = (CUDA_MEMCPY3D){.srcMemoryType = device,
		.srcDevice = src,
		.srcPitch = WIDTH,
		.srcHeight = HEIGHT / 4,
		.dstMemoryType = device,
		.dstDevice = dst,
		.dstPitch = WIDTH,
		.dstHeight = HEIGHT / 4,
		.WidthInBytes = WIDTH,
		.Height = HEIGHT / 4,
		.Depth = 4};
	space_host = space;
	space_host.srcMemoryType = CU_MEMORYTYPE_HOST;
	space_host.srcHost = memory;
	space_v1 = (CUDA_MEMCPY3D_v1){.srcMemoryType = device,
		.srcDevice = low_src,
		.srcPitch = WIDTH,
		.srcHeight = HEIGHT / 4,
		.dstMemoryType = device,
		.dstDevice = low_dst,
		.dstPitch = WIDTH,
		.dstHeight = HEIGHT / 4,
		.WidthInBytes = WIDTH,
		.Height = HEIGHT / 4,
		.Depth = 4};
	space_peer = (CUDA_MEMCPY3D_PEER){.srcMemoryType = device,
		.srcDevice = src,
		.srcContext = context,
		.srcPitch = WIDTH,
		.srcHeight = HEIGHT / 4,
		.dstMemoryType = device,
		.dstDevice = dst,
		.dstContext = context,
		.dstPitch = WIDTH,
		.dstHeight = HEIGHT / 4,
		.WidthInBytes = WIDTH,
		.Height = HEIGHT / 4,
		.Depth = 4};
	space_foreign = space_peer;
	space_foreign.dstDevice = foreign;
	space_foreign.dstContext = other;
}

static void make_batches(void)
{
	for (unsigned i = 0; i < 2; i++) {
		dsts[i] = dst + i * BYTES / 2;
		srcs[i] = src + i * BYTES / 2;
		hosts[i] = host + i * BYTES / 2;
		spaces[i] = (CUDA_MEMCPY3D_BATCH_OP){
			.src = {.type = CU_MEMCPY_OPERAND_TYPE_POINTER, .op.ptr = {.ptr = srcs[i]}},
			.dst = {.type = CU_MEMCPY_OPERAND_TYPE_POINTER, .op.ptr = {.ptr = dsts[i]}},
			.extent = {.width = WIDTH, .height = HEIGHT / 4, .depth = 2},
			.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM};
	}
}

/* The second half comes from an array, one element a byte. */
static void make_array_batch(void)
{
	spaces[1].src.type = CU_MEMCPY_OPERAND_TYPE_ARRAY;
	spaces[1].src.op.array.array = plane_src;
	spaces[1].src.op.array.offset = (CUoffset3D){0};
	spaces[1].extent = (CUextent3D){.width = WIDTH, .height = HEIGHT / 2, .depth = 1};
}

static CUarray make_array(size_t width, size_t height, CUarray_format format)
{
	CUDA_ARRAY_DESCRIPTOR description = {
		.Width = width, .Height = height, .Format = format, .NumChannels = 1};
	CUarray array;

	must(cu.cuArrayCreate_v2(&array, &description), "cuArrayCreate");
	return array;
}

static void take_memory(void)
{
	void *taken;

	must(cu.cuMemAlloc_v2(&dst, BYTES), "cuMemAlloc");
	must(cu.cuMemAlloc_v2(&src, BYTES), "cuMemAlloc");
	must(cu.cuMemAllocManaged(&managed, BYTES, CU_MEM_ATTACH_GLOBAL), "cuMemAllocManaged");
	must(cu.cuMemAlloc(&low_dst, BYTES), "cuMemAlloc, low");
	must(cu.cuMemAlloc(&low_src, BYTES), "cuMemAlloc, low");
	must(cu.cuMemHostAlloc(&taken, BYTES, 0), "cuMemHostAlloc");
	pinned = (CUdeviceptr)(uintptr_t)taken;
	host = (CUdeviceptr)(uintptr_t)memory;
	row_dst = make_array(BYTES / 4, 0, CU_AD_FORMAT_FLOAT);
	row_src = make_array(BYTES / 4, 0, CU_AD_FORMAT_FLOAT);
	plane_src = make_array(WIDTH, HEIGHT, CU_AD_FORMAT_UNSIGNED_INT8);
}

/* What ends a capture is its graph. */
static void capture_some(CUgraph *ret_graph)
{
	must(launch(&cu, kernel, stream), "captured launch");
	must(FIND(cuMemsetD8Async)(dst, 1, BYTES, stream), "captured fill");
	must(FIND(cuMemcpyDtoDAsync_v2)(dst, src, BYTES, stream), "captured copy");
	must(cu.cuStreamEndCapture(stream, ret_graph), "end of the capture");
}

/* Ends the graph. */
static CUgraphExec instantiate(CUgraph graph)
{
	CUgraphExec made;

	must(cu.cuGraphInstantiateWithFlags(&made, graph, 0), "instantiate");
	must(cu.cuGraphDestroy(graph), "destroy the graph");
	return made;
}

static CUgraphExec make_graph(void)
{
	CUgraph graph;

	must(cu.cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL), "capture");
	capture_some(&graph);
	return instantiate(graph);
}

/* Returns the body of a conditional node, which runs unless the value is 0. */
static CUgraph add_if(CUgraph graph, unsigned value)
{
	CUgraphNodeParams node_params = {.type = CU_GRAPH_NODE_TYPE_CONDITIONAL,
		.conditional = {.type = CU_GRAPH_COND_TYPE_IF, .size = 1, .ctx = context}};
	CUgraphNode node;

	must(FIND(cuGraphConditionalHandleCreate)(&node_params.conditional.handle, graph, context,
		     value, CU_GRAPH_COND_ASSIGN_DEFAULT),
		"handle");
	must(FIND(cuGraphAddNode_v2)(&node, graph, NULL, NULL, 0, &node_params), "node");
	return node_params.conditional.phGraph_out[0];
}

/* The same in a body within a body, of which the outer one runs unless the value is 0. */
static CUgraphExec make_conditional_graph(unsigned value)
{
	CUgraph graph, body;

	must(cu.cuGraphCreate(&graph, 0), "cuGraphCreate");
	body = add_if(add_if(graph, value), 1);
	must(FIND(cuStreamBeginCaptureToGraph)(
		     stream, body, NULL, NULL, 0, CU_STREAM_CAPTURE_MODE_GLOBAL),
		"capture");
	capture_some(&body);
	return instantiate(graph);
}

static void open_context(void)
{
	must(cu.cuCtxCreate_v2(&context, 0, 0), "cuCtxCreate");
	kernel = load_kernel(&cu, &module);
	must(FIND(cuFuncSetBlockShape)(kernel, 32, 1, 1), "cuFuncSetBlockShape");
	must(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
	must(FIND(cuStreamCreateWithPriority)(&urgent, CU_STREAM_NON_BLOCKING, -5), "a stream");
	must(FIND(cuEventCreate)(&event, 0), "cuEventCreate");
	take_memory();
	exec = make_graph();
	exec_of_body = make_conditional_graph(1);
	exec_of_none = make_conditional_graph(0);
	make_copies();
	make_deep_copies();
	make_batches();
	make_array_batch();
	config = (CUlaunchConfig){.gridDimX = 1,
		.gridDimY = 1,
		.gridDimZ = 1,
		.blockDimX = 32,
		.blockDimY = 1,
		.blockDimZ = 1,
		.hStream = stream};
	config_of_none = config;
	config_of_none.gridDimY = 0;
	params = (CUDA_LAUNCH_PARAMS){.function = kernel,
		.gridDimX = 1,
		.gridDimY = 1,
		.gridDimZ = 1,
		.blockDimX = 32,
		.blockDimY = 1,
		.blockDimZ = 1,
		.hStream = stream};
}

static void close_context(void)
{
	must(cu.cuMemFreeHost((void *)(uintptr_t)pinned), "cuMemFreeHost");
	must(cu.cuCtxDestroy_v2(context), "cuCtxDestroy");
}

/* Functions that this driver lacks are told by their answer. */
#define CALL(symbol, variant, kind, args)                         \
	static CUresult call_##symbol##_##variant(void *function) \
	{                                                         \
		return ((__typeof__(symbol) *)function)args;      \
	}
#include "bills.def"
#undef CALL

static const struct {
	const char *symbol, *variant, *kind;
	CUresult (*call)(void *function);
} rows[] = {
#define CALL(symbol, variant, kind, args) {#symbol, #variant, #kind, call_##symbol##_##variant},
#include "bills.def"
#undef CALL
};

static unsigned long long billed_ns(void)
{
	return read_slice(0).gpu_time_ns;
}

static void run(size_t i, unsigned long count)
{
	void *function = find(rows[i].symbol);
	CUresult res = CUDA_SUCCESS;

	open_context();
	unsigned long long before_ns = billed_ns();
	for (unsigned long k = 0; k < count; k++)
		res = rows[i].call(function);
	must(cu.cuCtxSynchronize(), "synchronize");
	close_context();
	say("%s %s %s %d %llu", rows[i].symbol, rows[i].variant, rows[i].kind, (int)res,
		billed_ns() - before_ns);
}

/* Memory of the second device, where there is one. */
static void open_other(void)
{
	if (device_count < 2)
		return;
	must(cu.cuCtxCreate_v2(&other, 0, 1), "cuCtxCreate");
	must(cu.cuMemAlloc_v2(&foreign, BYTES), "cuMemAlloc");
}

static bool is_wanted(size_t i, int argc, char *argv[])
{
	if (argc > 3)
		return strcmp(rows[i].symbol, argv[2]) == 0 &&
		       strcmp(rows[i].variant, argv[3]) == 0;
	return (device_count > 1 || strcmp(rows[i].variant, "peer") != 0) &&
	       strcmp(rows[i].kind, "HUGE") != 0;
}

int main(int argc, char *argv[])
{
	unsigned long count = argument(argc, argv, 1, 100);

	libcuda = functions_from_dlopen(&cu, "libcuda.so.1");
	must(cu.cuInit(0), "cuInit");
	must(cu.cuDeviceGetCount(&device_count), "cuDeviceGetCount");
	open_other();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (is_wanted(i, argc, argv))
			run(i, count);
	}
	return 0;
}
