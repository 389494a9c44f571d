/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The kernels of gpu-load. Each notes when its first block began and its last one ended, by the
 * GPU's own clock, so that what a program had of the GPU can be told without the library, without
 * the driver and without events. kernels.ptx is what nvcc makes of this file.
 */

/* One pair of times for each launch, or for each replay of a graph, of which all nodes share one.
 * `cursor` counts replays; single launches bring their number as `offset`. */
struct spans {
	unsigned long long *begins; /* set to all ones before */
	unsigned long long *ends;   /* set to zero before */
	const unsigned int *cursor;
	unsigned int offset;
};

static __device__ unsigned long long gpu_now()
{
	unsigned long long now;

	asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
	return now;
}

static __device__ void begin(const spans &spans)
{
	if (threadIdx.x == 0)
		atomicMin(&spans.begins[*spans.cursor + spans.offset], gpu_now());
}

static __device__ void end(const spans &spans)
{
	__threadfence();
	__syncthreads();
	if (threadIdx.x == 0)
		atomicMax(&spans.ends[*spans.cursor + spans.offset], gpu_now());
}

/* Bound by the memory's bandwidth. */
extern "C" __global__ void gpu_copy(spans spans, const uint4 *from, uint4 *to, size_t count)
{
	size_t stride = (size_t)gridDim.x * blockDim.x;

	begin(spans);
	for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride)
		to[i] = from[i];
	end(spans);
}

static __device__ void step(const spans &spans, float *sink, int rounds)
{
	float x = (float)threadIdx.x;

	begin(spans);
	for (int i = 0; i < rounds; i++)
		x = x * 0.999f + 1.0f;
	if (x < 0) /* never; keeps the loop */
		*sink = x;
	end(spans);
}

/* Bound by arithmetic. */
extern "C" __global__ void gpu_step(spans spans, float *sink, int rounds)
{
	step(spans, sink, rounds);
}

/* The same under names of their own, because a simulated GPU knows by its name how long a kernel
 * takes. */
extern "C" __global__ void gpu_short(spans spans, float *sink, int rounds)
{
	step(spans, sink, rounds);
}

extern "C" __global__ void gpu_burn(spans spans, float *sink, int rounds)
{
	step(spans, sink, rounds);
}

extern "C" __global__ void gpu_long(spans spans, float *sink, int rounds)
{
	step(spans, sink, rounds);
}

/* The last node of a graph. */
extern "C" __global__ void gpu_advance(unsigned int *cursor)
{
	(*cursor)++;
}

extern "C" __global__ void gpu_nothing()
{
}

/* The smallest step of the clock that 4096 readings show. */
extern "C" __global__ void gpu_clock_step(unsigned long long *ret_step)
{
	unsigned long long last = gpu_now(), smallest = ~0ull;

	for (int i = 0; i < 4096; i++) {
		unsigned long long now = gpu_now();
		if (now != last && now - last < smallest)
			smallest = now - last;
		last = now;
	}
	*ret_step = smallest;
}

/* The clock's value, for whoever compares it with another clock. */
extern "C" __global__ void gpu_read_clock(unsigned long long *ret_now)
{
	*ret_now = gpu_now();
}

/* One thread, busy for `duration_ns`. */
extern "C" __global__ void gpu_spin(unsigned long long duration_ns)
{
	unsigned long long start = gpu_now();

	while (gpu_now() - start < duration_ns)
		continue;
}
