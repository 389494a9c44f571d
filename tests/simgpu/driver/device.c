/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The visible devices, and the entry points that ask about them but for attributes.
 */
#include "device.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "entry.h"

static struct device devices[WIRE_MAX_DEVICES];
static int device_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void driver_lock(void)
{
	pthread_mutex_lock(&lock);
}

void driver_unlock(void)
{
	pthread_mutex_unlock(&lock);
}

int devices_count(void)
{
	return device_count;
}

struct device *device_of(CUdevice ordinal)
{
	return ordinal >= 0 && ordinal < device_count ? &devices[ordinal] : NULL;
}

CUdevice device_ordinal(const struct device *device)
{
	return (CUdevice)(device - devices);
}

/* Writes GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx. */
static void format_uuid(const uint8_t uuid[16], char text[41])
{
	char *end = text + sprintf(text, "GPU");

	for (int i = 0; i < 16; i++)
		end += sprintf(end,
			i == 0 || i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x",
			uuid[i]);
}

/* Returns the index of the device that one element of CUDA_VISIBLE_DEVICES names, or -1. */
static int named_device(const struct wire_machine *machine, const char *name)
{
	char *end;

	if (strncmp(name, "GPU-", 4) == 0) {
		for (uint32_t i = 0; i < machine->device_count; i++) {
			char text[41];

			format_uuid(machine->devices[i].uuid, text);
			if (strncasecmp(text, name, strlen(name)) == 0)
				return (int)i;
		}
		return -1;
	}
	const long index = strtol(name, &end, 10);

	if (end == name || *end || index < 0 || index >= (long)machine->device_count)
		return -1;
	return (int)index;
}

static bool is_visible_already(int index)
{
	for (int i = 0; i < device_count; i++) {
		if (devices[i].index == index)
			return true;
	}
	return false;
}

static void add_device(const struct wire_machine *machine, int index)
{
	devices[device_count++] = (struct device){
		.index = index,
		.info = &machine->devices[index],
	};
}

/* As the real driver: the list ends at the first element that names nothing, and one that names a
 * device twice leaves none visible. */
static void add_listed(const struct wire_machine *machine, char *list)
{
	char *rest = NULL;

	for (char *name = strtok_r(list, ", ", &rest); name; name = strtok_r(NULL, ", ", &rest)) {
		const int index = named_device(machine, name);

		if (index < 0)
			return;
		if (is_visible_already(index)) {
			device_count = 0;
			return;
		}
		add_device(machine, index);
	}
}

/* What the daemon's percentage leaves of `sm_count`, which CUDA_MPS_ACTIVE_THREAD_PERCENTAGE may
 * tighten: rounded up to pairs of SMs. What is no percentage is ignored. */
static uint32_t limit_by_mps(uint32_t sm_count, uint32_t most_percent)
{
	const char *value = getenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE");
	char *rest = NULL;
	double percent = value ? strtod(value, &rest) : 0;

	if (!value || rest == value || *rest || !(percent > 0 && percent < most_percent))
		percent = most_percent;
	const uint32_t pairs = (uint32_t)(sm_count * percent / 200 + 0.999999);

	return 2 * pairs < sm_count ? 2 * pairs : sm_count;
}

int devices_init(const struct wire_machine *machine)
{
	const char *visible = getenv("CUDA_VISIBLE_DEVICES");
	char *list = visible ? strdup(visible) : NULL;

	device_count = 0;
	if (list)
		add_listed(machine, list);
	else if (!visible)
		for (uint32_t i = 0; i < machine->device_count; i++)
			add_device(machine, (int)i);
	free(list);
	for (int i = 0; i < device_count; i++) {
		const uint32_t all = devices[i].info->sm_count;

		devices[i].sm_count =
			machine->mps ? limit_by_mps(all, machine->mps_percentage) : all;
	}
	return device_count;
}

CUresult cuDeviceGetCount(int *count)
{
	ENTER(cuDeviceGetCount);
	if (!count)
		return CUDA_ERROR_INVALID_VALUE;
	*count = device_count;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
	ENTER(cuDeviceGet);
	if (!device)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device_of(ordinal))
		return CUDA_ERROR_INVALID_DEVICE;
	*device = ordinal;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *name, int len, CUdevice dev)
{
	ENTER(cuDeviceGetName);
	const struct device *device = device_of(dev);

	if (!name || len <= 0)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device)
		return CUDA_ERROR_INVALID_DEVICE;
	snprintf(name, (size_t)len, "%.*s", WIRE_NAME_LEN, device->info->name);
	return CUDA_SUCCESS;
}

