/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The driver functions of the client program, which finds them in every way that programs do.
 */
#ifndef GPU_CLIENT_H
#define GPU_CLIENT_H

#include <cuda.h>

#include <stdbool.h>

/* CLIENT_CALL(name, version): its name for cuGetProcAddress, and the CUDA version to ask for.
 * cuda.h makes of each name the symbol of today. */
#define CLIENT_CALLS(CLIENT_CALL)                   \
	CLIENT_CALL(cuInit, 2000)                   \
	CLIENT_CALL(cuDeviceGet, 2000)              \
	CLIENT_CALL(cuDeviceTotalMem, 3020)         \
	CLIENT_CALL(cuDevicePrimaryCtxRetain, 7000) \
	CLIENT_CALL(cuCtxSetCurrent, 4000)          \
	CLIENT_CALL(cuCtxSynchronize, 2000)         \
	CLIENT_CALL(cuMemGetInfo, 3020)             \
	CLIENT_CALL(cuMemAlloc, 3020)               \
	CLIENT_CALL(cuMemFree, 3020)                \
	CLIENT_CALL(cuMemsetD8, 3020)               \
	CLIENT_CALL(cuMemcpyDtoH, 3020)

struct client_driver {
#define CLIENT_FIELD(name, version) __typeof__(name) *name;
	CLIENT_CALLS(CLIENT_FIELD)
#undef CLIENT_FIELD
};

/* Finds all functions as `kind` says. "linked": bound by the dynamic linker. False, with a line on
 * stderr, for a kind that the program does not know or a function that is not found. */
bool client_find(const char *kind, struct client_driver *ret_driver);

#endif
