/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_footprint WHAT QUOTA
 *
 * What the driver takes by itself: contexts, heaps, modules, and what nothing tells. At each step
 * the tests compare what cuslice.h says is used with the account of the machine. The program is
 * linked with libcuda.
 */
#include "client.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct functions cu;
static uint64_t quota;
static const CUcontext untouched = (CUcontext)0x5a5a;

/* A module of 3 MiB of variables; one of 1 GiB. */
static const char small_ptx[] = ".version 7.0\n"
				".target sm_75\n"
				".address_size 64\n"
				".visible .global .align 8 .b8 small[3145728];\n"
				".visible .entry busy()\n"
				"{\n"
				"	ret;\n"
				"}\n";
static const char large_ptx[] = ".version 7.0\n"
				".target sm_75\n"
				".address_size 64\n"
				".visible .global .align 8 .b8 large[1073741824];\n";

static CUcontext create(void)
{
	CUcontext context;

	must(cu.cuCtxCreate_v2(&context, 0, 0), "cuCtxCreate");
	return context;
}

static CUresult alloc(size_t bytes)
{
	return cu.cuMemAlloc_v2(&(CUdeviceptr){0}, bytes);
}

/* What was read last is stale then, and a refusal is told again. */
static void wait_for_reading(void)
{
	usleep(1050000);
}

static void say_info(const char *key)
{
	size_t free_bytes, total_bytes;

	must(cu.cuMemGetInfo_v2(&free_bytes, &total_bytes), "cuMemGetInfo");
	say("%s %zu %zu", key, free_bytes, total_bytes);
}

static void contexts(void)
{
	CUcontext first = create(), second, primary;

	wait_for_test("first");
	must(cu.cuCtxCreate_v3(&second, NULL, 0, 0, 0), "cuCtxCreate_v3");
	wait_for_test("second");
	must(cu.cuCtxDestroy_v2(second), "cuCtxDestroy");
	must(cu.cuCtxCreate_v4(&second, NULL, 0, 0), "cuCtxCreate_v4");
	wait_for_test("second");
	must(cu.cuCtxDestroy_v2(second), "cuCtxDestroy");
	must(cu.cuCtxCreate(&second, 0, 0), "cuCtxCreate");
	wait_for_test("second");
	must(cu.cuCtxDestroy_v2(second), "cuCtxDestroy");
	wait_for_test("first");
	must(cu.cuDevicePrimaryCtxRetain(&primary, 0), "retain");
	must(cu.cuDevicePrimaryCtxRetain(&primary, 0), "retain");
	wait_for_test("second");
	must(cu.cuDevicePrimaryCtxRelease_v2(0), "release");
	wait_for_test("second");
	must(cu.cuDevicePrimaryCtxRelease_v2(0), "release");
	wait_for_test("first");
	must(cu.cuDevicePrimaryCtxRetain(&primary, 0), "retain");
	must(cu.cuDevicePrimaryCtxReset_v2(0), "reset");
	wait_for_test("first");
	must(cu.cuCtxDestroy_v2(first), "cuCtxDestroy");
	wait_for_test("none");
}

static void refused_context(void)
{
	CUcontext first = create(), second = untouched;

	say("second %d", (int)cu.cuCtxCreate_v2(&second, 0, 0));
	say("primary %d", (int)cu.cuDevicePrimaryCtxRetain(&second, 0));
	say("output %s", second == untouched ? "untouched" : "set");
	wait_for_test("one");
	must(cu.cuCtxDestroy_v2(first), "cuCtxDestroy");
	say("again %d", (int)cu.cuCtxCreate_v2(&first, 0, 0));
	must(cu.cuCtxDestroy_v2(first), "cuCtxDestroy");
	say("primary %d", (int)cu.cuDevicePrimaryCtxRetain(&second, 0));
	wait_for_test("one");
}

/* Nobody knows what a context takes before there was one. */
static void large_context(void)
{
	create();
	say("over %d", (int)alloc(1));
	say_info("info");
	wait_for_test("one");
}

