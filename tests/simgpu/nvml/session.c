/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Opening and closing NVML, and what belongs to no device.
 */
#include "session.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Any that a program can parse. The driver is simulated, so it means nothing. */
#define DRIVER_VERSION "580.65.06"

static struct {
	pthread_mutex_t lock;
	unsigned int open_count; /* nvmlInit less nvmlShutdown */
	struct link link;
	struct nvmlDevice_st devices[WIRE_MAX_DEVICES];
} session = {.lock = PTHREAD_MUTEX_INITIALIZER, .link = {.fd = -1}};

nvmlReturn_t nvml_enter(void)
{
	pthread_mutex_lock(&session.lock);
	if (session.open_count > 0)
		return NVML_SUCCESS;
	pthread_mutex_unlock(&session.lock);
	return NVML_ERROR_UNINITIALIZED;
}

static bool is_device(nvmlDevice_t device)
{
	for (uint32_t i = 0; i < session.link.machine->device_count; i++)
		if (device == &session.devices[i])
			return true;
	return false;
}

nvmlReturn_t nvml_enter_device(nvmlDevice_t device)
{
	nvmlReturn_t result = nvml_enter();
	if (result == NVML_SUCCESS && !is_device(device))
		return nvml_leave(NVML_ERROR_INVALID_ARGUMENT);
	return result;
}

nvmlReturn_t nvml_leave(nvmlReturn_t result)
{
	pthread_mutex_unlock(&session.lock);
	return result;
}

const struct wire_machine *nvml_machine(void)
{
	return session.link.machine;
}

struct nvmlDevice_st *nvml_device(unsigned int index)
{
	return index < session.link.machine->device_count ? &session.devices[index] : NULL;
}

bool nvml_ask(const struct wire_request *request, struct wire_reply *ret_reply)
{
	return link_ask(&session.link, request, ret_reply) && ret_reply->status == WIRE_OK;
}

nvmlReturn_t nvml_copy_text(const char *text, char *buffer, unsigned int length)
{
	size_t size = strlen(text) + 1;
	if (!buffer)
		return NVML_ERROR_INVALID_ARGUMENT;
	if (size > length)
		return NVML_ERROR_INSUFFICIENT_SIZE;
	memcpy(buffer, text, size);
	return NVML_SUCCESS;
}

static int compare_bus(const void *left, const void *right)
{
	uint32_t left_bus = ((const struct nvmlDevice_st *)left)->properties->pci_bus;
	uint32_t right_bus = ((const struct nvmlDevice_st *)right)->properties->pci_bus;
	return (left_bus > right_bus) - (left_bus < right_bus);
}

static void list_devices(void)
{
	const struct wire_machine *machine = session.link.machine;

	for (uint32_t i = 0; i < machine->device_count; i++)
		session.devices[i] = (struct nvmlDevice_st){
			.number = (int)i, .properties = &machine->devices[i]};
	qsort(session.devices, machine->device_count, sizeof(session.devices[0]), compare_bus);
	for (uint32_t i = 0; i < machine->device_count; i++) {
		session.devices[i].index = i;
		nvml_sample_device(&session.devices[i]);
		session.devices[i].utilization = 0; /* of what was before, nothing is known */
	}
}

static nvmlReturn_t open_session(void)
{
	if (session.open_count == 0) {
		if (!link_open(&session.link))
			return NVML_ERROR_DRIVER_NOT_LOADED;
		list_devices();
	}
	session.open_count++;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlInitWithFlags(unsigned int flags)
{
	(void)flags; /* they say what to do about GPUs that are missing or not attached: none is */
	pthread_mutex_lock(&session.lock);
	return nvml_leave(open_session());
}

nvmlReturn_t nvmlInit(void)
{
	return nvmlInitWithFlags(0);
}

nvmlReturn_t nvmlInit_v2(void)
{
	return nvmlInitWithFlags(0);
}

nvmlReturn_t nvmlShutdown(void)
{
	nvmlReturn_t result = nvml_enter();
	if (result != NVML_SUCCESS)
		return result;
	session.open_count--;
	if (session.open_count == 0)
		link_close(&session.link);
	return nvml_leave(NVML_SUCCESS);
}

const char *nvmlErrorString(nvmlReturn_t result)
{
	switch (result) {
	case NVML_SUCCESS:
		return "Success";
	case NVML_ERROR_UNINITIALIZED:
		return "Uninitialized";
	case NVML_ERROR_INVALID_ARGUMENT:
		return "Invalid Argument";
	case NVML_ERROR_NOT_SUPPORTED:
		return "Not Supported";
	case NVML_ERROR_NO_PERMISSION:
		return "Insufficient Permissions";
	case NVML_ERROR_NOT_FOUND:
		return "Not Found";
	case NVML_ERROR_INSUFFICIENT_SIZE:
		return "Insufficient Size";
	case NVML_ERROR_DRIVER_NOT_LOADED:
		return "Driver Not Loaded";
	case NVML_ERROR_GPU_IS_LOST:
		return "GPU is lost";
	case NVML_ERROR_ARGUMENT_VERSION_MISMATCH:
		return "Argument Version Mismatch";
	case NVML_ERROR_UNKNOWN:
		break;
	}
	return "Unknown Error";
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int length)
{
	nvmlReturn_t result = nvml_enter();
	if (result != NVML_SUCCESS)
		return result;
	return nvml_leave(nvml_copy_text(DRIVER_VERSION, version, length));
}

/* Works without nvmlInit as well, as long as there is a machine. */
nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *cudaDriverVersion)
{
	if (!cudaDriverVersion)
		return NVML_ERROR_INVALID_ARGUMENT;
	nvmlReturn_t result = nvmlInit();
	if (result != NVML_SUCCESS)
		return result;
	*cudaDriverVersion = (int)session.link.machine->driver_version;
	return nvmlShutdown();
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *cudaDriverVersion)
{
	return nvmlSystemGetCudaDriverVersion(cudaDriverVersion);
}
