/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A census of SMs.
 */
#include "test_census.h"

#define SHARED_BYTES (120 << 10) /* more than half of an SM's */

static const char ptx[] = ".version 7.0\n"
			  ".target sm_75\n"
			  ".address_size 64\n"
			  ".visible .entry census(.param .u64 census_0)\n"
			  "{\n"
			  "	ret;\n"
			  "}\n";

struct census census;

void census_load(void)
{
	must(cuModuleLoadData(&census.module, ptx));
	must(cuModuleGetFunction(&census.kernel, census.module, "census"));
	must(cuFuncSetAttribute(
		census.kernel, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, SHARED_BYTES));
	must(cuMemAlloc(&census.bits, CENSUS_SM_WORDS * sizeof(uint64_t)));
}

int census_setup(void **state)
{
	fixture_setup(state);
	census_load();
	return 0;
}

int census_teardown(void **state)
{
	must(cuMemFree(census.bits));
	must(cuModuleUnload(census.module));
	return fixture_teardown(state);
}

CUresult census_launch(unsigned blocks, CUstream stream)
{
	void *params[] = {&census.bits};

	return cuLaunchKernel(
		census.kernel, blocks, 1, 1, 1024, 1, 1, SHARED_BYTES, stream, params, NULL);
}

void census_clear(void)
{
	must(cuMemsetD8(census.bits, 0, CENSUS_SM_WORDS * sizeof(uint64_t)));
	must(cuCtxSynchronize());
}

void census_assert(unsigned first, unsigned end)
{
	uint64_t words[CENSUS_SM_WORDS];

	must(cuMemcpyDtoH(words, census.bits, sizeof(words)));
	for (unsigned sm = 0; sm < CENSUS_SMS; sm++)
		assert_int_equal(words[sm / 64] >> sm % 64 & 1, sm >= first && sm < end);
}

CUgreenCtx green_of(unsigned count, unsigned index)
{
	CUdevResource all, groups[16];
	CUdevResourceDesc desc;
	CUgreenCtx green;
	unsigned group_count = 16;

	must(cuDeviceGetDevResource(fixture.device, &all, CU_DEV_RESOURCE_TYPE_SM));
	must(cuDevSmResourceSplitByCount(groups, &group_count, &all, NULL, 0, count));
	assert_true(index < group_count);
	assert_int_equal(groups[index].sm.smCount, count);
	must(cuDevResourceGenerateDesc(&desc, &groups[index], 1));
	must(cuGreenCtxCreate(&green, desc, fixture.device, CU_GREEN_CTX_DEFAULT_STREAM));
	return green;
}

CUcontext context_of(CUgreenCtx green)
{
	CUcontext ctx;

	must(cuCtxFromGreenCtx(&ctx, green));
	return ctx;
}
