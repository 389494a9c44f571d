/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Finding devices, and what about them does not change. CUDA_VISIBLE_DEVICES means nothing here.
 */
#include "session.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define UUID_SIZE sizeof("GPU-00000000-0000-0000-0000-000000000000")

/* Vendor 10de, no device of theirs. */
#define PCI_DEVICE_ID 0x10deu

nvmlReturn_t nvmlDeviceGetCount(unsigned int *deviceCount)
{
	nvmlReturn_t result = nvml_enter();
	if (result != NVML_SUCCESS)
		return result;
	if (!deviceCount)
		return nvml_leave(NVML_ERROR_INVALID_ARGUMENT);
	*deviceCount = nvml_machine()->device_count;
	return nvml_leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *deviceCount)
{
	return nvmlDeviceGetCount(deviceCount);
}

nvmlReturn_t nvmlDeviceGetHandleByIndex(unsigned int index, nvmlDevice_t *device)
{
	nvmlReturn_t result = nvml_enter();
	if (result != NVML_SUCCESS)
		return result;
	if (!device || !nvml_device(index))
		return nvml_leave(NVML_ERROR_INVALID_ARGUMENT);
	*device = nvml_device(index);
	return nvml_leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device)
{
	return nvmlDeviceGetHandleByIndex(index, device);
}

static void write_uuid(const struct wire_device *properties, char uuid[UUID_SIZE])
{
	int at = snprintf(uuid, UUID_SIZE, "GPU");
	for (size_t i = 0; i < sizeof(properties->uuid); i++) {
		bool starts_group = i == 0 || i == 4 || i == 6 || i == 8 || i == 10;
		at += snprintf(uuid + at, UUID_SIZE - (size_t)at, "%s%02x", starts_group ? "-" : "",
			properties->uuid[i]);
	}
}

static bool has_uuid(const struct nvmlDevice_st *device, const void *uuid)
{
	char own[UUID_SIZE];
	write_uuid(device->properties, own);
	return strcasecmp(own, uuid) == 0;
}

static bool has_bus(const struct nvmlDevice_st *device, const void *bus)
{
	return device->properties->pci_bus == *(const unsigned int *)bus;
}

static nvmlReturn_t find_device(bool (*matches)(const struct nvmlDevice_st *, const void *),
	const void *key, nvmlDevice_t *ret_device)
{
	struct nvmlDevice_st *device;

	for (unsigned int i = 0; (device = nvml_device(i)); i++) {
		if (matches(device, key)) {
			*ret_device = device;
			return NVML_SUCCESS;
		}
	}
	return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device)
{
	nvmlReturn_t result = nvml_enter();
	if (result != NVML_SUCCESS)
		return result;
	if (!uuid || !device)
		return nvml_leave(NVML_ERROR_INVALID_ARGUMENT);
	return nvml_leave(find_device(has_uuid, uuid, device));
}

/* domain:bus:device.function, or without the domain; all devices are 0:BUS:0.0. */
static bool parse_bus_id(const char *text, unsigned int *ret_bus)
{
	unsigned int domain, bus, slot, function;
	int end = 0;

	if (sscanf(text, "%x:%x:%x.%x%n", &domain, &bus, &slot, &function, &end) < 4) {
		domain = 0;
		if (sscanf(text, "%x:%x.%x%n", &bus, &slot, &function, &end) < 3)
			return false;
	}
	*ret_bus = bus;
	return text[end] == '\0' && domain == 0 && slot == 0 && function == 0;
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId(const char *pciBusId, nvmlDevice_t *device)
{
	unsigned int bus;
	nvmlReturn_t result = nvml_enter();
	if (result != NVML_SUCCESS)
		return result;
	if (!pciBusId || !device)
		return nvml_leave(NVML_ERROR_INVALID_ARGUMENT);
	if (!parse_bus_id(pciBusId, &bus))
		return nvml_leave(NVML_ERROR_NOT_FOUND);
	return nvml_leave(find_device(has_bus, &bus, device));
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *pciBusId, nvmlDevice_t *device)
{
	return nvmlDeviceGetHandleByPciBusId(pciBusId, device);
}

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned int *index)
{
	nvmlReturn_t result = nvml_enter_device(device);
	if (result != NVML_SUCCESS)
		return result;
	if (!index)
		return nvml_leave(NVML_ERROR_INVALID_ARGUMENT);
	*index = device->index;
	return nvml_leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t device, unsigned int *minorNumber)
{
	return nvmlDeviceGetIndex(device, minorNumber);
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int length)
{
	nvmlReturn_t result = nvml_enter_device(device);
	if (result != NVML_SUCCESS)
		return result;
	return nvml_leave(nvml_copy_text(device->properties->name, name, length));
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int length)
{
	char text[UUID_SIZE];
	nvmlReturn_t result = nvml_enter_device(device);
	if (result != NVML_SUCCESS)
		return result;
	write_uuid(device->properties, text);
	return nvml_leave(nvml_copy_text(text, uuid, length));
}

/* The first `size` bytes: older versions of the function have shorter structures. */
static nvmlReturn_t get_pci_info(nvmlDevice_t device, nvmlPciInfo_t *ret_pci, size_t size)
{
	nvmlReturn_t result = nvml_enter_device(device);
	if (result != NVML_SUCCESS)
		return result;
	if (!ret_pci)
		return nvml_leave(NVML_ERROR_INVALID_ARGUMENT);
	unsigned int bus = device->properties->pci_bus & 0xff;
	nvmlPciInfo_t pci = {.bus = bus, .pciDeviceId = PCI_DEVICE_ID};
	snprintf(pci.busIdLegacy, sizeof(pci.busIdLegacy), "0000:%02X:00.0", bus);
	snprintf(pci.busId, sizeof(pci.busId), "00000000:%02X:00.0", bus);
	memcpy(ret_pci, &pci, size);
	return nvml_leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetPciInfo(nvmlDevice_t device, nvmlPciInfo_t *pci)
{
	return get_pci_info(device, pci, offsetof(nvmlPciInfo_t, pciSubSystemId));
}

nvmlReturn_t nvmlDeviceGetPciInfo_v2(nvmlDevice_t device, nvmlPciInfo_t *pci)
{
	return get_pci_info(device, pci, offsetof(nvmlPciInfo_t, busId));
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *pci)
{
	return get_pci_info(device, pci, sizeof(*pci));
}

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major, int *minor)
{
	nvmlReturn_t result = nvml_enter_device(device);
	if (result != NVML_SUCCESS)
		return result;
	if (!major || !minor)
		return nvml_leave(NVML_ERROR_INVALID_ARGUMENT);
	*major = (int)device->properties->cc_major;
	*minor = (int)device->properties->cc_minor;
	return nvml_leave(NVML_SUCCESS);
}
