/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A program with the CUDA runtime, shared or static. On simgpu its first call ends with an error,
 * because the runtime validates the driver; its lookups come before that.
 */
#include <cuda_runtime_api.h>
#include <stdio.h>

int main(void)
{
	int count = -1;
	cudaError_t error = cudaGetDeviceCount(&count);

	printf("count %d %s\n", (int)error, cudaGetErrorName(error));
	return 0;
}
