/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What the tests of the simulated driver share: a context, a module and words for results.
 */
#ifndef SIMGPU_DRIVER_TEST_SUPPORT_H
#define SIMGPU_DRIVER_TEST_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <cuda.h>

/* PTX of `add(int *counters, int amount)`, which adds to one counter a thread, of `slow()`, and of
 * the variables `answer` (42) and `zeroes`. add has a twin in test_twins.c. */
extern const char test_ptx[];

struct fixture {
	CUdevice device;
	CUcontext ctx;
	CUmodule module;
	CUfunction add, slow;
};

extern struct fixture fixture;

/* cmocka group fixtures: cuInit, the primary context of device 0, current, and the module. */
int fixture_setup(void **state);
int fixture_teardown(void **state);

#define assert_cuda(expected, call) assert_int_equal((call), (expected))
#define must(call)                  assert_cuda(CUDA_SUCCESS, call)

/* Launches one block of `threads` of add in `stream`. */
CUresult launch_add(CUdeviceptr counters, int amount, unsigned threads, CUstream stream);

/* Launches slow, which takes as long as the machine says, in `stream`. */
CUresult launch_slow(CUstream stream);

/* Returns the `index`-th int at `address`, read by a copy. */
int read_int(CUdeviceptr address, size_t index);

#endif
