/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * NVML before a real server. Run by `simgpu run` with the settings that CMakeLists.txt gives:
 * three devices, the second of them of another name, size and capability.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "link.h"
#include "nvml_abi.h"

#define MIB ((unsigned long long)1 << 20)

static int init(void **state)
{
	(void)state;
	return nvmlInit_v2() == NVML_SUCCESS ? 0 : -1;
}

static int shut_down(void **state)
{
	(void)state;
	return nvmlShutdown() == NVML_SUCCESS ? 0 : -1;
}

static nvmlDevice_t device_at(unsigned int index)
{
	nvmlDevice_t device = NULL;
	assert_int_equal(NVML_SUCCESS, nvmlDeviceGetHandleByIndex_v2(index, &device));
	return device;
}

/* A process of the machine that holds memory and works, without a CUDA driver. */
static uint32_t ask(struct link *link, struct wire_request request)
{
	struct wire_reply reply;
	assert_true(link_ask(link, &request, &reply));
	assert_int_equal(WIRE_OK, reply.status);
	return reply.context;
}

static uint32_t become_client(struct link *link, int device, uint64_t bytes)
{
	assert_true(link_open(link));
	ask(link,
		(struct wire_request){.kind = WIRE_MEM_RESERVE, .device = device, .bytes = bytes});
	return ask(link, (struct wire_request){.kind = WIRE_CONTEXT_CREATE, .device = device});
}

static void sleep_ms(long ms)
{
	const struct timespec time = {ms / 1000, ms % 1000 * 1000000};
	nanosleep(&time, NULL);
}

static void nothing_works_before_init(void **state)
{
	(void)state;
	unsigned int count = 7;
	nvmlDevice_t device = (nvmlDevice_t)&count;
	nvmlMemory_t memory;
	char version[80];

	assert_int_equal(NVML_ERROR_UNINITIALIZED, nvmlDeviceGetCount_v2(&count));
	assert_int_equal(NVML_ERROR_UNINITIALIZED, nvmlDeviceGetHandleByIndex(0, &device));
	assert_int_equal(NVML_ERROR_UNINITIALIZED, nvmlDeviceGetMemoryInfo(device, &memory));
	assert_int_equal(NVML_ERROR_UNINITIALIZED, nvmlSystemGetDriverVersion(version, 80));
	assert_int_equal(NVML_ERROR_UNINITIALIZED, nvmlShutdown());
	assert_int_equal(7, count);
	assert_string_equal("Uninitialized", nvmlErrorString(NVML_ERROR_UNINITIALIZED));
	assert_string_equal("Unknown Error", nvmlErrorString((nvmlReturn_t)12345));
}

static void init_is_counted(void **state)
{
	(void)state;
	unsigned int count;

	assert_int_equal(NVML_SUCCESS, nvmlInit());
	assert_int_equal(NVML_SUCCESS, nvmlInitWithFlags(1));
	assert_int_equal(NVML_SUCCESS, nvmlShutdown());
	assert_int_equal(NVML_SUCCESS, nvmlDeviceGetCount(&count));
	assert_int_equal(NVML_SUCCESS, nvmlShutdown());
	assert_int_equal(NVML_ERROR_UNINITIALIZED, nvmlDeviceGetCount(&count));
}

static void init_without_a_machine_finds_no_driver(void **state)
{
	(void)state;
	char *dir = strdup(getenv("SIMGPU_DIR"));
	int version = 7;

	setenv("SIMGPU_DIR", "/nonexistent", 1);
	nvmlReturn_t result = nvmlInit_v2();
	nvmlReturn_t version_result = nvmlSystemGetCudaDriverVersion(&version);
	setenv("SIMGPU_DIR", dir, 1);
	free(dir);

	assert_int_equal(NVML_ERROR_DRIVER_NOT_LOADED, result);
	assert_int_equal(NVML_ERROR_DRIVER_NOT_LOADED, version_result);
	assert_int_equal(7, version);
}

static void versions_are_told(void **state)
{
	(void)state;
	char version[80];
	int cuda_version;

	assert_int_equal(NVML_SUCCESS, nvmlSystemGetDriverVersion(version, sizeof(version)));
	assert_int_equal(NVML_SUCCESS, nvmlSystemGetCudaDriverVersion_v2(&cuda_version));
	assert_int_equal(13000, cuda_version);
	assert_int_not_equal(0, atoi(version));
	assert_int_equal(NVML_ERROR_INSUFFICIENT_SIZE, nvmlSystemGetDriverVersion(version, 2));
	assert_int_equal(NVML_ERROR_INVALID_ARGUMENT, nvmlSystemGetDriverVersion(NULL, 80));
}

