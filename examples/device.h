/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What the examples share: a device with a context and the kernels of kernels.cu. For programs with
 * one thread that end at the first error.
 */
#ifndef EXAMPLES_DEVICE_H
#define EXAMPLES_DEVICE_H

#include <cuda.h>

/* Kernels, as PTX text. */
extern const char kernels_ptx[];

struct device {
	CUdevice handle;
	CUcontext context;
	CUmodule module;
};

/* If `result` is an error, print what was tried and end the program with status 1. */
void must(CUresult result, const char *what);

/* The value `text` of option --`name`: a whole number from `min` to `max`. If it is none, print so
 * and end the program with status 2. */
unsigned long long number_option(
	const char *name, const char *text, unsigned long long min, unsigned long long max);

/* Initialise CUDA, make the primary context of device `ordinal` current and load the kernels. */
void device_open(struct device *device, int ordinal);
void device_close(struct device *device);

CUfunction device_kernel(const struct device *device, const char *name);
int device_attribute(const struct device *device, CUdevice_attribute attribute);

#endif
