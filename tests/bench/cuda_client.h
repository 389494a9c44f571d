/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The driver as most programs see it: dlopen, dlsym, and calls by pointer.
 */
#ifndef CUSLICE_BENCH_CUDA_CLIENT_H
#define CUSLICE_BENCH_CUDA_CLIENT_H

#include <stdbool.h>

#include <cuda.h>

#define CUDA_CLIENT_CALLS(CALL)        \
	CALL(cuCtxSetCurrent)          \
	CALL(cuCtxSynchronize)         \
	CALL(cuDeviceGet)              \
	CALL(cuDeviceGetName)          \
	CALL(cuDevicePrimaryCtxRetain) \
	CALL(cuDriverGetVersion)       \
	CALL(cuGetProcAddress_v2)      \
	CALL(cuInit)                   \
	CALL(cuLaunchKernel)           \
	CALL(cuMemAlloc_v2)            \
	CALL(cuMemFree_v2)             \
	CALL(cuMemGetInfo_v2)          \
	CALL(cuModuleGetFunction)      \
	CALL(cuModuleLoadData)

struct cuda_client {
	void *libcuda;
#define CALL(symbol) __typeof__(symbol) *symbol;
	CUDA_CLIENT_CALLS(CALL)
#undef CALL
};

/* Loads libcuda.so.1, finds the functions and makes the primary context of device 0 current.
 * False having said on standard error what is missing. */
bool cuda_client_open(struct cuda_client *ret_client);

/* A kernel that takes nothing and does nothing. False having said why there is none. */
bool cuda_client_load_kernel(const struct cuda_client *client, CUfunction *ret_kernel);

#endif
