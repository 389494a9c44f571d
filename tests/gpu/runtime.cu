/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * gpu-runtime-{static,shared} KIND [QUOTA]: a program of the CUDA runtime. Says the same as
 * gpu-client and, beside it, a checksum of what it computed, by launches and by a graph. KIND is
 * not looked at: how the runtime is linked was decided when this was built.
 */
#include <cuda_runtime.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vector>

static const size_t chunk_bytes = 64ull << 20;
static const size_t max_chunks = 4096;
static const size_t excess_bytes = 64ull << 20;
static const int count = 1 << 20;

static void must(cudaError_t err, const char *call)
{
	if (err == cudaSuccess)
		return;
	fflush(stdout);
	fprintf(stderr, "%s: %s\n", call, cudaGetErrorName(err));
	exit(3);
}
#define MUST(call) must((call), #call)

static __global__ void fill_input(float *x, int n)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i < n)
		x[i] = (float)(i % 1000) * 0.25f;
}

static __global__ void step(float a, const float *x, float *y, int n)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i < n)
		y[i] = a * x[i] + y[i] * 0.5f;
}

static void launch_steps(cudaStream_t stream, float *x, float *y)
{
	const int threads = 256, blocks = (count + threads - 1) / threads;

	fill_input<<<blocks, threads, 0, stream>>>(x, count);
	for (int i = 0; i < 20; i++)
		step<<<blocks, threads, 0, stream>>>(0.1f * (float)i, x, y, count);
	MUST(cudaGetLastError());
}

static void launch_as_graph(cudaStream_t stream, float *x, float *y)
{
	cudaGraph_t graph;
	cudaGraphExec_t executable;

	MUST(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
	launch_steps(stream, x, y);
	MUST(cudaStreamEndCapture(stream, &graph));
	MUST(cudaGraphInstantiate(&executable, graph, 0));
	for (int i = 0; i < 10; i++)
		MUST(cudaGraphLaunch(executable, stream));
	MUST(cudaStreamSynchronize(stream));
	MUST(cudaGraphExecDestroy(executable));
	MUST(cudaGraphDestroy(graph));
}

static void compute(const char *key, void (*work)(cudaStream_t, float *, float *))
{
	std::vector<float> result(count);
	cudaStream_t stream;
	float *x, *y;

	MUST(cudaStreamCreate(&stream));
	MUST(cudaMalloc(&x, count * sizeof(float)));
	MUST(cudaMalloc(&y, count * sizeof(float)));
	MUST(cudaMemsetAsync(y, 0, count * sizeof(float), stream));
	work(stream, x, y);
	MUST(cudaMemcpyAsync(result.data(), y, count * sizeof(float), cudaMemcpyDeviceToHost,
		stream));
	MUST(cudaStreamSynchronize(stream));
	uint64_t sum = 0xcbf29ce484222325u;
	for (float value : result) {
		uint32_t bits;
		memcpy(&bits, &value, sizeof(bits));
		sum = (sum ^ bits) * 0x100000001b3u;
	}
	printf("%s=%016llx\n", key, (unsigned long long)sum);
	MUST(cudaFree(x));
	MUST(cudaFree(y));
	MUST(cudaStreamDestroy(stream));
}

static void see_device()
{
	cudaDeviceProp properties;
	size_t free_bytes, total_bytes;

	MUST(cudaGetDeviceProperties(&properties, 0));
	MUST(cudaMemGetInfo(&free_bytes, &total_bytes));
	printf("device_total_bytes=%zu\ntotal_bytes=%zu\nfree_bytes=%zu\n",
		properties.totalGlobalMem, total_bytes, free_bytes);
	void *untouched = (void *)0x5a5a5a5a, *address = untouched;
	cudaError_t err = cudaMalloc(&address, total_bytes + excess_bytes);
	printf("over=%s\nover_untouched=%s\n", cudaGetErrorName(err),
		address == untouched ? "yes" : "no");
	(void)cudaGetLastError(); /* the runtime keeps the refusal until it is asked for */
}

static void fill(uint64_t quota)
{
	std::vector<void *> chunks;
	cudaError_t err = cudaSuccess;

	while (chunks.size() < max_chunks && chunks.size() * chunk_bytes < 2 * quota) {
		void *chunk;
		err = cudaMalloc(&chunk, chunk_bytes);
		if (err != cudaSuccess)
			break;
		chunks.push_back(chunk);
	}
	(void)cudaGetLastError();
	printf("granted_bytes=%zu\nrefused=%s\n", chunks.size() * chunk_bytes,
		cudaGetErrorName(err));
	for (void *chunk : chunks)
		MUST(cudaFree(chunk));
}

/* Memory of the runtime's pool, in stream order. */
static void see_pool(uint64_t quota)
{
	void *address;
	cudaError_t err = cudaMallocAsync(&address, quota + excess_bytes, 0);

	printf("pool_over=%s\n", cudaGetErrorName(err));
	(void)cudaGetLastError();
	if (err == cudaSuccess) {
		MUST(cudaFreeAsync(address, 0));
		MUST(cudaDeviceSynchronize());
	}
}

int main(int argc, char *argv[])
{
	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: %s KIND [QUOTA]\n", argv[0]);
		return 2;
	}
	see_device();
	compute("launches", launch_steps);
	if (argc == 3) {
		fill(strtoull(argv[2], NULL, 10));
		see_pool(strtoull(argv[2], NULL, 10));
	}
	compute("graph", launch_as_graph);
	printf("recovered=yes\n");
	return 0;
}
