/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The driver as most programs see it: dlopen, dlsym, and calls by pointer.
 */
#ifndef CUSLICE_BENCH_CUDA_CLIENT_H
#define CUSLICE_BENCH_CUDA_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include <cuda.h>

#define CUDA_CLIENT_CALLS(CALL)           \
	CALL(cuCtxSetCurrent)             \
	CALL(cuCtxSynchronize)            \
	CALL(cuDeviceGet)                 \
	CALL(cuDeviceGetName)             \
	CALL(cuDevicePrimaryCtxRetain)    \
	CALL(cuDriverGetVersion)          \
	CALL(cuEventCreate)               \
	CALL(cuEventRecord)               \
	CALL(cuEventSynchronize)          \
	CALL(cuGetExportTable)            \
	CALL(cuGetProcAddress_v2)         \
	CALL(cuGraphInstantiateWithFlags) \
	CALL(cuGraphLaunch)               \
	CALL(cuInit)                      \
	CALL(cuLaunchKernel)              \
	CALL(cuMemAlloc_v2)               \
	CALL(cuMemFree_v2)                \
	CALL(cuMemGetInfo_v2)             \
	CALL(cuModuleGetFunction)         \
	CALL(cuModuleLoadData)            \
	CALL(cuStreamBeginCapture_v2)     \
	CALL(cuStreamCreate)              \
	CALL(cuStreamEndCapture)          \
	CALL(cuStreamSynchronize)

struct cuda_client {
	void *libcuda;
#define CALL(symbol) __typeof__(symbol) *symbol;
	CUDA_CLIENT_CALLS(CALL)
#undef CALL
};

/* Loads libcuda.so.1, finds the functions and makes the primary context of device 0 current.
 * False having said on standard error what is missing. */
bool cuda_client_open(struct cuda_client *ret_client);

/* A kernel of that name (at most 63 characters) that takes nothing and does nothing. False having
 * said why there is none. */
bool cuda_client_load_kernel(
	const struct cuda_client *client, const char *name, CUfunction *ret_kernel);

/* How many events the process has had recorded, by itself or by us: a count that simgpu keeps. NULL
 * with other drivers. */
const _Atomic uint64_t *cuda_client_event_records(const struct cuda_client *client);

/* True for CUDA_SUCCESS; otherwise says what has failed. */
bool cuda_client_is_done(const char *what, CUresult res);

#endif
