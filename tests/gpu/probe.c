/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "probe.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Old enough for every GPU that the driver of CUDA 13 runs. */
static const char kernels_ptx[] = ".version 7.0\n"
				  ".target sm_75\n"
				  ".address_size 64\n"
				  ".visible .entry gpu_empty()\n"
				  "{\n"
				  "	ret;\n"
				  "}\n"
				  ".visible .entry gpu_spin(.param .u64 gpu_spin_param_0)\n"
				  "{\n"
				  "	.reg .pred %again;\n"
				  "	.reg .u64 %duration, %start, %now;\n"
				  "	ld.param.u64 %duration, [gpu_spin_param_0];\n"
				  "	mov.u64 %start, %globaltimer;\n"
				  "LOOK:\n"
				  "	mov.u64 %now, %globaltimer;\n"
				  "	sub.u64 %now, %now, %start;\n"
				  "	setp.lt.u64 %again, %now, %duration;\n"
				  "	@%again bra LOOK;\n"
				  "	ret;\n"
				  "}\n";

static const char *result_name(CUresult result)
{
	const char *name = NULL;

	return cuGetErrorName(result, &name) == CUDA_SUCCESS && name != NULL ? name : "unknown";
}

void probe_must(CUresult result, const char *call)
{
	if (result == CUDA_SUCCESS)
		return;
	fflush(stdout);
	fprintf(stderr, "%s: %s (%d)\n", call, result_name(result), (int)result);
	exit(PROBE_BROKEN);
}

CUcontext probe_open(void)
{
	CUdevice device;
	CUcontext context;

	MUST(cuInit(0));
	MUST(cuDeviceGet(&device, 0));
	MUST(cuDevicePrimaryCtxRetain(&context, device));
	MUST(cuCtxSetCurrent(context));
	return context;
}

CUfunction probe_kernel(const char *name)
{
	CUmodule module;
	CUfunction function;

	MUST(cuModuleLoadData(&module, kernels_ptx));
	MUST(cuModuleGetFunction(&function, module, name));
	return function;
}

void probe_launch_empty(CUfunction empty, CUstream stream)
{
	MUST(cuLaunchKernel(empty, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL));
}

void probe_launch_spin(CUfunction spin, CUstream stream, uint64_t duration_ns)
{
	void *params[] = {&duration_ns};

	MUST(cuLaunchKernel(spin, 1, 1, 1, 1, 1, 1, 0, stream, params, NULL));
}

size_t probe_free_bytes(void)
{
	size_t free_bytes, total_bytes;

	MUST(cuCtxSynchronize());
	MUST(cuMemGetInfo(&free_bytes, &total_bytes));
	return free_bytes;
}

uint64_t probe_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int compare(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

double probe_median(double *values, size_t count)
{
	qsort(values, count, sizeof(*values), compare);
	return values[count / 2];
}

void probe_say(const char *key, const char *format, ...)
{
	va_list arguments;

	printf("%s=", key);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
	fflush(stdout);
}

void probe_say_result(const char *key, CUresult result)
{
	probe_say(key, "%s", result_name(result));
}
