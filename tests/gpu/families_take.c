/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "families.h"

#include <stdio.h>
#include <string.h>

#define KIB 1024ull
#define MIB (1024 * KIB)

/* Leaves the caller with the driver's answer. */
#define TRY(call)                         \
	do {                              \
		CUresult try_ = (call);   \
		if (try_ != CUDA_SUCCESS) \
			return try_;      \
	} while (0)

static CUdeviceptr address;

/* --- plain memory */

static CUresult take_linear(void)
{
	return cuMemAlloc(&address, 100 * MIB + 1);
}

static CUresult take_pitched(void)
{
	size_t pitch;

	return cuMemAllocPitch(&address, &pitch, 10001, 3000, 4);
}

static CUresult take_managed(void)
{
	TRY(cuMemAllocManaged(&address, 64 * MIB, CU_MEM_ATTACH_GLOBAL));
	MUST(cuMemsetD8(address, 0, 64 * MIB)); /* it is taken when the device first needs it */
	return cuCtxSynchronize();
}

static void free_address(void)
{
	MUST(cuMemFree(address));
}

/* --- arrays */

static CUarray array;
static CUmipmappedArray mipmapped;

static CUresult take_array_1d(void)
{
	CUDA_ARRAY_DESCRIPTOR descriptor = {
		.Width = 65536, .Format = CU_AD_FORMAT_FLOAT, .NumChannels = 4};

	return cuArrayCreate(&array, &descriptor);
}

static CUresult take_array_2d(void)
{
	CUDA_ARRAY_DESCRIPTOR descriptor = {
		.Width = 2048, .Height = 2048, .Format = CU_AD_FORMAT_FLOAT, .NumChannels = 4};

	return cuArrayCreate(&array, &descriptor);
}

static CUresult take_array_odd(void)
{
	CUDA_ARRAY_DESCRIPTOR descriptor = {.Width = 3001,
		.Height = 2003,
		.Format = CU_AD_FORMAT_UNSIGNED_INT8,
		.NumChannels = 1};

	return cuArrayCreate(&array, &descriptor);
}

static CUresult take_array_3d(void)
{
	CUDA_ARRAY3D_DESCRIPTOR descriptor = {.Width = 200,
		.Height = 200,
		.Depth = 200,
		.Format = CU_AD_FORMAT_FLOAT,
		.NumChannels = 1};

	return cuArray3DCreate(&array, &descriptor);
}

static CUresult take_array_layers(void)
{
	CUDA_ARRAY3D_DESCRIPTOR descriptor = {.Width = 512,
		.Height = 512,
		.Depth = 20,
		.Format = CU_AD_FORMAT_UNSIGNED_INT8,
		.NumChannels = 4,
		.Flags = CUDA_ARRAY3D_LAYERED};

	return cuArray3DCreate(&array, &descriptor);
}

static void free_array(void)
{
	MUST(cuArrayDestroy(array));
}

static CUresult take_mipmaps(void)
{
	CUDA_ARRAY3D_DESCRIPTOR descriptor = {.Width = 2048,
		.Height = 2048,
		.Format = CU_AD_FORMAT_UNSIGNED_INT8,
		.NumChannels = 4};

	return cuMipmappedArrayCreate(&mipmapped, &descriptor, 12);
}

static void free_mipmaps(void)
{
	MUST(cuMipmappedArrayDestroy(mipmapped));
}

/* --- pools */

static CUmemoryPool pool;

static CUresult take_from_default_pool(void)
{
	TRY(cuMemAllocAsync(&address, 48 * MIB, NULL));
	return cuCtxSynchronize();
}

static void free_to_default_pool(void)
{
	CUdevice device;
	CUmemoryPool its_pool;

	MUST(cuMemFreeAsync(address, NULL));
	MUST(cuCtxSynchronize());
	MUST(cuCtxGetDevice(&device));
	if (cuDeviceGetDefaultMemPool(&its_pool, device) == CUDA_SUCCESS)
		(void)cuMemPoolTrimTo(its_pool, 0);
}

static CUmemLocation here(void)
{
	CUmemLocation location = {.type = CU_MEM_LOCATION_TYPE_DEVICE};

	MUST(cuCtxGetDevice(&location.id));
	return location;
}

