/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_arrays WHAT QUOTA [MORE]
 *
 * Arrays, external memory, managed and host memory under a quota of QUOTA bytes; the tests compare
 * what cuslice.h says with the account of the machine.
 */
#include "client.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/mman.h>
#include <unistd.h>

#define KIB ((size_t)1 << 10)

static struct functions cu;
static uint64_t quota;
static CUcontext context;

/* What arrays of unknown shapes take beyond their elements is charged as other when the driver's
 * figure happens to be read, and comes back when two more readings agree, a second apart each. */
static void let_readings_settle(void)
{
	size_t free_bytes, total_bytes;

	for (unsigned i = 0; i < 3; i++) {
		nanosleep(&(struct timespec){.tv_sec = 1, .tv_nsec = 50000000}, NULL);
		must(cu.cuMemGetInfo_v2(&free_bytes, &total_bytes), "cuMemGetInfo");
	}
}

static void open_context(void)
{
	must(cu.cuInit(0), "cuInit");
	must(cu.cuCtxCreate_v2(&context, 0, 0), "cuCtxCreate");
}

static CUDA_ARRAY3D_DESCRIPTOR bytes_of(size_t width, size_t height, size_t depth, unsigned flags)
{
	return (CUDA_ARRAY3D_DESCRIPTOR){
		.Width = width,
		.Height = height,
		.Depth = depth,
		.Format = CU_AD_FORMAT_UNSIGNED_INT8,
		.NumChannels = 1,
		.Flags = flags,
	};
}

static CUarray array_of(size_t width, size_t height, size_t depth, unsigned flags)
{
	const CUDA_ARRAY3D_DESCRIPTOR description = bytes_of(width, height, depth, flags);
	CUarray array = NULL;

	must(cu.cuArray3DCreate_v2(&array, &description), "cuArray3DCreate");
	return array;
}

/* One of every kind and version, each twice: the second is made of what the first taught. */
static void every_kind(void)
{
	const CUDA_ARRAY_DESCRIPTOR plane = {1000, 1000, CU_AD_FORMAT_FLOAT, 4};
	const CUDA_ARRAY_DESCRIPTOR_v1 plane_v1 = {1000, 10, CU_AD_FORMAT_HALF, 2};
	const CUDA_ARRAY3D_DESCRIPTOR_v1 space_v1 = {100, 100, 10, CU_AD_FORMAT_FLOAT, 1, 0};
	const CUDA_ARRAY3D_DESCRIPTOR levels = bytes_of(1024, 512, 0, 0);
	CUarray arrays[2][6];
	CUmipmappedArray mipmaps[2];

	open_context();
	for (unsigned i = 0; i < 2; i++) {
		must(cu.cuArrayCreate_v2(&arrays[i][0], &plane), "cuArrayCreate_v2");
		must(cu.cuArrayCreate(&arrays[i][1], &plane_v1), "cuArrayCreate");
		must(cu.cuArray3DCreate(&arrays[i][2], &space_v1), "cuArray3DCreate");
		arrays[i][3] = array_of(1, 1000, 0, 0);
		arrays[i][4] = array_of(16, 16, 60, CUDA_ARRAY3D_LAYERED);
		arrays[i][5] = array_of(5000, 0, 0, 0);
		must(cu.cuMipmappedArrayCreate(&mipmaps[i], &levels, 10), "cuMipmappedArrayCreate");
		wait_for_test("made");
	}
	for (unsigned i = 0; i < 2; i++) {
		for (unsigned j = 0; j < 6; j++)
			must(cu.cuArrayDestroy(arrays[i][j]), "cuArrayDestroy");
		must(cu.cuMipmappedArrayDestroy(mipmaps[i]), "cuMipmappedArrayDestroy");
	}
	wait_for_test("destroyed");
	array_of(1024, 1024, 0, 0);
	must(cu.cuCtxDestroy_v2(context), "cuCtxDestroy");
	wait_for_test("context_gone");
}

static void try_array(const char *key, size_t width, size_t height, size_t depth)
{
	const CUDA_ARRAY3D_DESCRIPTOR description = bytes_of(width, height, depth, 0);
	CUarray array = (CUarray)42;
	CUmipmappedArray mipmap = (CUmipmappedArray)42;
	CUresult res = cu.cuArray3DCreate_v2(&array, &description);
	CUresult res_mipmap = cu.cuMipmappedArrayCreate(&mipmap, &description, 1);

	say("%s %d %d %d %d", key, (int)res, (int)(uintptr_t)array, (int)res_mipmap,
		(int)(uintptr_t)mipmap);
}

