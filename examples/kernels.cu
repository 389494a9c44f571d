/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The kernels of the examples. kernels.ptx is the output of nvcc -ptx -arch=compute_75 for this
 * file, for machines without nvcc; a test compares the two.
 */
#include <stdint.h>

extern "C" __global__ void saxpy(uint32_t n, float a, const float *x, float *y)
{
	uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i < n)
		y[i] += a * x[i];
}

/* Keeps its blocks busy for `cycles` of the SM's clock. The clock goes on while another process has
 * the GPU; such a gap is no work of ours, so steps that no loop can take are left out. */
extern "C" __global__ void spin(uint64_t cycles)
{
	const int64_t longest_step = 10000;
	uint64_t done = 0;
	int64_t last = clock64();

	while (done < cycles) {
		int64_t now = clock64();
		int64_t step = now - last;
		if (step > 0 && step < longest_step)
			done += (uint64_t)step;
		last = now;
	}
}