static CUresult take_from_own_pool(void)
{
	CUmemPoolProps props = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED, .location = here()};

	TRY(cuMemPoolCreate(&pool, &props));
	CUresult res = cuMemAllocFromPoolAsync(&address, 48 * MIB, pool, NULL);
	if (res != CUDA_SUCCESS)
		MUST(cuMemPoolDestroy(pool));
	return res != CUDA_SUCCESS ? res : cuCtxSynchronize();
}

static void free_own_pool(void)
{
	MUST(cuMemFreeAsync(address, NULL));
	MUST(cuCtxSynchronize());
	MUST(cuMemPoolDestroy(pool));
}

/* What a pool keeps after the program gave everything back is still taken. */
static CUresult take_and_keep_in_pool(void)
{
	CUmemPoolProps props = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED, .location = here()};
	cuuint64_t threshold = UINT64_MAX;

	TRY(cuMemPoolCreate(&pool, &props));
	MUST(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold));
	MUST(cuMemAllocFromPoolAsync(&address, 48 * MIB, pool, NULL));
	MUST(cuMemFreeAsync(address, NULL));
	return cuCtxSynchronize();
}

static void destroy_pool(void)
{
	MUST(cuMemPoolDestroy(pool));
}

/* --- virtual memory management */

static CUmemGenericAllocationHandle physical;
static size_t physical_bytes;

static CUresult create_physical(void)
{
	CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED, .location = here()};
	size_t granularity;

	TRY(cuMemGetAllocationGranularity(&granularity, &prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM));
	physical_bytes = (63 * MIB / granularity + 1) * granularity;
	return cuMemCreate(&physical, physical_bytes, &prop, 0);
}

static void release_physical(void)
{
	MUST(cuMemRelease(physical));
}

static CUresult take_mapped(void)
{
	CUmemAccessDesc access = {.location = here(), .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};

	TRY(create_physical());
	MUST(cuMemAddressReserve(&address, physical_bytes, 0, 0, 0));
	MUST(cuMemMap(address, physical_bytes, 0, physical, 0));
	MUST(cuMemSetAccess(address, physical_bytes, &access, 1));
	MUST(cuMemRelease(physical)); /* the mapping keeps it */
	MUST(cuMemsetD8(address, 0, physical_bytes));
	return cuCtxSynchronize();
}

static void unmap(void)
{
	MUST(cuMemUnmap(address, physical_bytes));
	MUST(cuMemAddressFree(address, physical_bytes));
}

/* --- memory of graphs */

static CUgraph graph;
static CUgraphExec executable;

static CUresult take_in_graph(void)
{
	CUDA_MEM_ALLOC_NODE_PARAMS params = {
		.poolProps = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED, .location = here()},
		.bytesize = 64 * MIB};
	CUgraphNode allocation, release;

	MUST(cuGraphCreate(&graph, 0));
	CUresult res = cuGraphAddMemAllocNode(&allocation, graph, NULL, 0, &params);
	if (res != CUDA_SUCCESS) {
		MUST(cuGraphDestroy(graph));
		return res;
	}
	MUST(cuGraphAddMemFreeNode(&release, graph, &allocation, 1, params.dptr));
	MUST(cuGraphInstantiate(&executable, graph, 0));
	MUST(cuGraphLaunch(executable, NULL));
	return cuCtxSynchronize();
}

static void trim_graphs(void)
{
	CUdevice device;

	MUST(cuGraphExecDestroy(executable));
	MUST(cuGraphDestroy(graph));
	MUST(cuCtxGetDevice(&device));
	(void)cuDeviceGraphMemTrim(device);
}

/* --- what the driver takes by itself */

static CUmodule module;
static CUcontext context;

static CUresult load_variable(void)
{
	static const char ptx[] = ".version 7.0\n"
				  ".target sm_75\n"
				  ".address_size 64\n"
				  ".visible .global .align 8 .b8 gpu_variable[67108864];\n"
				  ".visible .entry gpu_empty()\n"
				  "{\n"
				  "	ret;\n"
				  "}\n";
	size_t bytes;

	TRY(cuModuleLoadData(&module, ptx));
	return cuModuleGetGlobal(&address, &bytes, module, "gpu_variable");
}

