/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "driver/nvml_client.h"
#include "driver/driver.h"
#include "driver/real_dl.h"

#include <stdio.h>

static void *find_newest(void *library, const char *newest, const char *older)
{
	void *function = real_dlsym(library, newest);

	return function != NULL ? function : real_dlsym(library, older);
}

bool nvml_client_open(struct nvml_client *ret_nvml)
{
	void *library = real_dlopen("libnvidia-ml.so.1", RTLD_LAZY | RTLD_LOCAL);

	if (library == NULL)
		return false;
	*(void **)&ret_nvml->init = real_dlsym(library, "nvmlInit_v2");
	*(void **)&ret_nvml->shutdown = real_dlsym(library, "nvmlShutdown");
	*(void **)&ret_nvml->handle_by_uuid = real_dlsym(library, "nvmlDeviceGetHandleByUUID");
	*(void **)&ret_nvml->index_of = real_dlsym(library, "nvmlDeviceGetIndex");
	*(void **)&ret_nvml->memory_info = real_dlsym(library, "nvmlDeviceGetMemoryInfo");
	*(void **)&ret_nvml->processes =
		find_newest(library, "nvmlDeviceGetComputeRunningProcesses_v3",
			"nvmlDeviceGetComputeRunningProcesses_v2");
	return ret_nvml->init != NULL && ret_nvml->shutdown != NULL &&
	       ret_nvml->handle_by_uuid != NULL && ret_nvml->index_of != NULL &&
	       ret_nvml->init() == 0;
}

static void uuid_text(const CUuuid *uuid, char text[48])
{
	const unsigned char *b = (const unsigned char *)uuid->bytes;

	snprintf(text, 48,
		"GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
		b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
		b[14], b[15]);
}

bool nvml_client_find_device(const struct nvml_client *nvml, CUdevice device, void **ret_handle)
{
	char text[48];
	CUuuid uuid;

	if (driver.cuDeviceGetUuid(&uuid, device) != CUDA_SUCCESS)
		return false;
	uuid_text(&uuid, text);
	return nvml->handle_by_uuid(text, ret_handle) == 0;
}