static void visible_devices_mean_nothing(void **state)
{
	(void)state;
	unsigned int count;

	assert_string_equal("1", getenv("CUDA_VISIBLE_DEVICES"));
	assert_int_equal(NVML_SUCCESS, nvmlDeviceGetCount_v2(&count));
	assert_int_equal(3, count);
}

static void devices_are_found_by_index_uuid_and_bus(void **state)
{
	(void)state;
	nvmlDevice_t found;
	unsigned int index, last_bus = 0;
	char uuid[96];
	nvmlPciInfo_t pci;

	for (unsigned int i = 0; i < 3; i++) {
		nvmlDevice_t device = device_at(i);
		assert_int_equal(NVML_SUCCESS, nvmlDeviceGetIndex(device, &index));
		assert_int_equal(i, index);
		assert_int_equal(NVML_SUCCESS, nvmlDeviceGetUUID(device, uuid, sizeof(uuid)));
		assert_int_equal(NVML_SUCCESS, nvmlDeviceGetHandleByUUID(uuid, &found));
		assert_ptr_equal(device, found);
		assert_int_equal(NVML_SUCCESS, nvmlDeviceGetPciInfo_v3(device, &pci));
		assert_true(pci.bus > last_bus);
		last_bus = pci.bus;
		assert_int_equal(NVML_SUCCESS, nvmlDeviceGetHandleByPciBusId(pci.busId, &found));
		assert_ptr_equal(device, found);
		assert_int_equal(
			NVML_SUCCESS, nvmlDeviceGetHandleByPciBusId_v2(pci.busIdLegacy, &found));
		assert_ptr_equal(device, found);
	}
}

static void what_is_not_there_is_not_found(void **state)
{
	(void)state;
	nvmlDevice_t device = NULL;
	unsigned int index;

	assert_int_equal(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetHandleByIndex(3, &device));
	assert_int_equal(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetHandleByIndex(0, NULL));
	assert_int_equal(NVML_ERROR_NOT_FOUND,
		nvmlDeviceGetHandleByUUID("GPU-00000000-0000-0000-0000-000000000000", &device));
	assert_int_equal(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetHandleByUUID(NULL, &device));
	assert_int_equal(
		NVML_ERROR_NOT_FOUND, nvmlDeviceGetHandleByPciBusId("0000:7F:00.0", &device));
	assert_int_equal(
		NVML_ERROR_NOT_FOUND, nvmlDeviceGetHandleByPciBusId("0001:01:00.0", &device));
	assert_int_equal(NVML_ERROR_NOT_FOUND, nvmlDeviceGetHandleByPciBusId("bus 1", &device));
	assert_null(device);
	assert_int_equal(
		NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetIndex((nvmlDevice_t)&index, &index));
	assert_int_equal(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetIndex(NULL, &index));
}

static void properties_are_the_settings(void **state)
{
	(void)state;
	char name[96], uuid[96];
	int major, minor;
	unsigned int number;

	assert_int_equal(NVML_SUCCESS, nvmlDeviceGetName(device_at(1), name, sizeof(name)));
	assert_string_equal("small one", name);
	assert_int_equal(
		NVML_SUCCESS, nvmlDeviceGetCudaComputeCapability(device_at(1), &major, &minor));
	assert_int_equal(7, major);
	assert_int_equal(5, minor);
	assert_int_equal(NVML_SUCCESS, nvmlDeviceGetUUID(device_at(1), uuid, sizeof(uuid)));
	assert_string_equal("GPU-01234567-89ab-cdef-0123-456789abcdef", uuid);
	assert_int_equal(NVML_SUCCESS, nvmlDeviceGetMinorNumber(device_at(2), &number));
	assert_int_equal(2, number);
	assert_int_equal(NVML_ERROR_INSUFFICIENT_SIZE, nvmlDeviceGetName(device_at(1), name, 9));
	assert_int_equal(NVML_SUCCESS, nvmlDeviceGetName(device_at(1), name, 10));
}

