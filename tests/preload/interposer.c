/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Another library for LD_PRELOAD, of the kind that profilers and tracers are: it wraps
 * cuMemAlloc_v2 and, where compiled with WRAP_DLSYM, dlsym itself, and hands on by RTLD_NEXT.
 * INTERPOSER_COUNT in the environment makes it say at exit how often it was called.
 */
#include <cuda.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#undef cuMemAlloc_v2

static unsigned alloc_calls, dlsym_calls;
static __thread unsigned depth;

static void fail(const char *text)
{
	if (write(STDERR_FILENO, text, strlen(text)) < 0) {
	}
	_exit(5);
}

CUresult cuMemAlloc_v2(CUdeviceptr *dptr, size_t bytes)
{
	CUresult (*next)(CUdeviceptr *, size_t);

	if (++depth > 8)
		fail("interposer: cuMemAlloc_v2 calls itself\n");
	alloc_calls++;
	*(void **)&next = dlsym(RTLD_NEXT, "cuMemAlloc_v2");
	CUresult res = next != NULL ? next(dptr, bytes) : CUDA_ERROR_NOT_FOUND;
	depth--;
	return res;
}

#ifdef WRAP_DLSYM
void *dlsym(void *restrict handle, const char *restrict name)
{
	static void *(*next)(void *, const char *);

	if (++depth > 8)
		fail("interposer: dlsym calls itself\n");
	dlsym_calls++;
	if (next == NULL)
		*(void **)&next = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34");
	if (next == NULL)
		*(void **)&next = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
	if (next == NULL)
		fail("interposer: there is no dlsym\n");
	void *found = next(handle, name);
	depth--;
	return found;
}
#endif

__attribute__((destructor)) static void finish(void)
{
	if (getenv("INTERPOSER_COUNT") != NULL)
		fprintf(stderr, "interposer: %u allocations, %u lookups\n", alloc_calls,
			dlsym_calls);
}