static CUresult load_kernels(void)
{
	CUfunction function;

	TRY(cuModuleLoadData(&module, kernels_ptx));
	return cuModuleGetFunction(&function, module, "gpu_local");
}

static void unload(void)
{
	MUST(cuModuleUnload(module));
}

static CUresult create_context(void)
{
	CUdevice device;

	MUST(cuCtxGetDevice(&device));
	TRY(cuCtxCreate(&context, NULL, 0, device));
	return cuCtxPopCurrent(NULL); /* what is measured is asked in the first one */
}

static void destroy_context(void)
{
	MUST(cuCtxDestroy(context));
}

/* Runs a kernel that needs what is measured; in a context of its own, which takes it along. */
static CUresult run_kernel(const char *name, CUlimit limit, size_t value)
{
	CUdevice device;
	CUfunction function;
	CUdeviceptr result = 0;
	int count = 100;
	void *params[] = {&result, &count};

	MUST(cuCtxGetDevice(&device));
	TRY(cuCtxCreate(&context, NULL, 0, device));
	CUresult res = value == 0 ? CUDA_SUCCESS : cuCtxSetLimit(limit, value);
	if (res == CUDA_SUCCESS)
		res = cuModuleLoadData(&module, kernels_ptx);
	if (res == CUDA_SUCCESS)
		res = cuModuleGetFunction(&function, module, name);
	if (res == CUDA_SUCCESS && strcmp(name, "gpu_printf") != 0)
		res = cuMemAlloc(&result, 512);
	if (res == CUDA_SUCCESS)
		res = cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL);
	if (res == CUDA_SUCCESS)
		res = cuCtxSynchronize();
	if (res != CUDA_SUCCESS) {
		(void)cuCtxDestroy(context);
		return res;
	}
	return cuCtxPopCurrent(NULL);
}

static CUresult use_heap(void)
{
	return run_kernel("gpu_malloc", CU_LIMIT_MALLOC_HEAP_SIZE, 256 * MIB);
}

static CUresult use_printf(void)
{
	return run_kernel("gpu_printf", CU_LIMIT_PRINTF_FIFO_SIZE, 64 * MIB);
}

static CUresult use_stack(void)
{
	return run_kernel("gpu_local", CU_LIMIT_STACK_SIZE, 8 * KIB);
}

static CUresult use_local(void)
{
	return run_kernel("gpu_local", CU_LIMIT_STACK_SIZE, 0);
}

const struct family families[] = {
	{"linear", "100 MiB and 1 byte", take_linear, free_address},
	{"pitch", "10001 x 3000", take_pitched, free_address},
	{"managed", "64 MiB", take_managed, free_address},
	{"array", "1D 65536 float4", take_array_1d, free_array},
	{"array", "2D 2048 x 2048 float4", take_array_2d, free_array},
	{"array", "2D 3001 x 2003 bytes", take_array_odd, free_array},
	{"array", "3D 200 x 200 x 200 float", take_array_3d, free_array},
	{"array", "20 layers 512 x 512 x 4 bytes", take_array_layers, free_array},
	{"mipmap", "12 levels from 2048 x 2048 x 4 bytes", take_mipmaps, free_mipmaps},
	{"pool", "48 MiB of the device's pool", take_from_default_pool, free_to_default_pool},
	{"pool", "48 MiB of an own pool", take_from_own_pool, free_own_pool},
	{"pool", "48 MiB that an own pool keeps", take_and_keep_in_pool, destroy_pool},
	{"vmm", "a handle of 64 MiB", create_physical, release_physical},
	{"vmm", "a mapping of 64 MiB", take_mapped, unmap},
	{"graph", "64 MiB of a node", take_in_graph, trim_graphs},
	{"module", "a variable of 64 MiB", load_variable, unload},
	{"module", "three kernels", load_kernels, unload},
	{"context", "one more", create_context, destroy_context},
	{"heap", "malloc of kernels: 256 MiB", use_heap, destroy_context},
	{"heap", "printf of kernels: 64 MiB", use_printf, destroy_context},
	{"heap", "stack of 8 KiB a thread", use_stack, destroy_context},
	{"heap", "local memory of 4 KiB a thread", use_local, destroy_context},
};

const size_t family_count = sizeof(families) / sizeof(families[0]);