static CUresult get_uuid(CUuuid *uuid, CUdevice dev)
{
	const struct device *device = device_of(dev);

	if (!uuid)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device)
		return CUDA_ERROR_INVALID_DEVICE;
	memcpy(uuid->bytes, device->info->uuid, sizeof(uuid->bytes));
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice dev)
{
	ENTER(cuDeviceGetUuid);
	return get_uuid(uuid, dev);
}

CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice dev)
{
	ENTER(cuDeviceGetUuid_v2);
	return get_uuid(uuid, dev);
}

CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice dev)
{
	ENTER(cuDeviceTotalMem_v2);
	const struct device *device = device_of(dev);

	if (!bytes)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device)
		return CUDA_ERROR_INVALID_DEVICE;
	*bytes = device->info->memory_bytes;
	return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem(unsigned int *bytes, CUdevice dev)
{
	ENTER(cuDeviceTotalMem);
	const struct device *device = device_of(dev);

	if (!bytes)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device)
		return CUDA_ERROR_INVALID_DEVICE;
	*bytes = device->info->memory_bytes > UINT32_MAX ? UINT32_MAX
							 : (unsigned)device->info->memory_bytes;
	return CUDA_SUCCESS;
}

CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice dev)
{
	ENTER(cuDeviceComputeCapability);
	const struct device *device = device_of(dev);

	if (!major || !minor)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device)
		return CUDA_ERROR_INVALID_DEVICE;
	*major = (int)device->info->cc_major;
	*minor = (int)device->info->cc_minor;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char *pciBusId, int len, CUdevice dev)
{
	ENTER(cuDeviceGetPCIBusId);
	const struct device *device = device_of(dev);

	if (!pciBusId || len <= 0)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device)
		return CUDA_ERROR_INVALID_DEVICE;
	snprintf(pciBusId, (size_t)len, "0000:%02X:00.0", device->info->pci_bus);
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetByPCIBusId(CUdevice *dev, const char *pciBusId)
{
	unsigned domain = 0, bus = 0, slot = 0, function = 0;

	ENTER(cuDeviceGetByPCIBusId);
	if (!dev || !pciBusId)
		return CUDA_ERROR_INVALID_VALUE;
	if (sscanf(pciBusId, "%x:%x:%x.%x", &domain, &bus, &slot, &function) < 3) {
		domain = 0;
		if (sscanf(pciBusId, "%x:%x.%x", &bus, &slot, &function) < 2)
			return CUDA_ERROR_INVALID_VALUE;
	}
	for (int i = 0; i < device_count; i++) {
		if (!domain && !slot && devices[i].info->pci_bus == bus) {
			*dev = i;
			return CUDA_SUCCESS;
		}
	}
	return CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuDeviceCanAccessPeer(int *canAccessPeer, CUdevice dev, CUdevice peerDev)
{
	ENTER(cuDeviceCanAccessPeer);
	if (!canAccessPeer)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device_of(dev) || !device_of(peerDev))
		return CUDA_ERROR_INVALID_DEVICE;
	*canAccessPeer = 0;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetP2PAttribute(
	int *value, CUdevice_P2PAttribute attrib, CUdevice srcDevice, CUdevice dstDevice)
{
	ENTER(cuDeviceGetP2PAttribute);
	if (!value || (unsigned)attrib < CU_DEVICE_P2P_ATTRIBUTE_PERFORMANCE_RANK ||
		(unsigned)attrib > CU_DEVICE_P2P_ATTRIBUTE_CUDA_ARRAY_ACCESS_SUPPORTED)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device_of(srcDevice) || !device_of(dstDevice) || srcDevice == dstDevice)
		return CUDA_ERROR_INVALID_DEVICE;
	*value = 0;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetExecAffinitySupport(int *pi, CUexecAffinityType type, CUdevice dev)
{
	ENTER(cuDeviceGetExecAffinitySupport);
	if (!pi || (unsigned)type >= CU_EXEC_AFFINITY_TYPE_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device_of(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	*pi = (int)entry.machine->mps;
	return CUDA_SUCCESS;
}
