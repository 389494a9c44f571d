/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "cuda_client.h"

#include <dlfcn.h>
#include <stdio.h>

#include "../simgpu/counters.h"

#define KERNEL_FORMAT               \
	".version 7.0\n"            \
	".target sm_75\n"           \
	".address_size 64\n"        \
	".visible .entry %.63s()\n" \
	"{\n"                       \
	"\tret;\n"                  \
	"}\n"

bool cuda_client_is_done(const char *what, CUresult res)
{
	if (res != CUDA_SUCCESS)
		fprintf(stderr, "cuslice-bench: %s answers %d\n", what, (int)res);
	return res == CUDA_SUCCESS;
}

static bool find_calls(struct cuda_client *client)
{
#define CALL(symbol)                                                                 \
	client->symbol = (__typeof__(symbol) *)dlsym(client->libcuda, #symbol);      \
	if (client->symbol == NULL) {                                                \
		fprintf(stderr, "cuslice-bench: libcuda.so.1 has no %s\n", #symbol); \
		return false;                                                        \
	}
	CUDA_CLIENT_CALLS(CALL)
#undef CALL
	return true;
}

static bool open_device(const struct cuda_client *client)
{
	CUdevice device;
	CUcontext context;

	return cuda_client_is_done("cuInit", client->cuInit(0)) &&
	       cuda_client_is_done("cuDeviceGet", client->cuDeviceGet(&device, 0)) &&
	       cuda_client_is_done("cuDevicePrimaryCtxRetain",
		       client->cuDevicePrimaryCtxRetain(&context, device)) &&
	       cuda_client_is_done("cuCtxSetCurrent", client->cuCtxSetCurrent(context));
}

bool cuda_client_open(struct cuda_client *ret_client)
{
	ret_client->libcuda = dlopen("libcuda.so.1", RTLD_NOW);
	if (ret_client->libcuda == NULL) {
		fprintf(stderr, "cuslice-bench: %s\n", dlerror());
		return false;
	}
	return find_calls(ret_client) && open_device(ret_client);
}

bool cuda_client_load_kernel(
	const struct cuda_client *client, const char *name, CUfunction *ret_kernel)
{
	char ptx[256];
	CUmodule module;

	snprintf(ptx, sizeof(ptx), KERNEL_FORMAT, name);
	return cuda_client_is_done("cuModuleLoadData", client->cuModuleLoadData(&module, ptx)) &&
	       cuda_client_is_done("cuModuleGetFunction",
		       client->cuModuleGetFunction(ret_kernel, module, name));
}

const _Atomic uint64_t *cuda_client_event_records(const struct cuda_client *client)
{
	const CUuuid uuid = {.bytes = SIMGPU_COUNTERS_UUID};
	const void *table;

	if (client->cuGetExportTable(&table, &uuid) != CUDA_SUCCESS)
		return NULL;
	return &((const struct simgpu_counters *)table)->event_records;
}
