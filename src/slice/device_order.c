/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "slice/device_order.h"
#include "driver/driver.h"
#include "driver/real_dl.h"

#include <stdio.h>
#include <stdlib.h>

/* The few functions of NVML that are asked here; names, types and the meaning of 0 as success are
 * those of NVIDIA's NVML API reference. */
struct nvml {
	int (*init)(void);
	int (*handle_by_uuid)(const char *uuid, void **ret_device);
	int (*index_of)(void *device, unsigned *ret_index);
	int (*shutdown)(void);
};

static bool nvml_open(struct nvml *ret_nvml)
{
	void *library = real_dlopen("libnvidia-ml.so.1", RTLD_LAZY | RTLD_LOCAL);

	if (library == NULL)
		return false;
	*(void **)&ret_nvml->init = real_dlsym(library, "nvmlInit_v2");
	*(void **)&ret_nvml->handle_by_uuid = real_dlsym(library, "nvmlDeviceGetHandleByUUID");
	*(void **)&ret_nvml->index_of = real_dlsym(library, "nvmlDeviceGetIndex");
	*(void **)&ret_nvml->shutdown = real_dlsym(library, "nvmlShutdown");
	return ret_nvml->init != NULL && ret_nvml->handle_by_uuid != NULL &&
	       ret_nvml->index_of != NULL && ret_nvml->shutdown != NULL && ret_nvml->init() == 0;
}

static void uuid_text(const CUuuid *uuid, char text[48])
{
	const unsigned char *b = (const unsigned char *)uuid->bytes;

	snprintf(text, 48,
		"GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
		b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
		b[14], b[15]);
}

static bool order_by_nvml(const struct nvml *nvml, unsigned count, unsigned ret_index[])
{
	for (unsigned i = 0; i < count; i++) {
		char text[48];
		CUuuid uuid;
		void *handle;
		if (driver.cuDeviceGetUuid(&uuid, (CUdevice)i) != CUDA_SUCCESS)
			return false;
		uuid_text(&uuid, text);
		if (nvml->handle_by_uuid(text, &handle) != 0 ||
			nvml->index_of(handle, &ret_index[i]) != 0)
			return false;
	}
	return true;
}

static bool pci_address(unsigned device, uint64_t *ret_address)
{
	int domain, bus, slot;

	if (driver.cuDeviceGetAttribute(
		    &domain, CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID, (CUdevice)device) != CUDA_SUCCESS ||
		driver.cuDeviceGetAttribute(
			&bus, CU_DEVICE_ATTRIBUTE_PCI_BUS_ID, (CUdevice)device) != CUDA_SUCCESS ||
		driver.cuDeviceGetAttribute(
			&slot, CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID, (CUdevice)device) != CUDA_SUCCESS)
		return false;
	*ret_address = (uint64_t)(unsigned)domain << 32 | (uint64_t)(unsigned)bus << 8 |
		       (uint64_t)(unsigned)slot;
	return true;
}

/* A device's index is the number of devices with a smaller address. */
static bool order_by_pci(unsigned count, unsigned ret_index[])
{
	for (unsigned i = 0; i < count; i++) {
		uint64_t mine, other;
		if (!pci_address(i, &mine))
			return false;
		ret_index[i] = 0;
		for (unsigned j = 0; j < count; j++) {
			if (!pci_address(j, &other))
				return false;
			ret_index[i] += other < mine;
		}
	}
	return true;
}

const char *device_order_read(unsigned count, unsigned ret_index[])
{
	struct nvml nvml;

	if (nvml_open(&nvml)) {
		bool is_known = order_by_nvml(&nvml, count, ret_index);
		nvml.shutdown();
		if (is_known)
			return NULL;
	}
	if (getenv("CUDA_VISIBLE_DEVICES") == NULL && order_by_pci(count, ret_index))
		return NULL;
	return "settings for one device need its nvidia-smi number, and libnvidia-ml.so.1 does not "
	       "tell it; use the settings without a number, or unset CUDA_VISIBLE_DEVICES";
}