/* What does not fit, makes no sense, or costs nothing. */
static void limits(void)
{
	const CUDA_ARRAY3D_DESCRIPTOR sparse = bytes_of(4096, 4096, 0, CUDA_ARRAY3D_SPARSE);
	CUmipmappedArray mipmap;
	CUarray array;

	open_context();
	try_array("4_gib", 65536, 65536, 0);
	try_array("near_2_to_64", SIZE_MAX, SIZE_MAX, SIZE_MAX);
	try_array("narrow", 1, 65536, 0);
	try_array("no_width", 0, 16, 0);
	say("null %d %d", (int)cu.cuArray3DCreate_v2(NULL, &sparse),
		(int)cu.cuArray3DCreate_v2(&array, NULL));
	say("destroy_nothing %d", (int)cu.cuArrayDestroy(NULL));
	wait_for_test("refused");

	must(cu.cuArray3DCreate_v2(&array, &sparse), "sparse");
	array_of(4096, 4096, 0, CUDA_ARRAY3D_DEFERRED_MAPPING);
	must(cu.cuMipmappedArrayCreate(&mipmap, &sparse, 5), "sparse levels");
	wait_for_test("unbacked");
	must(cu.cuArrayDestroy(array), "cuArrayDestroy");
	must(cu.cuMipmappedArrayDestroy(mipmap), "cuMipmappedArrayDestroy");

	/* As many as the quota has room for, and one that the driver refuses to destroy. */
	unsigned count = 0;
	CUDA_ARRAY3D_DESCRIPTOR wide = bytes_of(1, 2048, 0, 0);
	CUresult res;
	while ((res = cu.cuArray3DCreate_v2(&array, &wide)) == CUDA_SUCCESS)
		count++;
	say("filled %u %d", count, (int)res);
	wait_for_test("full");
	say("destroy %d", (int)cu.cuArrayDestroy(array));
	wait_for_test("still_full");
	say("destroy %d", (int)cu.cuArrayDestroy(array));
	wait_for_test("one_less");
}

#define THREADS 4

static void *make_and_destroy(void *data)
{
	const unsigned long rounds = *(unsigned long *)data;

	must(cu.cuCtxSetCurrent(context), "cuCtxSetCurrent");
	for (unsigned long i = 0; i < rounds; i++) {
		const CUDA_ARRAY3D_DESCRIPTOR description = bytes_of(1 + i % 17, 300, i % 3, 0);
		CUarray array;
		CUdeviceptr address;

		CUresult res = cu.cuArray3DCreate_v2(&array, &description);
		must_be(res == CUDA_SUCCESS || res == CUDA_ERROR_OUT_OF_MEMORY, "array");
		CUresult res_linear = cu.cuMemAlloc_v2(&address, 1 + i % 100000);
		must_be(res_linear == CUDA_SUCCESS || res_linear == CUDA_ERROR_OUT_OF_MEMORY,
			"linear");
		if (res == CUDA_SUCCESS)
			must(cu.cuArrayDestroy(array), "cuArrayDestroy");
		if (res_linear == CUDA_SUCCESS)
			must(cu.cuMemFree_v2(address), "cuMemFree");
	}
	return NULL;
}

static void threads(unsigned long rounds)
{
	pthread_t ids[THREADS];

	open_context();
	for (unsigned i = 0; i < THREADS; i++)
		must_be(pthread_create(&ids[i], NULL, make_and_destroy, &rounds) == 0, "thread");
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(ids[i], NULL);
	let_readings_settle();
	wait_for_test("at_end");
}

static CUresult make_narrow(CUarray *ret_array)
{
	const CUDA_ARRAY3D_DESCRIPTOR narrow = bytes_of(1, 2048, 0, 0);

	return cu.cuArray3DCreate_v2(ret_array, &narrow);
}

/* False where the stream came to the free too late. */
static bool wait_for_a_free(CUdeviceptr all, CUstream stream)
{
	CUarray array;
	uint64_t begun_ns = now_ns();

	must(cu.cuLaunchHostFunc(stream, pause_2_ms, NULL), "cuLaunchHostFunc");
	must(cu.cuMemFreeAsync(all, stream), "cuMemFreeAsync");
	CUresult res = make_narrow(&array);
	must(cu.cuStreamSynchronize(stream), "cuStreamSynchronize");
	if (res != CUDA_SUCCESS && pause_was_late(begun_ns))
		return false;
	say("waited %d", (int)res);
	return true;
}

