/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Fixture of the driver's tests.
 */
#include "test_support.h"

const char test_ptx[] = ".version 7.0\n"
			".target sm_75\n"
			".address_size 64\n"
			".visible .global .align 4 .u32 answer = 42;\n"
			".visible .global .align 8 .b8 zeroes[1000];\n"
			".visible .entry add(.param .u64 add_0, .param .u32 add_1)\n"
			"{\n"
			"	ret;\n"
			"}\n"
			".visible .entry slow()\n"
			"{\n"
			"	ret;\n"
			"}\n";

struct fixture fixture;

int fixture_setup(void **state)
{
	(void)state;
	must(cuInit(0));
	must(cuDeviceGet(&fixture.device, 0));
	must(cuDevicePrimaryCtxRetain(&fixture.ctx, fixture.device));
	must(cuCtxSetCurrent(fixture.ctx));
	must(cuModuleLoadData(&fixture.module, test_ptx));
	must(cuModuleGetFunction(&fixture.add, fixture.module, "add"));
	must(cuModuleGetFunction(&fixture.slow, fixture.module, "slow"));
	return 0;
}

int fixture_teardown(void **state)
{
	(void)state;
	must(cuModuleUnload(fixture.module));
	must(cuDevicePrimaryCtxRelease(fixture.device));
	return 0;
}

CUresult launch_add(CUdeviceptr counters, int amount, unsigned threads, CUstream stream)
{
	void *params[] = {&counters, &amount};

	return cuLaunchKernel(fixture.add, 1, 1, 1, threads, 1, 1, 0, stream, params, NULL);
}

CUresult launch_slow(CUstream stream)
{
	return cuLaunchKernel(fixture.slow, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL);
}

int read_int(CUdeviceptr address, size_t index)
{
	int value;

	must(cuMemcpyDtoH(&value, address + index * sizeof(value), sizeof(value)));
	return value;
}
