/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_nvml WHAT, client_linked_nvml WHAT
 *
 * What NVML tells of the memory of every device, with and without CUDA in the process. Built twice:
 * one finds NVML at run time, the other is linked with it.
 */
#include "client.h"
#include "cuslice/cuslice.h"
#include "nvml_abi.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static struct {
	__typeof__(nvmlInit_v2) *init;
	__typeof__(nvmlDeviceGetCount_v2) *count;
	__typeof__(nvmlDeviceGetHandleByIndex_v2) *handle;
	__typeof__(nvmlDeviceGetMemoryInfo) *info;
	__typeof__(nvmlDeviceGetMemoryInfo_v2) *info_v2;
} nvml;

static void find(void *handle)
{
	*(void **)&nvml.init = dlsym(handle, "nvmlInit_v2");
	*(void **)&nvml.count = dlsym(handle, "nvmlDeviceGetCount_v2");
	*(void **)&nvml.handle = dlsym(handle, "nvmlDeviceGetHandleByIndex_v2");
	*(void **)&nvml.info = dlsym(handle, "nvmlDeviceGetMemoryInfo");
	*(void **)&nvml.info_v2 = dlsym(handle, "nvmlDeviceGetMemoryInfo_v2");
	must_be(nvml.init != NULL && nvml.count != NULL && nvml.handle != NULL &&
			nvml.info != NULL && nvml.info_v2 != NULL,
		"dlsym");
}

static void open_nvml(void)
{
#ifdef LINKED
	nvml.init = nvmlInit_v2;
	nvml.count = nvmlDeviceGetCount_v2;
	nvml.handle = nvmlDeviceGetHandleByIndex_v2;
	nvml.info = nvmlDeviceGetMemoryInfo;
	nvml.info_v2 = nvmlDeviceGetMemoryInfo_v2;
#else
	void *library = dlopen("libnvidia-ml.so.1", RTLD_LAZY | RTLD_LOCAL);

	must_be(library != NULL, "libnvidia-ml.so.1");
	find(library);
#endif
	must_be(nvml.init() == NVML_SUCCESS, "nvmlInit");
}

/* total, used and free of each device in MiB, by both versions. */
static void say_devices(const char *key)
{
	unsigned count;

	must_be(nvml.count(&count) == NVML_SUCCESS, "count");
	for (unsigned i = 0; i < count; i++) {
		nvmlMemory_v2_t info_v2 = {.version = nvmlMemory_v2};
		nvmlMemory_t info;
		nvmlDevice_t device;

		must_be(nvml.handle(i, &device) == NVML_SUCCESS, "handle");
		must_be(nvml.info(device, &info) == NVML_SUCCESS, "info");
		must_be(nvml.info_v2(device, &info_v2) == NVML_SUCCESS, "info_v2");
		say("%s_%u %llu %llu %llu", key, i, info.total / MIB, info.used / MIB,
			info.free / MIB);
		say("%s_v2_%u %llu %llu %llu", key, i, info_v2.total / MIB, info_v2.used / MIB,
			info_v2.free / MIB);
	}
}

static void say_errors(void)
{
	nvmlMemory_v2_t wrong = {.version = 7};
	nvmlMemory_t info;
	nvmlDevice_t device;

	must_be(nvml.handle(0, &device) == NVML_SUCCESS, "handle");
	say("errors %d %d %d %d", (int)nvml.info(device, NULL), (int)nvml.info(NULL, &info),
		(int)nvml.info_v2(device, NULL), (int)nvml.info_v2(device, &wrong));
}

/* Whose function a lookup gave. */
static void say_owner(void)
{
	Dl_info info;

	must_be(dladdr(*(void **)&nvml.info, &info) != 0, "dladdr");
	say("owner %s", strstr(info.dli_fname, "nvidia-ml") != NULL ? "nvml" : "other");
}

static void with_cuda(void)
{
	int (*tighten)(int, uint64_t);
	struct functions cu;
	CUcontext context;
	CUdeviceptr address;

	functions_from_dlopen(&cu, "libcuda.so.1");
	say_devices("before_init");
	must(cu.cuInit(0), "cuInit");
	must(cu.cuCtxCreate_v2(&context, 0, 0), "cuCtxCreate");
	say_devices("empty");
	must(cu.cuMemAlloc_v2(&address, 10 * MIB), "alloc");
	say_devices("held");
	*(void **)&tighten = dlsym(RTLD_DEFAULT, "cuslice_tighten_memory");
	if (tighten != NULL && tighten(0, 8 * MIB) == CUSLICE_OK)
		say_devices("tightened");
	must(cu.cuMemFree_v2(address), "free");
	say_devices("freed");
}

static void *look_up_and_ask(void *handle)
{
	__typeof__(nvmlDeviceGetMemoryInfo) *info;
	nvmlDevice_t device;
	nvmlMemory_t memory;

	for (int i = 0; i < 100; i++) {
		*(void **)&info = dlsym(handle, "nvmlDeviceGetMemoryInfo");
		must_be(info != NULL && nvml.handle(0, &device) == NVML_SUCCESS, "handle");
		must_be(info(device, &memory) == NVML_SUCCESS, "info");
		must_be(memory.total == 64 * MIB, "the slice");
	}
	return NULL;
}

/* Several threads are the first to ask. */
static void threads(void)
{
	pthread_t ids[4];
	void *library = dlopen("libnvidia-ml.so.1", RTLD_LAZY | RTLD_LOCAL);

	must_be(library != NULL, "libnvidia-ml.so.1");
	*(void **)&nvml.init = dlsym(library, "nvmlInit_v2");
	*(void **)&nvml.handle = dlsym(library, "nvmlDeviceGetHandleByIndex_v2");
	must_be(nvml.init() == NVML_SUCCESS, "nvmlInit");
	for (unsigned i = 0; i < 4; i++)
		must_be(pthread_create(&ids[i], NULL, look_up_and_ask, library) == 0, "thread");
	for (unsigned i = 0; i < 4; i++)
		pthread_join(ids[i], NULL);
	say("threads done");
}

/* What the global scope has, and the table that is behind it. */
static void global(void)
{
	say("absent %d", dlsym(RTLD_DEFAULT, "nvmlDeviceGetMemoryInfo") == NULL);
	say("error %d", dlerror() != NULL);
	must_be(dlopen("libnvidia-ml.so.1", RTLD_LAZY | RTLD_GLOBAL) != NULL, "libnvidia-ml.so.1");
	find(RTLD_DEFAULT);
	must_be(nvml.init() == NVML_SUCCESS, "nvmlInit");
	say_devices("global");
	find(dlopen(NULL, RTLD_LAZY));
	say_devices("program");
}

int main(int argc, char *argv[])
{
	const char *what = argc > 1 ? argv[1] : "";

	if (strcmp(what, "threads") == 0) {
		threads();
		return 0;
	}
	if (strcmp(what, "global") == 0) {
		global();
		return 0;
	}
	open_nvml();
	if (strcmp(what, "alone") == 0)
		say_devices("device");
	else if (strcmp(what, "errors") == 0)
		say_errors();
	else if (strcmp(what, "owner") == 0)
		say_owner();
	else if (strcmp(what, "with_cuda") == 0)
		with_cuda();
	else
		return 2;
	return 0;
}