/* What the driver took beyond the elements waits for what a stream is about to free. */
static void waits_for_frees(void)
{
	CUdeviceptr all;
	CUstream stream;
	CUarray array;

	open_context();
	must(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
	for (bool is_first = true;; is_first = false) {
		must(cu.cuMemAlloc_v2(&all, quota - 8 * KIB), "alloc");
		if (is_first)
			say("over %d", (int)make_narrow(&array));
		if (wait_for_a_free(all, stream))
			break;
	}
	wait_for_test("at_end");
}

static int memory_file(size_t bytes)
{
	int fd = memfd_create("external", 0);

	must_be(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0, "memfd_create");
	return fd;
}

static CUresult import(CUexternalMemory *ret_memory, int fd, size_t bytes)
{
	const CUDA_EXTERNAL_MEMORY_HANDLE_DESC description = {
		.type = CU_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD,
		.handle = {.fd = fd},
		.size = bytes};

	return cu.cuImportExternalMemory(ret_memory, &description);
}

static void external(void)
{
	const CUDA_EXTERNAL_MEMORY_BUFFER_DESC buffer = {.size = quota / 2};
	CUexternalMemory memory, unset = (CUexternalMemory)42;
	CUdeviceptr address;

	open_context();
	int fd = memory_file(quota + KIB);
	say("over %d %d", (int)import(&unset, fd, quota + KIB), (int)(uintptr_t)unset);
	say("still_ours %d", ftruncate(fd, (off_t)quota));
	say("too_long %d", (int)import(&unset, fd, quota * 2));
	must(import(&memory, fd, quota / 2), "import");
	wait_for_test("imported");
	must(cu.cuExternalMemoryGetMappedBuffer(&address, memory, &buffer), "map");
	must(cu.cuMemFree_v2(address), "cuMemFree");
	wait_for_test("mapped");
	must(cu.cuDestroyExternalMemory(memory), "cuDestroyExternalMemory");
	say("again %d", (int)cu.cuDestroyExternalMemory(memory));
	say("null %d", (int)cu.cuImportExternalMemory(&memory, NULL));
	wait_for_test("destroyed");
}

/* Managed memory counts in full, host memory not at all. */
static void managed_and_host(void)
{
	CUdeviceptr managed, unset = 42;
	void *host[3];

	open_context();
	say("managed %d", (int)cu.cuMemAllocManaged(&managed, quota, CU_MEM_ATTACH_GLOBAL));
	say("over %d %d", (int)cu.cuMemAllocManaged(&unset, 1, CU_MEM_ATTACH_HOST), (int)unset);
	wait_for_test("managed_used");
	must(cu.cuMemPrefetchAsync(managed, quota, CU_DEVICE_CPU, NULL), "cuMemPrefetchAsync");
	must(cu.cuMemPrefetchAsync(managed, quota, 0, NULL), "cuMemPrefetchAsync");
	must(cu.cuMemAdvise(managed, quota, CU_MEM_ADVISE_SET_READ_MOSTLY, 0), "cuMemAdvise");
	wait_for_test("prefetched");
	must(cu.cuMemFree_v2(managed), "cuMemFree");
	must(cu.cuMemAllocHost_v2(&host[0], 2 * quota), "cuMemAllocHost");
	must(cu.cuMemHostAlloc(&host[1], 2 * quota, CU_MEMHOSTALLOC_DEVICEMAP), "cuMemHostAlloc");
	host[2] = mmap(NULL, 2 * quota, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(cu.cuMemHostRegister_v2(host[2], 2 * quota, 0), "cuMemHostRegister");
	wait_for_test("host_used");
	must(cu.cuMemFreeHost(host[0]), "cuMemFreeHost");
	must(cu.cuMemFreeHost(host[1]), "cuMemFreeHost");
	must(cu.cuMemHostUnregister(host[2]), "cuMemHostUnregister");
	wait_for_test("at_end");
}

int main(int argc, char *argv[])
{
	const char *what = argc > 1 ? argv[1] : "";

	functions_from_link(&cu);
	quota = argument(argc, argv, 2, 0);
	if (strcmp(what, "every_kind") == 0)
		every_kind();
	else if (strcmp(what, "limits") == 0)
		limits();
	else if (strcmp(what, "threads") == 0)
		threads(argument(argc, argv, 3, 1000));
	else if (strcmp(what, "waits_for_frees") == 0)
		waits_for_frees();
	else if (strcmp(what, "external") == 0)
		external();
	else if (strcmp(what, "managed_and_host") == 0)
		managed_and_host();
	else
		return 2;
	return 0;
}