/* As the CUDA runtime takes its own context. */
static void unhooked(void)
{
	static const CUuuid uuid = {.bytes = "simgpu-table-one"};
	const struct {
		size_t size, constant;
		CUresult (*retain_primary)(CUcontext *, CUdevice);
	} * table;
	CUcontext primary, again;

	must(cu.cuGetExportTable((const void **)&table, &uuid), "cuGetExportTable");
	must(table->retain_primary(&primary, 0), "retain_primary");
	must(cu.cuCtxSetCurrent(primary), "cuCtxSetCurrent");
	must(alloc(MIB), "alloc");
	wait_for_test("seen");
	must(cu.cuDevicePrimaryCtxRetain(&again, 0), "retain");
	must_be(again == primary, "the same context");
	wait_for_test("seen");
	must(cu.cuDevicePrimaryCtxRelease_v2(0), "release");
	must(cu.cuDevicePrimaryCtxRelease_v2(0), "release");
	wait_for_test("none");
	must(table->retain_primary(&primary, 0), "retain_primary");
	must(cu.cuCtxSetCurrent(primary), "cuCtxSetCurrent");
	say_info("info");
	wait_for_test("shown");
}

/* It is charged as other first, and has its name once it is used. */
static void unhooked_first(void)
{
	static const CUuuid uuid = {.bytes = "simgpu-table-one"};
	const struct {
		size_t size, constant;
		CUresult (*retain_primary)(CUcontext *, CUdevice);
	} * table;
	CUcontext primary;

	must(cu.cuGetExportTable((const void **)&table, &uuid), "cuGetExportTable");
	must(table->retain_primary(&primary, 0), "retain_primary");
	create();
	wait_for_test("two");
	must(cu.cuCtxSetCurrent(primary), "cuCtxSetCurrent");
	must(alloc(MIB), "alloc");
	wait_for_test("named");
}

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	must_be(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0, "a file");
}

static CUresult load(unsigned how, CUmodule *ret_module, const char *image)
{
	static const char path[] = "module.ptx";

	switch (how) {
	case 0:
		write_file(path, image);
		return cu.cuModuleLoad(ret_module, path);
	case 1:
		return cu.cuModuleLoadData(ret_module, image);
	case 2:
		return cu.cuModuleLoadDataEx(ret_module, image, 0, NULL, NULL);
	default:
		return cu.cuModuleLoadFatBinary(ret_module, image);
	}
}

static void modules(void)
{
	CUmodule first, second, large = (CUmodule)untouched;
	CUcontext other;

	create();
	for (unsigned how = 0; how < 4; how++) {
		must(load(how, &first, small_ptx), "load");
		must(load(how, &second, small_ptx), "load");
		wait_for_test("two");
		say("large %d %s", (int)load(how, &large, large_ptx),
			large == (CUmodule)untouched ? "untouched" : "set");
		wait_for_test("two");
		must(cu.cuModuleUnload(first), "cuModuleUnload");
		wait_for_test("one");
		must(cu.cuModuleUnload(second), "cuModuleUnload");
		wait_for_test("none");
	}
	say("wrong %d", (int)cu.cuModuleUnload(second));
	say("bad %d", (int)cu.cuModuleLoadData(&first, ".version nonsense"));
	wait_for_test("none");
	must(cu.cuModuleLoadData(&first, small_ptx), "load");
	other = create();
	must(cu.cuModuleLoadData(&first, small_ptx), "load");
	wait_for_test("two_contexts");
	must(cu.cuCtxDestroy_v2(other), "cuCtxDestroy");
	wait_for_test("one");
}

static CUlibrary load_library(void)
{
	CUlibrary library;

	must(cu.cuLibraryLoadData(&library, small_ptx, NULL, NULL, 0, NULL, NULL, 0), "library");
	return library;
}

