/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * One of everything that a module may declare. test_images.c knows each by name. samples.ptx is the
 * output of nvcc -ptx -arch=compute_90 for this file.
 */
#include <stdint.h>

struct three {
	char bytes[3];
};
struct padded {
	double d;
	int i;
	char c;
};
struct __align__(16) wide {
	int i;
};
struct huge {
	char bytes[9000];
};

__device__ int counter = 7;
__device__ uint64_t table[4] = {1, 2, 3, 4};
__device__ float zeroes[100];
__device__ int *address = &counter;
__constant__ float coefficients[3] = {1.5f, 2.5f, -3.5f};
__constant__ int constant_zero;
static __device__ int hidden = 5;

extern "C" __global__ void none()
{
	counter++;
	hidden++;
}

extern "C" __global__ void __launch_bounds__(128)
	mixed(char a, three b, double c, padded d, int *e, float f)
{
	__shared__ float buffer[64];
	extern __shared__ float dynamic[];

	buffer[threadIdx.x & 63] = f + b.bytes[1];
	__syncthreads();
	*e = (int)buffer[a & 63] + (int)c + d.i + (int)dynamic[0] + (int)coefficients[a & 1] +
		constant_zero + (int)table[a & 3] + (int)zeroes[(int)a];
}

template <typename T> __global__ void with_stack(T *p, int n)
{
	T x[40];

	for (int i = 0; i < n; i++)
		x[i % 40] = p[i];
	p[0] = x[n % 40] + *address;
}
template __global__ void with_stack<float>(float *, int);

__device__ __noinline__ int helper(int a)
{
	return a * 3 + 1;
}

extern "C" __global__ void aligned(char c, wide a, char d, int *p)
{
	*p = helper(a.i) + c + d;
}

/* More than 4 KiB of parameters: another form of the cubin's attribute. */
extern "C" __global__ void large(huge h, int *p)
{
	*p = h.bytes[*p];
}
