/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What tests of green contexts share: a kernel that notes the SMs on which its blocks run.
 */
#ifndef SIMGPU_DRIVER_TEST_CENSUS_H
#define SIMGPU_DRIVER_TEST_CENSUS_H

#include "test_support.h"

#define CENSUS_SMS      132u
#define CENSUS_SM_WORDS 3u

struct census {
	CUmodule module;
	CUfunction kernel;
	CUdeviceptr bits; /* CENSUS_SM_WORDS words: SMs on which it ran since it was cleared */
};

extern struct census census;

/* cmocka group fixtures: those of test_support.h, the kernel and the bits. */
int census_setup(void **state);
int census_teardown(void **state);

/* Loads the kernel into the current context. */
void census_load(void);

/* Launches `blocks` of it, of which an SM holds one at a time. */
CUresult census_launch(unsigned blocks, CUstream stream);

void census_clear(void);

/* Fails unless it ran on just the SMs from `first` to `end` - 1 since it was cleared. */
void census_assert(unsigned first, unsigned end);

/* A green context of the `index`-th group of `count` SMs of device 0, and its context. */
CUgreenCtx green_of(unsigned count, unsigned index);
CUcontext context_of(CUgreenCtx green);

#endif
