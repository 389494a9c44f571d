/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_order WHAT [PATH]
 *
 * Calls at odd moments: before cuInit, from atexit handlers and destructors, after dlclose.
 */
#include "scenario.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

static struct functions cu;
static CUcontext context;
static CUdeviceptr address;

static void before_init(void)
{
	CUdeviceptr unset = 42;
	size_t free_bytes, total_bytes;
	CUgraphExec graph = (CUgraphExec)&unset;

	CUresult res = cu.cuMemAlloc_v2(&unset, MIB);
	say("alloc %d %d", (int)res, (int)unset);
	say("managed %d", (int)cu.cuMemAllocManaged(&unset, MIB, CU_MEM_ATTACH_GLOBAL));
	say("free %d", (int)cu.cuMemFree_v2(0x1000));
	say("info %d", (int)cu.cuMemGetInfo_v2(&free_bytes, &total_bytes));
	say("total %d", (int)cu.cuDeviceTotalMem_v2(&total_bytes, 0));
	say("launch %d", (int)launch(&cu, (CUfunction)&unset, NULL));
	say("graph %d", (int)cu.cuGraphLaunch(graph, NULL));
	say("release %d", (int)cu.cuDevicePrimaryCtxRelease_v2(0));
	say("reset %d", (int)cu.cuDevicePrimaryCtxReset_v2(0));
	say("destroy %d", (int)cu.cuCtxDestroy_v2((CUcontext)&unset));
	say("flags %d", (int)cu.cuInit(1));
}

static void at_exit(void)
{
	CUdeviceptr more = 42;

	say("atexit_alloc %d", (int)cu.cuMemAlloc_v2(&more, MIB));
	say("atexit_free %d", (int)cu.cuMemFree_v2(more));
}

__attribute__((destructor)) static void finish(void)
{
	size_t free_bytes, total_bytes;

	if (context == NULL)
		return;
	say("destructor_info %d", (int)cu.cuMemGetInfo_v2(&free_bytes, &total_bytes));
	say("destructor_free %d", (int)cu.cuMemFree_v2(address));
	say("destructor_destroy %d", (int)cu.cuCtxDestroy_v2(context));
}

static void late(void)
{
	atexit(at_exit);
	must(cu.cuInit(0), "cuInit");
	must(cu.cuCtxCreate_v2(&context, 0, 0), "cuCtxCreate");
	must(cu.cuMemAlloc_v2(&address, MIB), "cuMemAlloc");
}

/* Pointers that were looked up stay good while anybody has them: a table of ours leads there. */
static void reopen(void *handle)
{
	struct functions again;

	must(cu.cuInit(0), "cuInit");
	say("close %d", dlclose(handle));
	must(cu.cuCtxCreate_v2(&context, 0, 0), "cuCtxCreate");
	must(cu.cuMemAlloc_v2(&address, MIB), "cuMemAlloc");
	functions_from_dlopen(&again, "libcuda.so.1");
	say("reopened %s", memcmp(&again, &cu, sizeof(cu)) == 0 ? "same" : "different");
	say("large %d", (int)again.cuMemAlloc_v2(&address, 96 * MIB));
}

/* Closing us as often as one likes takes nothing away. */
static void unload(const char *path)
{
	CUdeviceptr large;

	must(cu.cuInit(0), "cuInit");
	must(cu.cuCtxCreate_v2(&context, 0, 0), "cuCtxCreate");
	for (unsigned i = 0; i < 20; i++) {
		void *handle = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
		must_be(handle != NULL, path);
		dlclose(handle);
		dlclose(handle);
	}
	must_be(dlopen(path, RTLD_NOW | RTLD_NOLOAD) != NULL, "it is still there");
	say("large %d", (int)cu.cuMemAlloc_v2(&large, 96 * MIB));
	say("small %d", (int)cu.cuMemAlloc_v2(&address, MIB));
}

/* A library that is linked with libcuda and uses it in its destructor. */
static void plugin_late(const char *path)
{
	void *plugin = dlopen(path, RTLD_NOW);
	int (*run)(void);

	must_be(plugin != NULL, path);
	*(void **)&run = dlsym(plugin, "plugin_run");
	say("run %d", run());
}

int main(int argc, char *argv[])
{
	const char *what = argc > 1 ? argv[1] : "";
	const char *path = argc > 2 ? argv[2] : "";

	if (strcmp(what, "plugin_late") == 0) {
		plugin_late(path);
		return 0;
	}
	void *handle = functions_from_dlopen(&cu, "libcuda.so.1");
	if (strcmp(what, "before_init") == 0)
		before_init();
	else if (strcmp(what, "late") == 0)
		late();
	else if (strcmp(what, "reopen") == 0)
		reopen(handle);
	else if (strcmp(what, "unload") == 0)
		unload(path);
	else
		return 2;
	return 0;
}
