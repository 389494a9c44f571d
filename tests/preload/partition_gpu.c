/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "partition_gpu.h"

#include <string.h>

#define SM_WORDS 128u

static const char image[] = ".version 7.0\n"
			    ".target sm_75\n"
			    ".address_size 64\n"
			    ".visible .entry cuslice_census(.param .u64 a, .param .u32 b)\n"
			    "{ ret; }\n"
			    ".visible .entry busy() { ret; }\n"
			    ".visible .entry mark_short(.param .u64 a, .param .u32 b)\n"
			    "{ ret; }\n";

void load_gpu(struct gpu *gpu, int device)
{
	CUmodule module;

	must(cuDevicePrimaryCtxRetain(&gpu->primary, device), "primary");
	must(cuCtxSetCurrent(gpu->primary), "current");
	must(cuModuleLoadData(&module, image), "module");
	must(cuModuleGetFunction(&gpu->census, module, "cuslice_census"), "census");
	must(cuModuleGetFunction(&gpu->slow, module, "busy"), "busy");
	must(cuModuleGetFunction(&gpu->mark, module, "mark_short"), "mark");
}

void open_gpu(struct gpu *gpu, int device)
{
	load_gpu(gpu, device);
	must(cuMemAlloc_v2(&gpu->seen, SM_WORDS * 4), "memory");
	must(cuMemsetD8_v2(gpu->seen, 0, SM_WORDS * 4), "clear");
}

struct gpu begin(void)
{
	struct gpu gpu;

	must(cuInit(0), "cuInit");
	open_gpu(&gpu, 0);
	return gpu;
}

void bring_work(const struct gpu *gpu, CUstream stream)
{
	CUdeviceptr seen = gpu->seen;
	uint32_t cycles = 1;

	must(cuLaunchKernel(gpu->census, CENSUS_BLOCKS, 1, 1, 1024, 1, 1, 0, stream,
		     (void *[]){&seen, &cycles}, NULL),
		"launch");
}

CUDA_KERNEL_NODE_PARAMS_v2 census_node(const struct gpu *gpu, void *values[2])
{
	return (CUDA_KERNEL_NODE_PARAMS_v2){.func = gpu->census,
		.gridDimX = CENSUS_BLOCKS,
		.gridDimY = 1,
		.gridDimZ = 1,
		.blockDimX = 1024,
		.blockDimY = 1,
		.blockDimZ = 1,
		.kernelParams = values};
}

CUDA_KERNEL_NODE_PARAMS_v1 older_node(CUDA_KERNEL_NODE_PARAMS_v2 params)
{
	CUDA_KERNEL_NODE_PARAMS_v1 older;

	memcpy(&older, &params, sizeof(older));
	return older;
}

CUgraphNodeParams any_node(CUDA_KERNEL_NODE_PARAMS_v2 params)
{
	CUgraphNodeParams any;

	memset(&any, 0, sizeof(any));
	any.type = CU_GRAPH_NODE_TYPE_KERNEL;
	memcpy(&any.kernel, &params, sizeof(params));
	return any;
}

unsigned sms_of(const struct gpu *gpu)
{
	uint32_t words[SM_WORDS];
	unsigned count = 0;

	must(cuCtxSynchronize(), "synchronize");
	must(cuMemcpyDtoH_v2(words, gpu->seen, sizeof(words)), "read");
	must(cuMemsetD8_v2(gpu->seen, 0, sizeof(words)), "clear");
	for (unsigned i = 0; i < SM_WORDS; i++)
		count += (unsigned)__builtin_popcount(words[i]);
	return count;
}

void keep_busy(const struct gpu *gpu, CUstream stream, unsigned long milliseconds)
{
	uint64_t begun_ns = now_ns();
	CUevent ends[2];

	for (unsigned i = 0; i < 2; i++)
		must(cuEventCreate(&ends[i], CU_EVENT_DISABLE_TIMING), "event");
	for (unsigned batch = 0; now_ns() - begun_ns < milliseconds * 1000000u; batch++) {
		/* While a batch runs the next one waits behind it. */
		for (unsigned i = 0; i < 8; i++)
			must(cuLaunchKernel(gpu->slow, CENSUS_BLOCKS, 1, 1, 1024, 1, 1, 0, stream,
				     NULL, NULL),
				"launch");
		must(cuEventRecord(ends[batch % 2], stream), "record");
		must(cuEventSynchronize(ends[(batch + 1) % 2]), "wait");
	}
	must(cuStreamSynchronize(stream), "synchronize");
	say("ns %llu", (unsigned long long)(now_ns() - begun_ns));
}

CUkernel load_census_kernel(void)
{
	static const char ptx[] = ".version 7.0\n"
				  ".target sm_75\n"
				  ".address_size 64\n"
				  ".visible .entry cuslice_census(.param .u64 a, .param .u32 b)\n"
				  "{ ret; }\n";
	CUlibrary library;
	CUkernel kernel;

	must(cuLibraryLoadData(&library, ptx, NULL, NULL, 0, NULL, NULL, 0), "library");
	must(cuLibraryGetKernel(&kernel, library, "cuslice_census"), "kernel");
	return kernel;
}

CUgraph make_graph(void)
{
	CUgraph graph;

	must(cuGraphCreate(&graph, 0), "graph");
	return graph;
}
