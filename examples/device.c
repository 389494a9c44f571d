/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Opening a device, for the examples.
 */
#include "device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

void must(CUresult result, const char *what)
{
	const char *name = NULL;

	if (result == CUDA_SUCCESS)
		return;
	if (cuGetErrorName(result, &name) != CUDA_SUCCESS)
		name = "an unknown error";
	fprintf(stderr, "%s: %s (%d)\n", what, name, (int)result);
	exit(1);
}

unsigned long long number_option(
	const char *name, const char *text, unsigned long long min, unsigned long long max)
{
	char *end;

	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (errno || end == text || *end || text[0] == '-' || value < min || value > max) {
		fprintf(stderr, "--%s \"%s\": not a whole number from %llu to %llu\n", name, text,
			min, max);
		exit(2);
	}
	return value;
}

void device_open(struct device *device, int ordinal)
{
	must(cuInit(0), "cuInit");
	must(cuDeviceGet(&device->handle, ordinal), "cuDeviceGet");
	must(cuDevicePrimaryCtxRetain(&device->context, device->handle),
		"cuDevicePrimaryCtxRetain");
	must(cuCtxSetCurrent(device->context), "cuCtxSetCurrent");
	must(cuModuleLoadData(&device->module, kernels_ptx), "cuModuleLoadData");
}

void device_close(struct device *device)
{
	must(cuModuleUnload(device->module), "cuModuleUnload");
	must(cuDevicePrimaryCtxRelease(device->handle), "cuDevicePrimaryCtxRelease");
}

CUfunction device_kernel(const struct device *device, const char *name)
{
	CUfunction kernel;

	must(cuModuleGetFunction(&kernel, device->module, name), name);
	return kernel;
}

int device_attribute(const struct device *device, CUdevice_attribute attribute)
{
	int value;

	must(cuDeviceGetAttribute(&value, attribute, device->handle), "cuDeviceGetAttribute");
	return value;
}
