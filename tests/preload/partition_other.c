/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_partition_other green MILLISECONDS | old | copies | errors
 *
 * Work that comes neither by a stream of the primary context nor by a graph: `green` has a green
 * context of its own, `old` launches as before CUDA 4.0, both say how many SMs were used, and `old`
 * sees that its kernels come in order with others. `copies` fills and copies without a stream and
 * looks at what became of it, `errors` says what mistakes are answered there.
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

#define WIDTH  256u
#define HEIGHT 4u
#define BYTES  ((size_t)WIDTH * HEIGHT)
#define ROUNDS 40u

static CUdeviceptr device_1, device_2, managed, pinned;

static void see(CUdeviceptr where, unsigned char value, const char *what)
{
	unsigned char seen[BYTES];

	must(cuMemcpyDtoH_v2(seen, where, BYTES), "read");
	for (size_t i = 0; i < BYTES; i++)
		must_be(seen[i] == value, what);
}

static void fill_by_all_functions(CUdeviceptr to, unsigned char value)
{
	unsigned wide = value * 0x01010101u;

	must(cuMemsetD8_v2(to, (unsigned char)~value, BYTES), "D8");
	must(cuMemsetD8_v2_ptds(to, value, BYTES), "D8");
	see(to, value, "D8");
	must(cuMemsetD16_v2(to, (unsigned short)~wide, BYTES / 2), "D16");
	see(to, (unsigned char)~value, "D16");
	must(cuMemsetD32_v2(to, wide, BYTES / 4), "D32");
	see(to, value, "D32");
	must(cuMemsetD2D8_v2(to, WIDTH, (unsigned char)~value, WIDTH, HEIGHT), "2D8");
	see(to, (unsigned char)~value, "2D8");
	must(cuMemsetD2D16_v2(to, WIDTH, (unsigned short)wide, WIDTH / 2, HEIGHT), "2D16");
	see(to, value, "2D16");
	must(cuMemsetD2D32_v2(to, WIDTH, ~wide, WIDTH / 4, HEIGHT), "2D32");
	see(to, (unsigned char)~value, "2D32");
}

/* What is filled of managed and of pinned memory is there when the call returns. */
static void fill_at_once(unsigned char value)
{
	must(cuMemsetD8_v2(managed, value, BYTES), "managed");
	must_be(((unsigned char *)(uintptr_t)managed)[BYTES - 1] == value, "managed, at once");
	must(cuMemsetD32_v2(pinned, value * 0x01010101u, BYTES / 4), "pinned");
	must_be(((unsigned char *)(uintptr_t)pinned)[BYTES - 1] == value, "pinned, at once");
}

static CUDA_MEMCPY2D plane(CUdeviceptr to, CUdeviceptr from, CUmemorytype type)
{
	return (CUDA_MEMCPY2D){.srcMemoryType = type,
		.srcDevice = from,
		.srcPitch = WIDTH,
		.dstMemoryType = type,
		.dstDevice = to,
		.dstPitch = WIDTH,
		.WidthInBytes = WIDTH,
		.Height = HEIGHT};
}

static void copy_by_all_functions(CUdeviceptr to, CUdeviceptr from, unsigned char value)
{
	CUDA_MEMCPY2D flat = plane(to, from, CU_MEMORYTYPE_DEVICE);
	CUDA_MEMCPY2D back = plane(from, to, CU_MEMORYTYPE_UNIFIED);
	CUDA_MEMCPY3D cube = {.srcMemoryType = CU_MEMORYTYPE_DEVICE,
		.srcDevice = from,
		.srcPitch = WIDTH,
		.srcHeight = HEIGHT,
		.dstMemoryType = CU_MEMORYTYPE_DEVICE,
		.dstDevice = to,
		.dstPitch = WIDTH,
		.dstHeight = HEIGHT,
		.WidthInBytes = WIDTH,
		.Height = HEIGHT,
		.Depth = 1};

	must(cuMemsetD8_v2(from, value, BYTES), "fill");
	must(cuMemcpyDtoD_v2(to, from, BYTES), "DtoD");
	see(to, value, "DtoD");
	must(cuMemsetD8_v2(to, (unsigned char)~value, BYTES), "fill");
	must(cuMemcpy(from, to, BYTES), "memcpy");
	see(from, (unsigned char)~value, "memcpy");
	must(cuMemsetD8_v2(from, value, BYTES), "fill");
	must(cuMemcpy_ptds(to, from, BYTES), "memcpy");
	see(to, value, "memcpy");
	must(cuMemsetD8_v2(from, (unsigned char)~value, BYTES), "fill");
	must(cuMemcpy2D_v2(&flat), "2D");
	see(to, (unsigned char)~value, "2D");
	must(cuMemsetD8_v2(to, value, BYTES), "fill");
	must(cuMemcpy2DUnaligned_v2(&back), "2D");
	see(from, value, "2D unaligned");
	must(cuMemsetD8_v2(from, (unsigned char)~value, BYTES), "fill");
	must(cuMemcpy3D_v2(&cube), "3D");
	see(to, (unsigned char)~value, "3D");
	must(cuMemcpy3D_v2_ptds(&cube), "3D");
	must(cuMemcpy2D_v2_ptds(&flat), "2D");
	must(cuMemcpy2DUnaligned_v2_ptds(&back), "2D");
	see(from, (unsigned char)~value, "back");
}

