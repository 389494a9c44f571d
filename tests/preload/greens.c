/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_greens memory | bills
 *
 * Green contexts of the program's own. The last of them that ends takes the primary context along.
 * `memory` fills 32 MiB in either and says what is used before and after; `bills` puts kernels on
 * streams of both, and then on those of two contexts that are made after them, and says what was
 * billed for the last: `billed NANOSECONDS`.
 */
#include "client.h"

#define KEPT     (32 * MIB)
#define LAUNCHES 20
/* As many as run at a time on 132 SMs, twice. */
#define BLOCKS (2u * 132u * 32u)

static CUgreenCtx make_green(void)
{
	CUdevResource all, part;
	CUdevResourceDesc description;
	CUgreenCtx green;
	unsigned groups = 1;

	must(cuDeviceGetDevResource(0, &all, CU_DEV_RESOURCE_TYPE_SM), "resource");
	must(cuDevSmResourceSplitByCount(&part, &groups, &all, NULL, 0, 64), "split");
	must(cuDevResourceGenerateDesc(&description, &part, 1), "description");
	must(cuGreenCtxCreate(&green, description, 0, CU_GREEN_CTX_DEFAULT_STREAM), "green");
	return green;
}

static CUcontext use_primary(void)
{
	CUcontext primary;

	must(cuDevicePrimaryCtxRetain(&primary, 0), "retain");
	must(cuCtxSetCurrent(primary), "cuCtxSetCurrent");
	return primary;
}

/* Of two green contexts the first to end leaves the primary context to the second. */
static void memory(void)
{
	CUdeviceptr filled;

	use_primary();
	CUgreenCtx first = make_green(), second = make_green();
	must(cuMemAlloc_v2(&filled, KEPT), "cuMemAlloc");
	say("filled %llu", used_bytes(0));
	must(cuDevicePrimaryCtxRelease_v2(0), "release");
	must(cuGreenCtxDestroy(first), "destroy");
	say("first %llu", used_bytes(0));
	must(cuGreenCtxDestroy(second), "destroy");
	say("second %llu", used_bytes(0));
	say("mistake %d", (int)cuGreenCtxDestroy(NULL));
}

/* What is allocated while a green context is current lives as long as the primary one. */
static void memory_inside(void)
{
	CUdeviceptr filled;
	CUcontext inside;

	use_primary();
	CUgreenCtx green = make_green();
	must(cuCtxFromGreenCtx(&inside, green), "the context of a green one");
	must(cuCtxSetCurrent(inside), "cuCtxSetCurrent");
	must(cuMemAlloc_v2(&filled, KEPT), "cuMemAlloc");
	say("inside %llu", used_bytes(0));
	must(cuGreenCtxDestroy(green), "destroy");
	say("outlived %llu", used_bytes(0));
	must(cuDevicePrimaryCtxRelease_v2(0), "release");
	say("ended %llu", used_bytes(0));
}

static void work_on(CUstream stream, CUfunction kernel, unsigned blocks)
{
	for (unsigned i = 0; i < LAUNCHES; i++)
		must(cuLaunchKernel(kernel, blocks, 1, 1, 32, 1, 1, 0, stream, NULL, NULL),
			"launch");
	must(cuStreamSynchronize(stream), "synchronize");
}

static CUfunction load(void)
{
	struct functions cu = {
		.cuModuleLoadData = cuModuleLoadData, .cuModuleGetFunction = cuModuleGetFunction};
	CUmodule module;

	return load_kernel(&cu, &module);
}

static void work_in_greens(void)
{
	CUstream stream, green_stream;

	use_primary();
	CUfunction kernel = load();
	CUgreenCtx green = make_green();
	must(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "stream");
	must(cuGreenCtxStreamCreate(&green_stream, green, CU_STREAM_NON_BLOCKING, 0), "stream");
	work_on(stream, kernel, 1);
	work_on(green_stream, kernel, 1);
	must(cuStreamDestroy_v2(stream), "destroy");
	must(cuStreamDestroy_v2(green_stream), "destroy");
	must(cuDevicePrimaryCtxRelease_v2(0), "release");
	must(cuGreenCtxDestroy(green), "destroy");
}

static void bills(void)
{
	CUcontext contexts[2];
	CUstream stream;

	work_in_greens();
	unsigned long long before_ns = read_slice(0).gpu_time_ns;
	for (unsigned i = 0; i < 2; i++) {
		must(cuCtxCreate_v2(&contexts[i], 0, 0), "cuCtxCreate");
		must(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "stream");
		work_on(stream, load(), BLOCKS);
	}
	for (unsigned i = 0; i < 2; i++)
		must(cuCtxDestroy_v2(contexts[i]), "cuCtxDestroy");
	say("billed %llu", (unsigned long long)read_slice(0).gpu_time_ns - before_ns);
}

int main(int argc, char *argv[])
{
	bool is_memory = argc > 1 && argv[1][0] == 'm';

	must(cuInit(0), "cuInit");
	if (is_memory) {
		memory();
		memory_inside();
	} else {
		bills();
	}
	return 0;
}