/* Callers of the old functions have the old, shorter structures. */
static void old_pci_info_is_not_overrun(void **state)
{
	(void)state;
	nvmlPciInfo_t old;

	memset(&old, 0x55, sizeof(old));
	assert_int_equal(NVML_SUCCESS, nvmlDeviceGetPciInfo(device_at(0), &old));
	assert_string_equal("0000:01:00.0", old.busIdLegacy);
	assert_int_equal(0x55555555, old.pciSubSystemId);
	assert_int_equal(NVML_SUCCESS, nvmlDeviceGetPciInfo_v2(device_at(0), &old));
	assert_int_equal(0, old.pciSubSystemId);
	assert_int_equal(0x55, old.busId[0]);
}

static void memory_of_all_processes_is_used(void **state)
{
	(void)state;
	struct link client;
	nvmlMemory_t before, after;
	nvmlMemory_v2_t second = {.version = nvmlMemory_v2};
	assert_int_equal(NVML_SUCCESS, nvmlDeviceGetMemoryInfo(device_at(1), &before));

	become_client(&client, 1, 100 * MIB);
	assert_int_equal(NVML_SUCCESS, nvmlDeviceGetMemoryInfo(device_at(1), &after));
	assert_int_equal(NVML_SUCCESS, nvmlDeviceGetMemoryInfo_v2(device_at(1), &second));
	link_close(&client);

	assert_int_equal(4096 * MIB, before.total);
	assert_int_equal(before.total, before.free + before.used);
	assert_int_equal(before.used + 110 * MIB, after.used); /* 10 MiB are the context's */
	assert_int_equal(after.total, after.free + after.used);
	assert_int_equal(after.used, second.used);
	assert_int_equal(after.free, second.free);
	assert_int_equal(0, second.reserved);
}

static void memory_of_another_version_is_refused(void **state)
{
	(void)state;
	nvmlMemory_v2_t memory = {.version = nvmlMemory_v2 + 1, .total = 5};

	assert_int_equal(NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
		nvmlDeviceGetMemoryInfo_v2(device_at(0), &memory));
	assert_int_equal(5, memory.total);
	assert_int_equal(
		NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetMemoryInfo_v2(device_at(0), NULL));
}

static void only_processes_with_a_context_are_listed(void **state)
{
	(void)state;
	struct link client;
	nvmlProcessInfo_v1_t first[4];
	nvmlProcessInfo_t third[4];
	unsigned int none = 4, count = 4, count_third = 4, room = 0;

	assert_int_equal(
		NVML_SUCCESS, nvmlDeviceGetComputeRunningProcesses(device_at(2), &none, first));
	become_client(&client, 2, 50 * MIB);
	nvmlReturn_t too_small = nvmlDeviceGetComputeRunningProcesses_v3(device_at(2), &room, NULL);
	assert_int_equal(
		NVML_SUCCESS, nvmlDeviceGetComputeRunningProcesses(device_at(2), &count, first));
	assert_int_equal(NVML_SUCCESS,
		nvmlDeviceGetComputeRunningProcesses_v2(device_at(2), &count_third, third));
	link_close(&client);

	assert_int_equal(0, none);
	assert_int_equal(NVML_ERROR_INSUFFICIENT_SIZE, too_small);
	assert_int_equal(1, room);
	assert_int_equal(1, count);
	assert_int_equal(getpid(), first[0].pid);
	assert_int_equal(60 * MIB, first[0].usedGpuMemory);
	assert_int_equal(1, count_third);
	assert_int_equal(getpid(), third[0].pid);
	assert_int_equal(60 * MIB, third[0].usedGpuMemory);
	assert_int_equal(UINT32_MAX, third[0].gpuInstanceId);
}

static void submit_kernel(struct link *link, uint32_t context, uint64_t duration_ns)
{
	const struct wire_request request = {.kind = WIRE_SUBMIT,
		.op = {.seq = 1,
			.kind = WIRE_OP_KERNEL,
			.context = context,
			.blocks = 1,
			.blocks_per_sm = 1,
			.duration_ns = duration_ns}};
	size_t size = offsetof(struct wire_request, op) + offsetof(struct wire_op, deps);
	assert_true(link_tell(link, &request, size));
}

/* Ask again until the answer is a sample from the time after the call. */
static nvmlUtilization_t next_utilization(unsigned int index)
{
	nvmlUtilization_t utilization;
	for (int i = 0; i < 2; i++) {
		sleep_ms(200);
		assert_int_equal(NVML_SUCCESS,
			nvmlDeviceGetUtilizationRates(device_at(index), &utilization));
	}
	return utilization;
}

