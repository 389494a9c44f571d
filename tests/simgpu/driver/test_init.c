/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * cuInit, processes, devices, contexts and injected failures. Each test is a process of its own,
 * for only one cuInit counts. The machine has three devices.
 */
#include "test_support.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs `test` in a child. Returns true if it returned true. */
static bool in_child(bool (*test)(void))
{
	const pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(test() ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool nothing_works_before_init(void)
{
	int version, count;
	const char *text;

	return cuDeviceGetCount(&count) == CUDA_ERROR_NOT_INITIALIZED &&
	       cuCtxSynchronize() == CUDA_ERROR_NOT_INITIALIZED &&
	       cuMemFree(0) == CUDA_ERROR_NOT_INITIALIZED &&
	       cuDriverGetVersion(&version) == CUDA_SUCCESS && version == 12080 &&
	       cuGetErrorName(CUDA_ERROR_OUT_OF_MEMORY, &text) == CUDA_SUCCESS &&
	       strcmp(text, "CUDA_ERROR_OUT_OF_MEMORY") == 0 &&
	       cuGetErrorString(CUDA_SUCCESS, &text) == CUDA_SUCCESS &&
	       strcmp(text, "no error") == 0 &&
	       cuGetErrorName((CUresult)12345, &text) == CUDA_ERROR_INVALID_VALUE;
}

static bool init_wants_a_machine(void)
{
	if (cuInit(1) != CUDA_ERROR_INVALID_VALUE)
		return false;
	setenv("SIMGPU_DIR", "/no/such/place", 1);
	if (cuInit(0) != CUDA_ERROR_NO_DEVICE)
		return false;
	unsetenv("SIMGPU_DIR");
	return cuInit(0) == CUDA_ERROR_NO_DEVICE;
}

static bool a_second_init_changes_nothing(void)
{
	int count;

	return cuInit(0) == CUDA_SUCCESS && cuInit(0) == CUDA_SUCCESS &&
	       cuDeviceGetCount(&count) == CUDA_SUCCESS && count == 3;
}

static bool is_shut(void)
{
	int count;

	return cuInit(0) == CUDA_ERROR_NOT_INITIALIZED &&
	       cuDeviceGetCount(&count) == CUDA_ERROR_NOT_INITIALIZED &&
	       cuCtxSynchronize() == CUDA_ERROR_NOT_INITIALIZED;
}

static bool a_child_of_an_initialised_process_is_shut(void)
{
	int count;

	return cuInit(0) == CUDA_SUCCESS && in_child(is_shut) &&
	       cuDeviceGetCount(&count) == CUDA_SUCCESS;
}

static bool works(void)
{
	CUdeviceptr address;
	CUcontext ctx;

	return cuInit(0) == CUDA_SUCCESS && cuCtxCreate(&ctx, NULL, 0, 0) == CUDA_SUCCESS &&
	       cuMemAlloc(&address, 1) == CUDA_SUCCESS && cuCtxDestroy(ctx) == CUDA_SUCCESS;
}

static bool a_child_from_before_init_works(void)
{
	return in_child(works) && works();
}

static bool visible_devices_are_chosen_by_number(void)
{
	char id[32], expected[32];
	int count;

	setenv("CUDA_VISIBLE_DEVICES", "2,0", 1);
	if (cuInit(0) != CUDA_SUCCESS || cuDeviceGetCount(&count) != CUDA_SUCCESS || count != 2)
		return false;
	if (cuDeviceGetPCIBusId(id, sizeof(id), 1) != CUDA_SUCCESS)
		return false;
	setenv("CUDA_VISIBLE_DEVICES", "0", 1);
	snprintf(expected, sizeof(expected), "%s", id);
	return cuDeviceGetPCIBusId(id, sizeof(id), 0) == CUDA_SUCCESS && strcmp(id, expected) != 0;
}

static bool no_visible_device_is_no_device(void)
{
	setenv("CUDA_VISIBLE_DEVICES", "", 1);
	if (cuInit(0) != CUDA_ERROR_NO_DEVICE)
		return false;
	setenv("CUDA_VISIBLE_DEVICES", "-1", 1);
	if (cuInit(0) != CUDA_ERROR_NO_DEVICE)
		return false;
	setenv("CUDA_VISIBLE_DEVICES", "1,1", 1);
	return cuInit(0) == CUDA_ERROR_NO_DEVICE;
}

static bool sees_one_device_like(const CUuuid *uuid)
{
	CUuuid own;
	int count;

	return cuInit(0) == CUDA_SUCCESS && cuDeviceGetCount(&count) == CUDA_SUCCESS &&
	       count == 1 && cuDeviceGetUuid(&own, 0) == CUDA_SUCCESS &&
	       memcmp(&own, uuid, sizeof(own)) == 0;
}

static CUuuid wanted;

static bool sees_the_wanted_device(void)
{
	return sees_one_device_like(&wanted);
}

/* The uuid of a device is known to an initialised process, and used by one that is not. */
static bool visible_devices_are_chosen_by_uuid(void)
{
	char text[64] = "GPU-";
	int pipe_ends[2];

	if (pipe(pipe_ends) != 0)
		return false;
	if (fork() == 0) {
		CUuuid uuid;

		if (cuInit(0) == CUDA_SUCCESS && cuDeviceGetUuid(&uuid, 1) == CUDA_SUCCESS &&
			write(pipe_ends[1], &uuid, sizeof(uuid)) == sizeof(uuid))
			_exit(0);
		_exit(1);
	}
	if (read(pipe_ends[0], &wanted, sizeof(wanted)) != sizeof(wanted))
		return false;
	for (size_t i = 0; i < sizeof(wanted.bytes); i++)
		snprintf(text + strlen(text), 4, "%s%02x",
			i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
			(unsigned char)wanted.bytes[i]);
	setenv("CUDA_VISIBLE_DEVICES", text, 1);
	return in_child(sees_the_wanted_device);
}

static bool devices_tell_what_they_are(void)
{
	int sms, major, cores;
	CUdevprop properties;
	CUdevice by_id;
	char id[32], name[64];
	size_t total;

	return cuInit(0) == CUDA_SUCCESS &&
	       cuDeviceGetName(name, sizeof(name), 1) == CUDA_SUCCESS &&
	       strcmp(name, "simgpu") == 0 && cuDeviceTotalMem(&total, 1) == CUDA_SUCCESS &&
	       total == (size_t)1 << 30 &&
	       cuDeviceGetAttribute(&sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0) ==
		       CUDA_SUCCESS &&
	       sms == 132 &&
	       cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0) ==
		       CUDA_SUCCESS &&
	       major == 9 &&
	       cuDeviceGetAttribute(&cores, (CUdevice_attribute)100000, 0) ==
		       CUDA_ERROR_INVALID_VALUE &&
	       cuDeviceGetPCIBusId(id, sizeof(id), 2) == CUDA_SUCCESS &&
	       cuDeviceGetByPCIBusId(&by_id, id) == CUDA_SUCCESS && by_id == 2 &&
	       cuDeviceGetProperties(&properties, 0) == CUDA_SUCCESS &&
	       properties.SIMDWidth == 32 && cuDeviceGet(&by_id, 3) == CUDA_ERROR_INVALID_DEVICE;
}

static bool contexts_stack(void)
{
	CUcontext one, two, current;

	if (cuInit(0) != CUDA_SUCCESS || cuCtxGetCurrent(&current) != CUDA_SUCCESS || current ||
		cuCtxSynchronize() != CUDA_ERROR_INVALID_CONTEXT)
		return false;
	if (cuCtxCreate(&one, NULL, 0, 0) != CUDA_SUCCESS ||
		cuCtxCreate(&two, NULL, 0, 1) != CUDA_SUCCESS)
		return false;
	if (cuCtxPopCurrent(&current) != CUDA_SUCCESS || current != two ||
		cuCtxGetCurrent(&current) != CUDA_SUCCESS || current != one)
		return false;
	return cuCtxDestroy(two) == CUDA_SUCCESS && cuCtxDestroy(one) == CUDA_SUCCESS &&
	       cuCtxPopCurrent(&current) == CUDA_ERROR_INVALID_CONTEXT &&
	       cuCtxPushCurrent(one) == CUDA_ERROR_INVALID_CONTEXT;
}

static bool primary_contexts_are_shared(void)
{
	CUcontext one, two;
	unsigned flags;
	int active;

	if (cuInit(0) != CUDA_SUCCESS || cuDevicePrimaryCtxSetFlags(0, 4) != CUDA_SUCCESS ||
		cuDevicePrimaryCtxRetain(&one, 0) != CUDA_SUCCESS ||
		cuDevicePrimaryCtxRetain(&two, 0) != CUDA_SUCCESS || one != two)
		return false;
	if (cuDevicePrimaryCtxRelease(0) != CUDA_SUCCESS ||
		cuDevicePrimaryCtxGetState(0, &flags, &active) != CUDA_SUCCESS || flags != 4 ||
		!active || cuCtxDestroy(one) != CUDA_ERROR_INVALID_CONTEXT)
		return false;
	return cuDevicePrimaryCtxRelease(0) == CUDA_SUCCESS &&
	       cuDevicePrimaryCtxGetState(0, &flags, &active) == CUDA_SUCCESS && !active &&
	       cuDevicePrimaryCtxRelease(0) == CUDA_ERROR_INVALID_CONTEXT;
}

static bool injected_failures_happen_as_often_as_asked(void)
{
	CUdeviceptr address;
	CUcontext ctx;

	if (cuInit(0) != CUDA_SUCCESS || cuCtxCreate(&ctx, NULL, 0, 0) != CUDA_SUCCESS)
		return false;
	if (system(SIMGPU_COMMAND " fail cuMemAlloc_v2 2 2") != 0)
		return false;
	return cuMemAlloc(&address, 1) == CUDA_ERROR_OUT_OF_MEMORY &&
	       cuMemAllocManaged(&address, 1, CU_MEM_ATTACH_GLOBAL) == CUDA_SUCCESS &&
	       cuMemAlloc(&address, 1) == CUDA_ERROR_OUT_OF_MEMORY &&
	       cuMemAlloc(&address, 1) == CUDA_SUCCESS;
}

static bool init_can_fail_once(void)
{
	if (system(SIMGPU_COMMAND " fail cuInit 802 1") != 0)
		return false;
	return cuInit(0) == CUDA_ERROR_SYSTEM_NOT_READY && cuInit(0) == CUDA_SUCCESS;
}

static bool what_is_not_there_is_counted(void)
{
	CUtexref texture;

	return cuInit(0) == CUDA_SUCCESS && cuTexRefCreate(&texture) == CUDA_ERROR_NOT_SUPPORTED &&
	       cuTexRefCreate(&texture) == CUDA_ERROR_NOT_SUPPORTED &&
	       system(SIMGPU_COMMAND " account | grep -q cuTexRefCreate") == 0;
}

/* A process that loses its machine is told so and does not hang. */
static bool a_lost_machine_is_an_error(void)
{
	CUcontext ctx;
	CUstream stream;

	if (cuInit(0) != CUDA_SUCCESS || cuCtxCreate(&ctx, NULL, 0, 0) != CUDA_SUCCESS ||
		cuStreamCreate(&stream, 0) != CUDA_SUCCESS ||
		cuModuleLoadData(&fixture.module, test_ptx) != CUDA_SUCCESS ||
		cuModuleGetFunction(&fixture.slow, fixture.module, "slow") != CUDA_SUCCESS ||
		launch_slow(stream) != CUDA_SUCCESS || system(SIMGPU_COMMAND " stop") != 0)
		return false;
	const CUresult result = cuStreamSynchronize(stream);

	return result == CUDA_ERROR_DEVICE_UNAVAILABLE && launch_slow(stream) != CUDA_SUCCESS;
}

#define IN_CHILD(test)                            \
	static void test##_in_child(void **state) \
	{                                         \
		(void)state;                      \
		assert_true(in_child(test));      \
	}

IN_CHILD(nothing_works_before_init)
IN_CHILD(init_wants_a_machine)
IN_CHILD(a_second_init_changes_nothing)
IN_CHILD(a_child_of_an_initialised_process_is_shut)
IN_CHILD(a_child_from_before_init_works)
IN_CHILD(visible_devices_are_chosen_by_number)
IN_CHILD(no_visible_device_is_no_device)
IN_CHILD(visible_devices_are_chosen_by_uuid)
IN_CHILD(devices_tell_what_they_are)
IN_CHILD(contexts_stack)
IN_CHILD(primary_contexts_are_shared)
IN_CHILD(injected_failures_happen_as_often_as_asked)
IN_CHILD(init_can_fail_once)
IN_CHILD(what_is_not_there_is_counted)
IN_CHILD(a_lost_machine_is_an_error)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_works_before_init_in_child),
		cmocka_unit_test(init_wants_a_machine_in_child),
		cmocka_unit_test(a_second_init_changes_nothing_in_child),
		cmocka_unit_test(a_child_of_an_initialised_process_is_shut_in_child),
		cmocka_unit_test(a_child_from_before_init_works_in_child),
		cmocka_unit_test(visible_devices_are_chosen_by_number_in_child),
		cmocka_unit_test(no_visible_device_is_no_device_in_child),
		cmocka_unit_test(visible_devices_are_chosen_by_uuid_in_child),
		cmocka_unit_test(devices_tell_what_they_are_in_child),
		cmocka_unit_test(contexts_stack_in_child),
		cmocka_unit_test(primary_contexts_are_shared_in_child),
		cmocka_unit_test(injected_failures_happen_as_often_as_asked_in_child),
		cmocka_unit_test(init_can_fail_once_in_child),
		cmocka_unit_test(what_is_not_there_is_counted_in_child),
		/* The last one: it ends the machine. */
		cmocka_unit_test(a_lost_machine_is_an_error_in_child),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