static void libraries(void)
{
	CUcontext first = create(), second;
	CUlibrary library = load_library(), other = load_library();
	CUdeviceptr address;
	CUfunction function;
	CUkernel kernel;
	CUmodule module;
	size_t bytes;

	wait_for_test("none");
	must(cu.cuLibraryGetModule(&module, library), "cuLibraryGetModule");
	wait_for_test("one");
	must(cu.cuLibraryGetModule(&module, library), "cuLibraryGetModule");
	must(cu.cuLibraryGetGlobal(&address, &bytes, library, "small"), "cuLibraryGetGlobal");
	must(cu.cuLibraryGetKernel(&kernel, library, "busy"), "cuLibraryGetKernel");
	must(cu.cuKernelGetFunction(&function, kernel), "cuKernelGetFunction");
	wait_for_test("one");
	must(cu.cuLibraryGetKernel(&kernel, other, "busy"), "cuLibraryGetKernel");
	must(cu.cuKernelGetFunction(&function, kernel), "cuKernelGetFunction");
	wait_for_test("two");
	second = create();
	must(cu.cuLibraryGetGlobal(&address, &bytes, library, "small"), "cuLibraryGetGlobal");
	wait_for_test("two_contexts");
	must(cu.cuCtxDestroy_v2(second), "cuCtxDestroy");
	wait_for_test("two");
	must(cu.cuLibraryUnload(library), "cuLibraryUnload");
	say("wrong %d", (int)cu.cuLibraryUnload(library));
	wait_for_test("one");
	must(cu.cuCtxDestroy_v2(first), "cuCtxDestroy");
	wait_for_test("no_context");
	create();
	must(cu.cuLibraryGetKernel(&kernel, other, "busy"), "cuLibraryGetKernel");
	must(cu.cuKernelGetFunction(&function, kernel), "cuKernelGetFunction");
	wait_for_test("one");
	must(cu.cuLibraryUnload(other), "cuLibraryUnload");
	wait_for_test("none");
}

static void set_limit(CUlimit limit, size_t value)
{
	must(cu.cuCtxSetLimit(limit, value), "cuCtxSetLimit");
}

static void heaps(void)
{
	CUcontext context = create();
	size_t value;

	set_limit(CU_LIMIT_MALLOC_HEAP_SIZE, 4 * MIB);
	set_limit(CU_LIMIT_PRINTF_FIFO_SIZE, MIB);
	set_limit(CU_LIMIT_MAX_L2_FETCH_GRANULARITY, 128);
	wait_for_test("none");
	set_limit(CU_LIMIT_MALLOC_HEAP_SIZE, 28 * MIB);
	set_limit(CU_LIMIT_PRINTF_FIFO_SIZE, 11 * MIB);
	set_limit(CU_LIMIT_STACK_SIZE, 2048);
	wait_for_test("grown");
	say("malloc %d", (int)cu.cuCtxSetLimit(CU_LIMIT_MALLOC_HEAP_SIZE, quota));
	say("stack %d", (int)cu.cuCtxSetLimit(CU_LIMIT_STACK_SIZE, 65536));
	must(cu.cuCtxGetLimit(&value, CU_LIMIT_MALLOC_HEAP_SIZE), "cuCtxGetLimit");
	say("malloc_size %zu", value);
	must(cu.cuCtxGetLimit(&value, CU_LIMIT_STACK_SIZE), "cuCtxGetLimit");
	say("stack_size %zu", value);
	say("unknown %d", (int)cu.cuCtxSetLimit((CUlimit)99, 1));
	wait_for_test("grown");
	set_limit(CU_LIMIT_MALLOC_HEAP_SIZE, 18 * MIB);
	wait_for_test("shrunk");
	set_limit(CU_LIMIT_STACK_SIZE, 1024);
	set_limit(CU_LIMIT_PRINTF_FIFO_SIZE, MIB);
	set_limit(CU_LIMIT_MALLOC_HEAP_SIZE, 8 * MIB);
	wait_for_test("none");
	set_limit(CU_LIMIT_MALLOC_HEAP_SIZE, 18 * MIB);
	set_limit(CU_LIMIT_STACK_SIZE, 2048);
	must(cu.cuCtxDestroy_v2(context), "cuCtxDestroy");
	wait_for_test("no_context");
}

/* A launch loads the library, and no hook sees it. */
static void other(void)
{
	CUlibrary library;
	CUkernel kernel;

	create();
	library = load_library();
	must(cu.cuLibraryGetKernel(&kernel, library, "busy"), "cuLibraryGetKernel");
	must(launch(&cu, (CUfunction)kernel, NULL), "launch");
	wait_for_reading();
	say_info("info");
	wait_for_test("one");
	say("over %d", (int)alloc(quota));
	must(cu.cuCtxSynchronize(), "cuCtxSynchronize");
	must(cu.cuLibraryUnload(library), "cuLibraryUnload");
	for (unsigned i = 0; i < 2; i++) {
		wait_for_reading();
		say_info("info");
	}
	wait_for_test("none");
}

