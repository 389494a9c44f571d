/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The kernels of gpu-launches that need compute capability 9.0: clusters and programmatic launches.
 * launches.ptx is what nvcc makes of this file.
 */
static __device__ void note_sm(unsigned int *seen)
{
	unsigned int sm;

	asm volatile("mov.u32 %0, %%smid;" : "=r"(sm));
	atomicOr(&seen[sm / 32], 1u << (sm % 32));
}

static __device__ void spin(unsigned int cycles)
{
	long long begun = clock64();

	while (clock64() - begun < cycles)
		continue;
}

/* counts: blocks that ran; blocks whose cluster has another size than `wanted`. All blocks of a
 * cluster wait for each other, which they can only if they run at a time. */
extern "C" __global__ void gpu_cluster(
	unsigned int *seen, unsigned int *counts, unsigned int wanted, unsigned int cycles)
{
	unsigned int size;

	asm volatile("mov.u32 %0, %%cluster_nctaid.x;" : "=r"(size));
	asm volatile("barrier.cluster.arrive.aligned;\n\tbarrier.cluster.wait.aligned;" ::: "memory");
	if (threadIdx.x == 0) {
		note_sm(seen);
		atomicAdd(&counts[0], 1u);
		if (size != wanted)
			atomicAdd(&counts[1], 1u);
	}
	spin(cycles);
}

/* Lets its successor start early, and writes only then what that has to find. */
extern "C" __global__ void gpu_lead(unsigned int *cell, unsigned int number, unsigned int cycles)
{
	asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
	spin(cycles);
	*cell = number;
}

extern "C" __global__ void gpu_follow(
	unsigned int *cell, unsigned int number, unsigned int *counts, unsigned int *seen)
{
	note_sm(seen);
	asm volatile("griddepcontrol.wait;" ::: "memory");
	atomicAdd(&counts[0], 1u);
	if (*(volatile unsigned int *)cell != number)
		atomicAdd(&counts[1], 1u);
}