static void copies(void)
{
	void *host;

	must(cuMemAlloc_v2(&device_1, BYTES), "memory");
	must(cuMemAlloc_v2(&device_2, BYTES), "memory");
	must(cuMemAllocManaged(&managed, BYTES, CU_MEM_ATTACH_GLOBAL), "managed");
	must(cuMemHostAlloc(&host, BYTES, CU_MEMHOSTALLOC_DEVICEMAP), "pinned");
	must(cuMemHostGetDevicePointer_v2(&pinned, host, 0), "pinned");
	for (unsigned i = 0; i < ROUNDS; i++) {
		fill_by_all_functions(device_1, (unsigned char)i);
		fill_by_all_functions(managed, (unsigned char)i);
		fill_at_once((unsigned char)i);
		copy_by_all_functions(device_1, device_2, (unsigned char)i);
		copy_by_all_functions(managed, device_2, (unsigned char)i);
	}
	say("rounds %u", ROUNDS);
}

static void answer(int line, CUresult result)
{
	say("line_%d %d", line, (int)result);
}
#define ANSWER(call) answer(__LINE__, call)

static void errors(void)
{
	CUDA_MEMCPY2D flat = plane(0, 0, CU_MEMORYTYPE_DEVICE);
	CUDA_MEMCPY3D cube = {.srcMemoryType = CU_MEMORYTYPE_DEVICE,
		.dstMemoryType = CU_MEMORYTYPE_DEVICE,
		.WidthInBytes = 1,
		.Height = 1,
		.Depth = 1};
	CUDA_MEMCPY2D strange = plane(gpu.seen, gpu.seen, (CUmemorytype)77);
	CUDA_MEMCPY2D narrow = plane(gpu.seen, gpu.seen, CU_MEMORYTYPE_DEVICE);

	narrow.srcPitch = 1;
	ANSWER(cuMemcpy(0, gpu.seen, 16));
	ANSWER(cuMemcpy(gpu.seen, 0, 16));
	ANSWER(cuMemcpy2D_v2(NULL));
	ANSWER(cuMemcpy2D_v2(&flat));
	ANSWER(cuMemcpy2D_v2(&strange));
	ANSWER(cuMemcpy2D_v2(&narrow));
	ANSWER(cuMemcpy2DUnaligned_v2(&narrow));
	ANSWER(cuMemcpy3D_v2(NULL));
	ANSWER(cuMemcpy3D_v2(&cube));
	ANSWER(cuMemsetD8_v2(0, 0, 16));
	ANSWER(cuMemsetD2D8_v2(gpu.seen, 1, 0, 2, 2));
	ANSWER(cuMemsetD32_v2(gpu.seen + 1, 0, 1));
	ANSWER(cuCtxSynchronize());
}

int main(int argc, char *argv[])
{
	const char *what = argc > 1 ? argv[1] : "";

	gpu = begin();
	if (strcmp(what, "green") == 0)
		green(argument(argc, argv, 2, 1000));
	else if (strcmp(what, "old") == 0)
		old();
	else if (strcmp(what, "copies") == 0)
		copies();
	else if (strcmp(what, "errors") == 0)
		errors();
	else
		must_be(false, "green, old, copies or errors");
	return 0;
}