/* A reading is made only where it could change the answer. */
static void refusal_readings(void)
{
	CUlibrary library;
	CUkernel kernel;

	create();
	must(alloc(MIB), "alloc");
	library = load_library();
	must(cu.cuLibraryGetKernel(&kernel, library, "busy"), "cuLibraryGetKernel");
	must(launch(&cu, (CUfunction)kernel, NULL), "launch");
	must(cu.cuCtxSynchronize(), "cuCtxSynchronize");
	wait_for_reading();
	must_be(alloc(quota) == CUDA_ERROR_OUT_OF_MEMORY, "refused");
	say("unread %llu", used_bytes(0));
	say_info("info");
	say("read %llu", used_bytes(0));
	must(cu.cuLibraryUnload(library), "cuLibraryUnload");
	size_t all = quota - (size_t)used_bytes(0) + MIB;
	for (unsigned i = 0; i < 2; i++) {
		wait_for_reading();
		say("all %d", (int)alloc(all));
	}
}

static void refusals(void)
{
	create();
	must(alloc(MIB), "alloc");
	for (unsigned i = 0; i < 1000; i++)
		must_be(alloc(quota) == CUDA_ERROR_OUT_OF_MEMORY, "refused");
	wait_for_reading();
	must_be(alloc(quota) == CUDA_ERROR_OUT_OF_MEMORY, "refused");
	say("refused %llu", (unsigned long long)read_slice(0).refused_count);
}

/* All of it at a time, in many threads. */
static atomic_bool is_over;
static CUcontext shared;

static unsigned next_random(unsigned *seed)
{
	*seed = *seed * 1103515245 + 12345;
	return *seed >> 8;
}

static void *allocate_and_free(void *data)
{
	unsigned seed = (unsigned)(uintptr_t)data;
	CUdeviceptr address;

	must(cu.cuCtxSetCurrent(shared), "cuCtxSetCurrent");
	while (!atomic_load(&is_over)) {
		if (cu.cuMemAlloc_v2(&address, 1 + next_random(&seed) % (8 * MIB)) == CUDA_SUCCESS)
			must(cu.cuMemFree_v2(address), "free");
	}
	return NULL;
}

static void *load_and_unload(void *data)
{
	CUmodule module;

	(void)data;
	must(cu.cuCtxSetCurrent(shared), "cuCtxSetCurrent");
	while (!atomic_load(&is_over)) {
		if (cu.cuModuleLoadData(&module, small_ptx) == CUDA_SUCCESS)
			must(cu.cuModuleUnload(module), "cuModuleUnload");
	}
	return NULL;
}

static void *create_and_destroy(void *data)
{
	CUcontext context;
	size_t free_bytes, total_bytes;

	(void)data;
	while (!atomic_load(&is_over)) {
		if (cu.cuCtxCreate_v2(&context, 0, 0) != CUDA_SUCCESS)
			continue;
		must(cu.cuMemGetInfo_v2(&free_bytes, &total_bytes), "cuMemGetInfo");
		must(cu.cuCtxDestroy_v2(context), "cuCtxDestroy");
	}
	return NULL;
}

/* Blocks of which all fit, so that nothing is refused for what it takes. */
#define BUSY_BYTES (32 * MIB)

static void *allocate_all_the_time(void *data)
{
	CUdeviceptr address;

	(void)data;
	must(cu.cuCtxSetCurrent(shared), "cuCtxSetCurrent");
	while (!atomic_load(&is_over)) {
		if (cu.cuMemAlloc_v2(&address, BUSY_BYTES) == CUDA_SUCCESS)
			must(cu.cuMemFree_v2(address), "free");
	}
	return NULL;
}

