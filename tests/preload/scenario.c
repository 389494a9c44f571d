/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "scenario.h"

#include <string.h>

#define UNTOUCHED ((CUdeviceptr)0x5a5a5a5a5a5a5a5a)

/* Says the result and whether the output was set; frees. */
static void try_alloc(const struct functions *cu, const char *key, size_t size)
{
	CUdeviceptr address = UNTOUCHED;
	CUresult res = cu->cuMemAlloc_v2(&address, size);

	say("%s %d %s", key, (int)res, address == UNTOUCHED ? "untouched" : "set");
	if (res == CUDA_SUCCESS)
		must(cu->cuMemFree_v2(address), "cuMemFree_v2");
}

static void try_pitch(const struct functions *cu, const char *key, size_t height)
{
	CUdeviceptr address = UNTOUCHED;
	size_t pitch = 7;
	CUresult res = cu->cuMemAllocPitch_v2(&address, &pitch, 1000, height, 4);

	say("%s %d %s %zu", key, (int)res, address == UNTOUCHED ? "untouched" : "set", pitch);
	if (res == CUDA_SUCCESS)
		must(cu->cuMemFree_v2(address), "cuMemFree_v2");
}

static void try_managed(const struct functions *cu, const char *key, size_t size)
{
	CUdeviceptr address = UNTOUCHED;
	CUresult res = cu->cuMemAllocManaged(&address, size, CU_MEM_ATTACH_GLOBAL);

	say("%s %d %s", key, (int)res, address == UNTOUCHED ? "untouched" : "set");
	if (res == CUDA_SUCCESS)
		must(cu->cuMemFree_v2(address), "cuMemFree_v2");
}

static void try_copy(const struct functions *cu)
{
	char out[4096], in[4096];
	CUdeviceptr address = 0;

	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (char)(i * 7);
	memset(in, 0, sizeof(in));
	say("copy_alloc %d", (int)cu->cuMemAlloc_v2(&address, sizeof(out)));
	say("copy_in %d", (int)cu->cuMemcpyHtoD_v2(address, out, sizeof(out)));
	say("copy_out %d", (int)cu->cuMemcpyDtoH_v2(in, address, sizeof(in)));
	say("copy_data %s", memcmp(in, out, sizeof(in)) == 0 ? "same" : "different");
	say("copy_free %d", (int)cu->cuMemFree_v2(address));
	say("copy_free_again %d", (int)cu->cuMemFree_v2(address));
}

static void try_launch(const struct functions *cu)
{
	CUmodule module;
	CUstream stream;
	CUfunction kernel = load_kernel(cu, &module);

	say("stream %d", (int)cu->cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	say("launch %d", (int)launch(cu, kernel, NULL));
	say("launch_stream %d", (int)launch(cu, kernel, stream));
	say("launch_bad %d",
		(int)cu->cuLaunchKernel(kernel, 0, 1, 1, 1, 1, 1, 0, stream, NULL, NULL));
	say("synchronize %d", (int)cu->cuStreamSynchronize(stream));
	say("synchronize_all %d", (int)cu->cuCtxSynchronize());
	say("stream_destroy %d", (int)cu->cuStreamDestroy_v2(stream));
	say("unload %d", (int)cu->cuModuleUnload(module));
}

static void try_memory(const struct functions *cu)
{
	size_t free_bytes = 0, total_bytes = 0;

	say("info %d", (int)cu->cuMemGetInfo_v2(&free_bytes, &total_bytes));
	say("info_total %zu", total_bytes);
	try_alloc(cu, "small", MIB);
	try_alloc(cu, "large", 96 * MIB);
	try_alloc(cu, "after_large", 32 * MIB);
	try_alloc(cu, "huge", (size_t)1 << 60);
	try_alloc(cu, "most", SIZE_MAX);
	try_alloc(cu, "zero", 0);
	try_pitch(cu, "pitch", 1000);
	try_pitch(cu, "pitch_large", 96 * 1024);
	try_managed(cu, "managed", MIB);
	try_managed(cu, "managed_large", 96 * MIB);
	say("null %d", (int)cu->cuMemAlloc_v2(NULL, MIB));
	say("free_null %d", (int)cu->cuMemFree_v2(0));
	say("free_wild %d", (int)cu->cuMemFree_v2(0x1234));
}

int scenario(const struct functions *cu)
{
	CUcontext context = NULL;
	size_t bytes = 0;
	int count = 0;

	say("before_init %d", (int)cu->cuMemFree_v2(0x1000));
	CUresult res = cu->cuInit(0);
	say("init %d", (int)res);
	if (res != CUDA_SUCCESS)
		return 1;
	res = cu->cuDeviceGetCount(&count);
	say("count %d %d", (int)res, count);
	res = cu->cuDeviceTotalMem_v2(&bytes, 0);
	say("total %d %zu", (int)res, bytes);
	say("total_bad %d", (int)cu->cuDeviceTotalMem_v2(&bytes, 99));
	say("without_context %d", (int)cu->cuMemAlloc_v2(&(CUdeviceptr){0}, MIB));
	say("context %d", (int)cu->cuCtxCreate_v2(&context, 0, 0));
	try_memory(cu);
	try_copy(cu);
	try_launch(cu);
	say("destroy %d", (int)cu->cuCtxDestroy_v2(context));
	return 0;
}
