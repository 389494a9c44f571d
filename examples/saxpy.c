/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * saxpy: adds two vectors on the GPU, checks every element, shows the memory that it sees and asks
 * for more than that. A plain program that knows nothing of cuslice.
 *
 *	saxpy [--elements N] [--device N]
 *
 * Exit status: 0 result right, 1 result wrong or CUDA error, 2 arguments not understood.
 */
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "device.h"

#define THREADS 256u
#define FACTOR  2.0f

struct arguments {
	uint32_t elements;
	int device;
};

static struct arguments read_arguments(int argc, char **argv)
{
	static const struct option options[] = {
		{"elements", required_argument, NULL, 'n'},
		{"device", required_argument, NULL, 'd'},
		{0},
	};
	struct arguments arguments = {.elements = 1000000};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'n')
			arguments.elements =
				(uint32_t)number_option("elements", optarg, 1, 1u << 30);
		else if (option == 'd')
			arguments.device = (int)number_option("device", optarg, 0, 1000);
		else
			exit(2);
	}
	if (optind < argc) {
		fprintf(stderr, "saxpy: \"%s\": unexpected\n", argv[optind]);
		exit(2);
	}
	return arguments;
}

static float *host_vector(uint32_t elements)
{
	float *vector = malloc(elements * sizeof(*vector));

	if (!vector) {
		fputs("saxpy: no memory on the host\n", stderr);
		exit(1);
	}
	return vector;
}

/* Both stay small enough for a float to hold the result exactly. */
static float x_at(uint32_t i)
{
	return (float)(i % 1000);
}

static float y_at(uint32_t i)
{
	return (float)(i % 777);
}

static void launch(const struct device *device, uint32_t n, CUdeviceptr x, CUdeviceptr y)
{
	float a = FACTOR;
	void *params[] = {&n, &a, &x, &y};

	must(cuLaunchKernel(device_kernel(device, "saxpy"), (n + THREADS - 1) / THREADS, 1, 1,
		     THREADS, 1, 1, 0, NULL, params, NULL),
		"cuLaunchKernel");
	must(cuCtxSynchronize(), "cuCtxSynchronize");
}

static bool result_is_right(const float *y, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (y[i] != FACTOR * x_at(i) + y_at(i))
			return false;
	return true;
}

static bool compute(const struct device *device, uint32_t n)
{
	size_t size = n * sizeof(float);
	float *x = host_vector(n);
	float *y = host_vector(n);
	CUdeviceptr device_x, device_y;

	for (uint32_t i = 0; i < n; i++) {
		x[i] = x_at(i);
		y[i] = y_at(i);
	}
	must(cuMemAlloc(&device_x, size), "cuMemAlloc");
	must(cuMemAlloc(&device_y, size), "cuMemAlloc");
	must(cuMemcpyHtoD(device_x, x, size), "cuMemcpyHtoD");
	must(cuMemcpyHtoD(device_y, y, size), "cuMemcpyHtoD");
	launch(device, n, device_x, device_y);
	must(cuMemcpyDtoH(y, device_y, size), "cuMemcpyDtoH");
	must(cuMemFree(device_x), "cuMemFree");
	must(cuMemFree(device_y), "cuMemFree");

	bool is_right = result_is_right(y, n);
	free(x);
	free(y);
	return is_right;
}

static void show_device(const struct device *device)
{
	char name[256];
	size_t free_bytes, total_bytes;

	must(cuDeviceGetName(name, sizeof(name), device->handle), "cuDeviceGetName");
	must(cuMemGetInfo(&free_bytes, &total_bytes), "cuMemGetInfo");
	printf("device: %s\n", name);
	printf("memory: %zu of %zu bytes free\n", free_bytes, total_bytes);
}

/* One MiB more than there is, as far as this program can see. */
static void ask_for_more(void)
{
	const size_t mebibyte = (size_t)1 << 20;
	size_t free_bytes, total_bytes;
	CUdeviceptr memory;

	must(cuMemGetInfo(&free_bytes, &total_bytes), "cuMemGetInfo");
	CUresult result = cuMemAlloc(&memory, total_bytes + mebibyte);
	if (result == CUDA_ERROR_OUT_OF_MEMORY) {
		printf("%zu bytes: refused\n", total_bytes + mebibyte);
		return;
	}
	must(result, "cuMemAlloc");
	printf("%zu bytes: granted\n", total_bytes + mebibyte);
	must(cuMemFree(memory), "cuMemFree");
}

int main(int argc, char **argv)
{
	struct arguments arguments = read_arguments(argc, argv);
	struct device device;

	device_open(&device, arguments.device);
	show_device(&device);
	bool is_right = compute(&device, arguments.elements);
	printf("saxpy: %u elements, result %s\n", arguments.elements, is_right ? "right" : "wrong");
	ask_for_more();
	device_close(&device);
	return is_right ? 0 : 1;
}