static void run_beside(void *(*body)(void *), unsigned count, void (*run)(void))
{
	pthread_t threads[4];

	for (unsigned i = 0; i < count; i++)
		must_be(pthread_create(&threads[i], NULL, body, NULL) == 0, "thread");
	run();
	atomic_store(&is_over, true);
	for (unsigned i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

static void load_often(void)
{
	unsigned refused = 0;
	CUmodule module;

	for (unsigned i = 0; i < 500; i++) {
		if (cu.cuModuleLoadData(&module, small_ptx) == CUDA_SUCCESS)
			must(cu.cuModuleUnload(module), "cuModuleUnload");
		else
			refused++;
	}
	say("refused %u", refused);
}

static void loads_beside_allocations(void)
{
	shared = create();
	run_beside(allocate_all_the_time, 4, load_often);
}

static void create_ten(void)
{
	for (unsigned i = 1; i < 10; i++)
		create();
}

/* The line that tells the refusal says what contexts have. */
static void contexts_beside_loads(void)
{
	shared = create();
	run_beside(load_and_unload, 4, create_ten);
	must_be(alloc(quota) == CUDA_ERROR_OUT_OF_MEMORY, "refused");
}

static void together(void)
{
	pthread_t threads[8];

	shared = create();
	must(alloc(MIB), "alloc");
	for (unsigned i = 0; i < 8; i++)
		must_be(pthread_create(&threads[i], NULL,
				i < 4   ? allocate_and_free
				: i < 6 ? load_and_unload
					: create_and_destroy,
				(void *)(uintptr_t)i) == 0,
			"thread");
	usleep(1500000);
	atomic_store(&is_over, true);
	for (unsigned i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < 2; i++) {
		wait_for_reading();
		say_info("info");
	}
	wait_for_test("at_rest");
}

/* Nobody has asked for what the stream has given back when it is measured what else is taken. */
static void free_in_order(void)
{
	CUdeviceptr address;

	must(cu.cuMemAlloc_v2(&address, 2 * MIB), "alloc");
	must(cu.cuMemFreeAsync(address, NULL), "free");
	must(cu.cuStreamSynchronize(NULL), "sync");
}

static void behind_frees(void)
{
	CUmodule module;
	CUcontext context = create();

	free_in_order();
	must(cu.cuModuleLoadData(&module, small_ptx), "load");
	wait_for_test("loaded");
	free_in_order();
	must(cu.cuCtxSetLimit(CU_LIMIT_STACK_SIZE, 1024 + 1024), "stack");
	wait_for_test("grown");
	free_in_order();
	create();
	wait_for_test("second");
	must(cu.cuCtxDestroy_v2(context), "destroy");
	wait_for_test("first");
}

/* The driver's figure leaves out what was imported. */
static void beside_imports(void)
{
	CUDA_EXTERNAL_MEMORY_HANDLE_DESC import = {
		.type = CU_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD, .size = 2 * MIB};
	CUexternalMemory memory;
	CUmodule module;

	create();
	import.handle.fd = memfd_create("import", 0);
	must_be(ftruncate(import.handle.fd, 2 * MIB) == 0, "memfd");
	must(cu.cuImportExternalMemory(&memory, &import), "import");
	wait_for_test("imported");
	must(cu.cuModuleLoadData(&module, small_ptx), "load");
	wait_for_test("loaded");
	create();
	wait_for_test("second");
}

int main(int argc, char *argv[])
{
	static const struct {
		const char *name;
		void (*run)(void);
	} all[] = {
		{"contexts", contexts},
		{"refused_context", refused_context},
		{"large_context", large_context},
		{"unhooked", unhooked},
		{"unhooked_first", unhooked_first},
		{"modules", modules},
		{"libraries", libraries},
		{"heaps", heaps},
		{"other", other},
		{"refusals", refusals},
		{"together", together},
		{"refusal_readings", refusal_readings},
		{"loads_beside_allocations", loads_beside_allocations},
		{"contexts_beside_loads", contexts_beside_loads},
		{"behind_frees", behind_frees},
		{"beside_imports", beside_imports},
	};

	functions_from_link(&cu);
	quota = argument(argc, argv, 2, 0);
	must(cu.cuInit(0), "cuInit");
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (argc > 1 && strcmp(argv[1], all[i].name) == 0) {
			all[i].run();
			return 0;
		}
	}
	return 2;
}
