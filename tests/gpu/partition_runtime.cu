/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * gpu-partition-runtime: on how many SMs the work of a program of the CUDA runtime runs, whose
 * threads choose the device themselves. Prints lines `key=value`, as the probe programs do.
 */
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#define MUST(call) must(call, #call)

static const int threads = 16, rounds = 64, words = 128;
static unsigned int *seen;
static int sms;

static void must(cudaError_t error, const char *call)
{
	if (error == cudaSuccess)
		return;
	fprintf(stderr, "%s: %s\n", call, cudaGetErrorName(error));
	exit(3);
}

static __global__ void note_sm(unsigned int *seen, unsigned int cycles)
{
	long long begun = clock64();
	unsigned int sm;

	asm volatile("mov.u32 %0, %%smid;" : "=r"(sm));
	if (threadIdx.x == 0)
		atomicOr(&seen[sm / 32], 1u << (sm % 32));
	while (clock64() - begun < cycles)
		continue;
}

static void launch(cudaStream_t stream)
{
	note_sm<<<8 * sms, 1024, 0, stream>>>(seen, 20000);
	MUST(cudaGetLastError());
}

static void work_along()
{
	cudaStream_t blocking, free;

	MUST(cudaSetDevice(0));
	MUST(cudaStreamCreate(&blocking));
	MUST(cudaStreamCreateWithFlags(&free, cudaStreamNonBlocking));
	cudaStream_t streams[] = {cudaStreamLegacy, cudaStreamPerThread, blocking, free};
	for (int i = 0; i < rounds; i++)
		launch(streams[i % 4]);
	MUST(cudaStreamSynchronize(cudaStreamPerThread));
	MUST(cudaStreamDestroy(blocking));
	MUST(cudaStreamDestroy(free));
}

static int sms_seen()
{
	unsigned int host[words];
	int count = 0;

	MUST(cudaDeviceSynchronize());
	MUST(cudaMemcpy(host, seen, sizeof(host), cudaMemcpyDeviceToHost));
	MUST(cudaMemset(seen, 0, sizeof(host)));
	for (unsigned int word : host)
		count += __builtin_popcount(word);
	return count;
}

int main()
{
	std::vector<std::thread> workers;

	MUST(cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, 0));
	MUST(cudaMalloc(&seen, words * sizeof(*seen)));
	MUST(cudaMemset(seen, 0, words * sizeof(*seen)));
	printf("told=%d\n", sms);
	launch(cudaStreamLegacy);
	printf("default=%d\n", sms_seen());
	for (int i = 0; i < threads; i++)
		workers.emplace_back(work_along);
	for (std::thread &worker : workers)
		worker.join();
	printf("threads=%d\n", sms_seen());
	return 0;
}
