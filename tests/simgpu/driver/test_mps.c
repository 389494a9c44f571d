/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A client of MPS that may use half of the SMs of a device of 132: 49 % rounds up to 66. The daemon
 * says so where the environment has a percentage already, else the environment does.
 */
#include "test_census.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LIMIT 66

static int set_up_group(void **state)
{
	setenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "49", 0);
	return census_setup(state);
}

static unsigned count_census(void)
{
	uint64_t words[CENSUS_SM_WORDS];
	unsigned count = 0;

	must(cuMemcpyDtoH(words, census.bits, sizeof(words)));
	for (unsigned i = 0; i < CENSUS_SM_WORDS; i++)
		count += (unsigned)__builtin_popcountll(words[i]);
	return count;
}

static void attributes_tell_of_the_limit(void **state)
{
	CUdevResource resource;
	int value;

	(void)state;
	must(cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MPS_ENABLED, 0));
	assert_int_equal(value, 1);
	must(cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0));
	assert_int_equal(value, LIMIT);
	must(cuDeviceGetExecAffinitySupport(&value, CU_EXEC_AFFINITY_TYPE_SM_COUNT, 0));
	assert_int_equal(value, 1);
	must(cuDeviceGetDevResource(0, &resource, CU_DEV_RESOURCE_TYPE_SM));
	assert_int_equal(resource.sm.smCount, LIMIT);
}

static void kernels_use_no_more_sms_than_the_limit(void **state)
{
	(void)state;
	census_clear();
	must(census_launch(10 * CENSUS_SMS, NULL));
	must(cuCtxSynchronize());
	assert_int_equal(count_census(), LIMIT);
}

static void context_may_have_a_lower_limit(void **state)
{
	CUexecAffinityParam params[2] = {
		{.type = CU_EXEC_AFFINITY_TYPE_SM_COUNT}, {.type = CU_EXEC_AFFINITY_TYPE_SM_COUNT}};
	CUctxCreateParams create = {.execAffinityParams = params, .numExecAffinityParams = 2};
	CUexecAffinityParam found;
	CUcontext ctx;

	(void)state;
	must(cuCtxGetExecAffinity(&found, CU_EXEC_AFFINITY_TYPE_SM_COUNT));
	assert_int_equal(found.param.smCount.val, LIMIT);
	params[0].param.smCount.val = 4;
	params[1].param.smCount.val = 9;
	must(cuCtxCreate(&ctx, &create, 0, 0));
	must(cuCtxGetExecAffinity(&found, CU_EXEC_AFFINITY_TYPE_SM_COUNT));
	assert_int_equal(found.param.smCount.val, 10);
	must(cuCtxDestroy(ctx));
	params[1].param.smCount.val = 0;
	assert_cuda(CUDA_ERROR_INVALID_VALUE, cuCtxCreate(&ctx, &create, 0, 0));
	params[1].type = CU_EXEC_AFFINITY_TYPE_MAX;
	assert_cuda(CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY, cuCtxCreate(&ctx, &create, 0, 0));
	must(cuCtxSetCurrent(fixture.ctx));
}

static void partition_is_scaled_up_where_it_leaks(void **state)
{
	CUgreenCtx green = green_of(8, 1);
	CUstream stream;

	(void)state;
	must(cuGreenCtxStreamCreate(&stream, green, CU_STREAM_NON_BLOCKING, 0));
	census_clear();
	must(census_launch(CENSUS_SMS, stream));
	must(cuCtxSynchronize());
	census_assert(8, 16);
	assert_int_equal(system(SIMGPU_COMMAND " set leak=mps_scale"), 0);
	census_clear();
	must(census_launch(CENSUS_SMS, stream));
	must(cuCtxSynchronize());
	assert_int_equal(count_census(), LIMIT);
	assert_int_equal(system(SIMGPU_COMMAND " set leak=none"), 0);
	must(cuStreamDestroy(stream));
	must(cuGreenCtxDestroy(green));
}

static void control_daemon_can_be_found(void **state)
{
	const char *dir = getenv("CUDA_MPS_PIPE_DIRECTORY");
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	(void)state;
	assert_non_null(dir);
	snprintf(address.sun_path, sizeof(address.sun_path), "%.90s/control", dir);
	const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(attributes_tell_of_the_limit),
		cmocka_unit_test(kernels_use_no_more_sms_than_the_limit),
		cmocka_unit_test(context_may_have_a_lower_limit),
		cmocka_unit_test(partition_is_scaled_up_where_it_leaks),
		cmocka_unit_test(control_daemon_can_be_found),
	};

	return cmocka_run_group_tests(tests, set_up_group, census_teardown);
}
