/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Sixteen threads whose first lookups, and first calls, are one race. Compiled twice: linked with
 * libcuda (LINKED), and not.
 */
#include "client.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define THREADS 16

static pthread_barrier_t barrier;
static struct functions tables[THREADS];
static atomic_uint mistakes;

static void expect(bool is_true)
{
	if (!is_true)
		atomic_fetch_add(&mistakes, 1);
}

static void look_up(struct functions *table)
{
#ifdef LINKED
	functions_from_link(table);
#else
	functions_from_dlopen(table, "libcuda.so.1");
#endif
}

static void *race(void *data)
{
	struct functions *cu = data;
	CUcontext context;
	CUdeviceptr address;

	pthread_barrier_wait(&barrier);
	look_up(cu);
	expect(cu->cuInit(0) == CUDA_SUCCESS);
	expect(cu->cuDevicePrimaryCtxRetain(&context, 0) == CUDA_SUCCESS);
	expect(cu->cuCtxSetCurrent(context) == CUDA_SUCCESS);
	for (unsigned i = 0; i < 100; i++) {
		expect(cu->cuMemAlloc_v2(&address, 2 * MIB) == CUDA_SUCCESS);
		expect(cu->cuMemFree_v2(address) == CUDA_SUCCESS);
	}
	expect(cu->cuMemAlloc_v2(&address, 96 * MIB) == CUDA_ERROR_OUT_OF_MEMORY);
	pthread_barrier_wait(&barrier);
	expect(cu->cuDevicePrimaryCtxRelease_v2(0) == CUDA_SUCCESS);
	return NULL;
}

int main(void)
{
	pthread_t threads[THREADS];

	pthread_barrier_init(&barrier, NULL, THREADS);
	for (unsigned i = 0; i < THREADS; i++)
		must_be(pthread_create(&threads[i], NULL, race, &tables[i]) == 0, "pthread_create");
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 1; i < THREADS; i++)
		expect(memcmp(&tables[0], &tables[i], sizeof(tables[0])) == 0);
	say("mistakes %u", atomic_load(&mistakes));
	return 0;
}
