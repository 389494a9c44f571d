/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Dynamic parallelism, for gpu-launches: a kernel that launches one which notes its SMs. nvcc links
 * it with its device runtime, so there is no PTX of it in the tree.
 */
extern "C" __global__ void gpu_child(unsigned int *seen, unsigned int cycles)
{
	long long begun = clock64();
	unsigned int sm;

	asm volatile("mov.u32 %0, %%smid;" : "=r"(sm));
	if (threadIdx.x == 0)
		atomicOr(&seen[sm / 32], 1u << (sm % 32));
	while (clock64() - begun < cycles)
		continue;
}

/* One thread. refused: becomes the error of a launch that does not work. */
extern "C" __global__ void gpu_parent(
	unsigned int *seen, unsigned int blocks, unsigned int cycles, unsigned int *refused)
{
	gpu_child<<<blocks, 1024>>>(seen, cycles);
	*refused = (unsigned int)cudaGetLastError();
}
