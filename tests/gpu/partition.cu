/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The kernels of gpu-partition: a step of a chain, and one that notes its SMs. partition.ptx is what
 * nvcc makes of this file.
 */
static __device__ void note_sm(unsigned int *seen)
{
	unsigned int sm;

	asm volatile("mov.u32 %0, %%smid;" : "=r"(sm));
	atomicOr(&seen[sm / 32], 1u << (sm % 32));
}

/* One thread. The cell has to be what the step before has left, at the beginning and in the end. */
static __device__ void turn(
	unsigned int *cell, unsigned int number, unsigned int *wrong, unsigned int *seen,
	unsigned int cycles)
{
	long long begun = clock64();
	volatile unsigned int *now = cell;
	bool is_right = *now == number;

	note_sm(seen);
	while (clock64() - begun < cycles)
		continue;
	is_right &= *now == number;
	if (!is_right)
		atomicAdd(wrong, 1u);
	*now = number + 1;
}

/* Under two names, because a simulated GPU knows by its name how long a kernel takes. */
extern "C" __global__ void gpu_turn_short(
	unsigned int *cell, unsigned int number, unsigned int *wrong, unsigned int *seen,
	unsigned int cycles)
{
	turn(cell, number, wrong, seen, cycles);
}

extern "C" __global__ void gpu_turn_long(
	unsigned int *cell, unsigned int number, unsigned int *wrong, unsigned int *seen,
	unsigned int cycles)
{
	turn(cell, number, wrong, seen, cycles);
}

/* As the library's own, which is no PTX. */
extern "C" __global__ void gpu_census(unsigned int *seen, unsigned int cycles)
{
	long long begun = clock64();

	if (threadIdx.x == 0)
		note_sm(seen);
	while (clock64() - begun < cycles)
		continue;
}
