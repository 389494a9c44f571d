/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The kernels of gpu-families that make the driver take memory by itself. heap.ptx is what nvcc
 * makes of this file.
 */
#include <stdio.h>
#include <stdlib.h>

/* Of each thread, in local memory; too much for registers. */
#define LOCAL_WORDS 1024

/* Takes from the context's heap and gives it back. */
extern "C" __global__ void gpu_malloc(unsigned long long *ret_address)
{
	void *address = malloc(64);

	*ret_address = (unsigned long long)address;
	free(address);
}

extern "C" __global__ void gpu_printf(const char *unused)
{
	if (unused != NULL)
		printf("%p\n", unused);
}

/* The index is not known before, so the array has to be in memory. */
extern "C" __global__ void gpu_local(int *ret_sum, int count)
{
	int words[LOCAL_WORDS];
	int sum = 0;

	for (int i = 0; i < LOCAL_WORDS; i++)
		words[i] = i * count;
	for (int i = 0; i < count; i++)
		words[(i * 7) % LOCAL_WORDS] += words[(i * 13 + count) % LOCAL_WORDS];
	for (int i = 0; i < count; i++)
		sum += words[(i * 3) % LOCAL_WORDS];
	*ret_sum = sum;
}
