/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "client.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char busy_ptx[] = ".version 8.0\n"
			       ".target sm_80\n"
			       ".address_size 64\n"
			       ".visible .entry busy()\n"
			       "{\n"
			       "	ret;\n"
			       "}\n";

void say(const char *format, ...)
{
	char line[500];
	va_list args;

	va_start(args, format);
	int len = vsnprintf(line, sizeof(line) - 1, format, args);
	va_end(args);
	if (len > (int)sizeof(line) - 2)
		len = (int)sizeof(line) - 2;
	line[len] = '\n';
	if (write(STDOUT_FILENO, line, (size_t)len + 1) != len + 1)
		_exit(4);
}

void must_be(bool is_true, const char *what)
{
	if (is_true)
		return;
	say("failed %s", what);
	_exit(3);
}

void must(CUresult result, const char *what)
{
	if (result == CUDA_SUCCESS)
		return;
	say("failed %s: %d", what, (int)result);
	_exit(3);
}

void functions_resolve(struct functions *ret_functions, resolver *resolve, void *data)
{
#define FUNCTION(symbol, name, version)                                           \
	*(void **)&ret_functions->symbol = resolve(data, #symbol, name, version); \
	must_be(ret_functions->symbol != NULL, #symbol);
#include "functions.def"
#undef FUNCTION
}

static void *by_dlsym(void *handle, const char *symbol, const char *name, int version)
{
	(void)name;
	(void)version;
	return dlsym(handle, symbol);
}

void *functions_from_dlopen(struct functions *ret_functions, const char *path)
{
	void *handle = dlopen(path, RTLD_NOW);

	must_be(handle != NULL, path);
	functions_resolve(ret_functions, by_dlsym, handle);
	return handle;
}

CUfunction load_kernel(const struct functions *cu, CUmodule *ret_module)
{
	CUfunction kernel;

	must(cu->cuModuleLoadData(ret_module, busy_ptx), "cuModuleLoadData");
	must(cu->cuModuleGetFunction(&kernel, *ret_module, "busy"), "cuModuleGetFunction");
	return kernel;
}

CUresult launch(const struct functions *cu, CUfunction kernel, CUstream stream)
{
	return cu->cuLaunchKernel(kernel, 1, 1, 1, 32, 1, 1, 0, stream, NULL, NULL);
}

uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static _Atomic uint64_t paused_ns;

void CUDA_CB pause_2_ms(void *unused)
{
	(void)unused;
	usleep(2000);
	atomic_store(&paused_ns, now_ns());
}

bool pause_was_late(uint64_t begun_ns)
{
	return atomic_load(&paused_ns) > begun_ns + 8000000;
}

unsigned long argument(int argc, char *argv[], int i, unsigned long otherwise)
{
	return i < argc ? strtoul(argv[i], NULL, 0) : otherwise;
}

struct cuslice_slice read_slice(int device)
{
	struct cuslice_slice slice = {0};
	__typeof__(cuslice_read) *read_it;

	*(void **)&read_it = dlsym(RTLD_DEFAULT, "cuslice_read");
	must_be(read_it != NULL && read_it(device, &slice, sizeof(slice)) == CUSLICE_OK,
		"cuslice_read");
	return slice;
}

unsigned long long used_bytes(int device)
{
	return read_slice(device).used_bytes;
}

void wait_for_test(const char *key)
{
	char line[100];

	say("%s %llu", key, used_bytes(0));
	must_be(fgets(line, sizeof(line), stdin) != NULL, "a line from the test");
}
