/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_partition_other green MILLISECONDS | old
 *
 * Work that comes neither by a stream of the primary context nor by a graph: `green` has a green
 * context of its own, `old` launches as before CUDA 4.0. Both say how many SMs were used, and `old`
 * sees that its kernels come in order with others.
 */
#include "client.h"
#include "partition.h"
#include "partition_gpu.h"

#include <string.h>

static struct gpu gpu;

/* Work in a stream of a green context of the program's own. */
static void green(unsigned long milliseconds)
{
	CUdevResource all, part;
	CUdevResourceDesc description;
	CUgreenCtx own;
	CUstream stream;
	unsigned groups = 1;
	int sms;

	bring_work(&gpu, NULL);
	say("before %u", sms_of(&gpu));
	must(cuDeviceGetDevResource(0, &all, CU_DEV_RESOURCE_TYPE_SM), "resource");
	must(cuDevSmResourceSplitByCount(&part, &groups, &all, NULL, 0, 64), "split");
	must(cuDevResourceGenerateDesc(&description, &part, 1), "description");
	must(cuGreenCtxCreate(&own, description, 0, CU_GREEN_CTX_DEFAULT_STREAM), "green");
	must(cuGreenCtxStreamCreate(&stream, own, CU_STREAM_NON_BLOCKING, 0), "stream");
	must(cuDeviceGetAttribute(&sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0), "SMs");
	say("told %d", sms);
	bring_work(&gpu, stream);
	say("own %u", sms_of(&gpu));
	keep_busy(&gpu, stream, milliseconds);
}

/* A legacy launch comes between the legacy work before and behind it. */
static void old(void)
{
	static struct marks marks;
	CUdeviceptr marked, cell;
	CUstream blocking;

	must(cuMemAlloc_v2(&marked, sizeof(marks)), "memory");
	must(cuMemAlloc_v2(&cell, 4), "memory");
	must(cuMemsetD8_v2(cell, 0, 4), "clear");
	marks.cell = (const uint32_t *)(uintptr_t)cell;
	must(cuMemcpyHtoD_v2(marked, &marks, sizeof(marks)), "clear");
	must(cuStreamCreate(&blocking, CU_STREAM_DEFAULT), "stream");
	must(cuFuncSetBlockShape(gpu.mark, 1, 1, 1), "shape");
	must(cuParamSetSize(gpu.mark, 12), "size");
	must(cuParamSetv(gpu.mark, 0, &marked, 8), "marks");
	for (uint32_t i = 0; i < 60; i += 3) {
		must(cuLaunchKernel(gpu.mark, 1, 1, 1, 1, 1, 1, 0, blocking,
			     (void *[]){&marked, &i}, NULL),
			"launch");
		must(cuParamSeti(gpu.mark, 8, i + 1), "number");
		must(cuLaunch(gpu.mark), "old");
		must(cuParamSeti(gpu.mark, 8, i + 2), "number");
		must(cuLaunchGrid(gpu.mark, 1, 1), "old grid");
	}
	must(cuMemcpyDtoH_v2(&marks, marked, sizeof(marks)), "read");
	must_be(marks.count == 60, "each ran once");
	for (uint32_t i = 0; i < 60; i++)
		must_be(marks.list[i].number == i, "in order");
	must(cuFuncSetBlockShape(gpu.census, 1024, 1, 1), "shape");
	must(cuParamSetSize(gpu.census, 12), "size");
	must(cuParamSetv(gpu.census, 0, &gpu.seen, 8), "seen");
	must(cuParamSeti(gpu.census, 8, 1), "cycles");
	must(cuLaunchGrid(gpu.census, CENSUS_BLOCKS, 1), "old grid");
	say("grid %u", sms_of(&gpu));
	/* One block each, so that they get around. */
	for (unsigned i = 0; i < CENSUS_BLOCKS; i++)
		must(cuLaunch(gpu.census), "old");
	say("single %u", sms_of(&gpu));
}

int main(int argc, char *argv[])
{
	const char *what = argc > 1 ? argv[1] : "";

	gpu = begin();
	if (strcmp(what, "green") == 0)
		green(argument(argc, argv, 2, 1000));
	else if (strcmp(what, "old") == 0)
		old();
	else
		must_be(false, "green or old");
	return 0;
}
