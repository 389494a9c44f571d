/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "census.h"

#define BLOCK_THREADS 1024u
#define BLOCK_CYCLES  20000u

extern const char census_image[] __attribute__((visibility("hidden")));

struct census census;

void census_open(void)
{
	CUmodule module;
	int sms;

	MUST(cuDeviceGetAttribute(&sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0));
	MUST(cuModuleLoadData(&module, census_image));
	MUST(cuModuleGetFunction(&census.kernel, module, "cuslice_census"));
	MUST(cuMemAlloc(&census.seen, CENSUS_WORDS * 4));
	MUST(cuMemsetD8(census.seen, 0, CENSUS_WORDS * 4));
	MUST(cuCtxSynchronize());
	census.sms = (unsigned)sms;
	probe_say("told", "%d", sms);
}

CUresult census_launch(CUstream stream)
{
	unsigned cycles = BLOCK_CYCLES;
	void *params[] = {&census.seen, &cycles};

	return cuLaunchKernel(
		census.kernel, 8 * census.sms, 1, 1, BLOCK_THREADS, 1, 1, 0, stream, params, NULL);
}

CUresult census_launch_cooperative(CUstream stream, unsigned sms, unsigned more)
{
	unsigned cycles = BLOCK_CYCLES;
	void *params[] = {&census.seen, &cycles};
	int places;

	MUST(cuOccupancyMaxActiveBlocksPerMultiprocessor(&places, census.kernel, BLOCK_THREADS, 0));
	return cuLaunchCooperativeKernel(census.kernel, sms * (unsigned)places + more, 1, 1,
		BLOCK_THREADS, 1, 1, 0, stream, params);
}

unsigned census_take(void)
{
	uint32_t words[CENSUS_WORDS];
	unsigned count = 0;

	MUST(cuCtxSynchronize());
	MUST(cuMemcpyDtoH(words, census.seen, sizeof(words)));
	MUST(cuMemsetD8(census.seen, 0, sizeof(words)));
	MUST(cuCtxSynchronize());
	for (unsigned i = 0; i < CENSUS_WORDS; i++)
		count += (unsigned)__builtin_popcount(words[i]);
	return count;
}