static void utilization_is_gpu_time_of_the_last_sample(void **state)
{
	(void)state;
	struct link client;

	nvmlUtilization_t idle = next_utilization(0);
	uint32_t context = become_client(&client, 0, MIB);
	submit_kernel(&client, context, 60000000000u);
	nvmlUtilization_t busy = next_utilization(0);
	nvmlUtilization_t neighbour = next_utilization(1);
	link_close(&client); /* takes the kernel with it */

	assert_int_equal(0, idle.gpu);
	assert_in_range(busy.gpu, 50, 100);
	assert_int_equal(0, busy.memory);
	assert_int_equal(0, neighbour.gpu);
	assert_int_equal(0, next_utilization(0).gpu);
}

static void forked_child_has_a_connection_of_its_own(void **state)
{
	(void)state;
	nvmlMemory_t memory;
	int status;

	pid_t pid = fork();
	if (pid == 0) {
		nvmlReturn_t result = nvmlDeviceGetMemoryInfo(device_at(0), &memory);
		_exit(result == NVML_SUCCESS && memory.total == 8192 * MIB ? 0 : 1);
	}
	for (int i = 0; i < 100; i++)
		assert_int_equal(NVML_SUCCESS, nvmlDeviceGetMemoryInfo(device_at(1), &memory));
	assert_int_equal(pid, waitpid(pid, &status, 0));

	assert_int_equal(0, status);
	assert_int_equal(4096 * MIB, memory.total);
}

static void *ask_often(void *device)
{
	uintptr_t failures = 0;
	nvmlMemory_t memory;
	char name[96];

	for (int i = 0; i < 300; i++) {
		failures += nvmlDeviceGetMemoryInfo(device, &memory) != NVML_SUCCESS;
		failures += nvmlInit_v2() != NVML_SUCCESS;
		failures += nvmlDeviceGetName(device, name, sizeof(name)) != NVML_SUCCESS;
		failures += nvmlShutdown() != NVML_SUCCESS;
	}
	return (void *)failures;
}

static void threads_may_ask_at_a_time(void **state)
{
	(void)state;
	pthread_t threads[4];
	void *failures;

	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(0, pthread_create(&threads[i], NULL, ask_often, device_at(i % 3)));
	for (unsigned int i = 0; i < 4; i++) {
		assert_int_equal(0, pthread_join(threads[i], &failures));
		assert_null(failures);
	}
}

#define TEST_IN_SESSION(function) cmocka_unit_test_setup_teardown(function, init, shut_down)

static void no_limit_is_told_as_the_most(void **state)
{
	nvmlGetMemoryLimits_v1_t limits = {.nameSpace = "/sys/fs/cgroup"};

	(void)state;
	assert_int_equal(NVML_SUCCESS, nvmlDeviceGetMemoryLimits_v1(device_at(0), &limits));
	assert_int_equal(limits.softLimit, 0);
	assert_true(limits.hardLimit == NVML_DEVICE_MEMORY_LIMIT_MAX);
	limits.nameSpace = NULL;
	assert_int_equal(
		NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetMemoryLimits_v1(device_at(0), &limits));
	assert_int_equal(
		NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetMemoryLimits_v1(device_at(0), NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_works_before_init),
		cmocka_unit_test(init_is_counted),
		cmocka_unit_test(init_without_a_machine_finds_no_driver),
		TEST_IN_SESSION(no_limit_is_told_as_the_most),
		TEST_IN_SESSION(versions_are_told),
		TEST_IN_SESSION(visible_devices_mean_nothing),
		TEST_IN_SESSION(devices_are_found_by_index_uuid_and_bus),
		TEST_IN_SESSION(what_is_not_there_is_not_found),
		TEST_IN_SESSION(properties_are_the_settings),
		TEST_IN_SESSION(old_pci_info_is_not_overrun),
		TEST_IN_SESSION(memory_of_all_processes_is_used),
		TEST_IN_SESSION(memory_of_another_version_is_refused),
		TEST_IN_SESSION(only_processes_with_a_context_are_listed),
		TEST_IN_SESSION(utilization_is_gpu_time_of_the_last_sample),
		TEST_IN_SESSION(forked_child_has_a_connection_of_its_own),
		TEST_IN_SESSION(threads_may_ask_at_a_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
