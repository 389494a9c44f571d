/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The kernel of the self-test: notes on which SMs its blocks run, each for so many cycles that the
 * scheduler has a reason to use them all. Made into census.fatbin, which the library contains, by
 * `cmake --build build --target census_fatbin`.
 */
extern "C" __global__ void cuslice_census(unsigned int *seen, unsigned int cycles)
{
	long long begun = clock64();
	unsigned int sm;

	asm volatile("mov.u32 %0, %%smid;" : "=r"(sm));
	if (threadIdx.x == 0)
		atomicOr(&seen[sm / 32], 1u << (sm % 32));
	while (clock64() - begun < cycles)
		;
}
