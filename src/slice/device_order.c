/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "slice/device_order.h"
#include "driver/driver.h"
#include "driver/nvml_client.h"

#include <stdlib.h>

static bool order_by_nvml(const struct nvml_client *nvml, unsigned count, unsigned ret_index[])
{
	void *handle;

	for (unsigned i = 0; i < count; i++) {
		if (!nvml_client_find_device(nvml, (CUdevice)i, &handle) ||
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
	struct nvml_client nvml;

	if (nvml_client_open(&nvml)) {
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
