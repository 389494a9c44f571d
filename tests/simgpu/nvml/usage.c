/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What a device is used for: bytes, processes and GPU time, all of them the server's. Processes of
 * other PID namespaces are listed as the server sees them, as NVIDIA's driver does.
 */
#include "session.h"

#include <string.h>
#include <time.h>

/* NVIDIA's driver samples every 1/6 s to 1 s. Who asks more often is told the same again. */
#define SAMPLE_NS  UINT64_C(166000000)
#define NO_MIG     UINT32_MAX
#define NS_PER_SEC UINT64_C(1000000000)

static uint64_t clock_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec;
}

static bool ask_about(
	const struct nvmlDevice_st *device, enum wire_kind kind, struct wire_reply *ret_reply)
{
	const struct wire_request request = {.kind = kind, .device = device->number};
	return nvml_ask(&request, ret_reply);
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory)
{
	struct wire_reply reply;
	nvmlReturn_t result = nvml_enter_device(device);
	if (result != NVML_SUCCESS)
		return result;
	if (!memory)
		return nvml_leave(NVML_ERROR_INVALID_ARGUMENT);
	if (!ask_about(device, WIRE_MEM_INFO, &reply))
		return nvml_leave(NVML_ERROR_GPU_IS_LOST);
	memory->total = reply.total_bytes;
	memory->free = reply.free_bytes;
	memory->used = reply.total_bytes - reply.free_bytes;
	return nvml_leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory)
{
	nvmlMemory_t plain;
	if (memory && memory->version != nvmlMemory_v2)
		return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
	nvmlReturn_t result = nvmlDeviceGetMemoryInfo(device, memory ? &plain : NULL);
	if (result != NVML_SUCCESS)
		return result;
	memory->total = plain.total;
	memory->reserved = 0;
	memory->free = plain.free;
	memory->used = plain.used;
	return NVML_SUCCESS;
}

/* All processes of the machine are in one cgroup, whatever its name. */
nvmlReturn_t nvmlDeviceGetMemoryLimits_v1(nvmlDevice_t device, nvmlGetMemoryLimits_v1_t *limits)
{
	struct wire_reply reply;
	nvmlReturn_t result = nvml_enter_device(device);
	if (result != NVML_SUCCESS)
		return result;
	if (!limits || !limits->nameSpace)
		return nvml_leave(NVML_ERROR_INVALID_ARGUMENT);
	if (!ask_about(device, WIRE_MEM_INFO, &reply))
		return nvml_leave(NVML_ERROR_GPU_IS_LOST);
	uint64_t limit_bytes = device->properties->memory_limit_bytes;
	limits->softLimit = 0;
	limits->hardLimit = limit_bytes != 0 ? limit_bytes : NVML_DEVICE_MEMORY_LIMIT_MAX;
	limits->currentUsed = reply.total_bytes - reply.free_bytes;
	return nvml_leave(NVML_SUCCESS);
}

/* Fetch the list; `*count` is the caller's room before and the number of processes after. */
static nvmlReturn_t list_processes(
	nvmlDevice_t device, unsigned int *count, const void *infos, struct wire_reply *ret_reply)
{
	if (!count || (*count > 0 && !infos))
		return NVML_ERROR_INVALID_ARGUMENT;
	if (!ask_about(device, WIRE_NVML_PROCESSES, ret_reply))
		return NVML_ERROR_GPU_IS_LOST;
	unsigned int room = *count;
	*count = ret_reply->process_count;
	return *count > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses(
	nvmlDevice_t device, unsigned int *infoCount, nvmlProcessInfo_v1_t *infos)
{
	struct wire_reply reply;
	nvmlReturn_t result = nvml_enter_device(device);
	if (result != NVML_SUCCESS)
		return result;
	result = list_processes(device, infoCount, infos, &reply);
	for (uint32_t i = 0; result == NVML_SUCCESS && i < reply.process_count; i++)
		infos[i] = (nvmlProcessInfo_v1_t){.pid = (unsigned int)reply.processes[i].pid,
			.usedGpuMemory = reply.processes[i].bytes};
	return nvml_leave(result);
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(
	nvmlDevice_t device, unsigned int *infoCount, nvmlProcessInfo_t *infos)
{
	struct wire_reply reply;
	nvmlReturn_t result = nvml_enter_device(device);
	if (result != NVML_SUCCESS)
		return result;
	result = list_processes(device, infoCount, infos, &reply);
	for (uint32_t i = 0; result == NVML_SUCCESS && i < reply.process_count; i++)
		infos[i] = (nvmlProcessInfo_t){.pid = (unsigned int)reply.processes[i].pid,
			.usedGpuMemory = reply.processes[i].bytes,
			.gpuInstanceId = NO_MIG,
			.computeInstanceId = NO_MIG};
	return nvml_leave(result);
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v2(
	nvmlDevice_t device, unsigned int *infoCount, nvmlProcessInfo_t *infos)
{
	return nvmlDeviceGetComputeRunningProcesses_v3(device, infoCount, infos);
}

/* What a process had used when it was last looked at. A new one had used nothing. */
static uint64_t gpu_time_before(const struct nvmlDevice_st *device, int32_t pid)
{
	for (unsigned int i = 0; i < device->sample_count; i++)
		if (device->samples[i].pid == pid)
			return device->samples[i].gpu_time_ns;
	return 0;
}

static bool sample_processes(const struct nvmlDevice_st *device,
	struct nvml_sample samples[WIRE_MAX_LISTED], unsigned int *ret_count)
{
	struct wire_request request = {.kind = WIRE_ACCOUNT, .device = device->number};
	struct wire_reply processes, account;
	unsigned int count = 0;

	if (!ask_about(device, WIRE_NVML_PROCESSES, &processes))
		return false;
	for (uint32_t i = 0; i < processes.process_count; i++) {
		request.pid = processes.processes[i].pid;
		if (!nvml_ask(&request, &account))
			return false;
		samples[count++] =
			(struct nvml_sample){processes.processes[i].pid, account.gpu_time_ns};
	}
	*ret_count = count;
	return true;
}

/* Kernels of several processes at a time are counted each, so the sum may exceed the time. */
void nvml_sample_device(struct nvmlDevice_st *device)
{
	struct nvml_sample samples[WIRE_MAX_LISTED];
	unsigned int count;
	uint64_t now = clock_ns();
	uint64_t elapsed = now - device->sampled_ns;
	uint64_t busy = 0;

	if (!sample_processes(device, samples, &count))
		return;
	for (unsigned int i = 0; i < count; i++)
		busy += samples[i].gpu_time_ns - gpu_time_before(device, samples[i].pid);
	device->utilization =
		busy >= elapsed ? 100 : (unsigned int)((busy * 100 + elapsed / 2) / elapsed);
	device->sampled_ns = now;
	device->sample_count = count;
	memcpy(device->samples, samples, count * sizeof(samples[0]));
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *utilization)
{
	nvmlReturn_t result = nvml_enter_device(device);
	if (result != NVML_SUCCESS)
		return result;
	if (!utilization)
		return nvml_leave(NVML_ERROR_INVALID_ARGUMENT);
	if (clock_ns() - device->sampled_ns >= SAMPLE_NS)
		nvml_sample_device(device);
	*utilization = (nvmlUtilization_t){.gpu = device->utilization};
	return nvml_leave(NVML_SUCCESS);
}
