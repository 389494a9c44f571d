/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_forks WHEN
 *
 * Forks before or after parts of CUDA have been used. A child that hangs is ended by SIGALRM and
 * seen by its status. Children of an initialised parent may not use CUDA: the driver says so.
 */
#include "client.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_S 30

static struct functions cu;
static CUfunction kernel;

static int status_of(pid_t child)
{
	int status = 0;

	must_be(child > 0 && waitpid(child, &status, 0) == child, "waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void open_gpu(void)
{
	CUcontext context;
	CUmodule module;

	must(cu.cuInit(0), "cuInit");
	must(cu.cuCtxCreate_v2(&context, 0, 0), "cuCtxCreate");
	kernel = load_kernel(&cu, &module);
}

/* 0 where a process of its own has a GPU, with the quota of 64 MiB where `has_quota`. */
static int use_gpu(bool has_quota)
{
	CUdeviceptr small, large;

	open_gpu();
	must(cu.cuMemAlloc_v2(&small, 40 * MIB), "small");
	CUresult res = cu.cuMemAlloc_v2(&large, 40 * MIB);
	must_be(res == (has_quota ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS), "large");
	must(launch(&cu, kernel, NULL), "launch");
	must(cu.cuCtxSynchronize(), "synchronize");
	must(cu.cuMemFree_v2(small), "free");
	return 0;
}

/* 0 where every call says that the driver does not work here. */
static int use_lost_gpu(void)
{
	CUdeviceptr address = 42;
	size_t free_bytes, total_bytes;
	CUresult wanted = CUDA_ERROR_NOT_INITIALIZED;

	alarm(PATIENCE_S);
	if (cu.cuMemAlloc_v2(&address, MIB) != wanted || address != 42)
		return 1;
	if (cu.cuMemFree_v2(0x1000) != wanted)
		return 2;
	if (cu.cuMemGetInfo_v2(&free_bytes, &total_bytes) != wanted)
		return 3;
	if (launch(&cu, kernel, NULL) != wanted)
		return 4;
	if (cu.cuCtxDestroy_v2((CUcontext)&address) != wanted)
		return 5;
	if (cu.cuMemAllocManaged(&address, MIB, CU_MEM_ATTACH_GLOBAL) != wanted)
		return 6;
	if (cu.cuDevicePrimaryCtxReset_v2(0) != wanted)
		return 7;
	return 0;
}

static void fork_and_use(const char *key, bool has_quota)
{
	pid_t child = fork();

	if (child == 0) {
		alarm(PATIENCE_S);
		_exit(use_gpu(has_quota));
	}
	say("%s %d", key, status_of(child));
}

static void fork_and_use_lost(const char *key)
{
	pid_t child = fork();

	if (child == 0)
		_exit(use_lost_gpu());
	say("%s %d", key, status_of(child));
}

/* vfork and exec, and fork and exec: the new program is one like any other. */
static void execute(const char *program, const char *quota)
{
	char *const argv[] = {(char *)program, (char *)"use", (char *)quota, NULL};
	pid_t child = vfork();

	if (child == 0) {
		execv(program, argv);
		_exit(9);
	}
	say("vfork %d", status_of(child));
	child = fork();
	if (child == 0) {
		execv(program, argv);
		_exit(9);
	}
	say("exec %d", status_of(child));
}

static atomic_bool is_over;
static atomic_uint mistakes;

static void *keep_allocating(void *context)
{
	must(cu.cuCtxSetCurrent(context), "cuCtxSetCurrent");
	while (!atomic_load(&is_over)) {
		CUdeviceptr address;
		CUresult res = cu.cuMemAlloc_v2(&address, MIB);
		if (res != CUDA_SUCCESS || cu.cuMemFree_v2(address) != CUDA_SUCCESS)
			atomic_fetch_add(&mistakes, 1);
	}
	return NULL;
}

static void *keep_launching(void *context)
{
	must(cu.cuCtxSetCurrent(context), "cuCtxSetCurrent");
	while (!atomic_load(&is_over)) {
		if (launch(&cu, kernel, NULL) != CUDA_SUCCESS ||
			cu.cuCtxSynchronize() != CUDA_SUCCESS)
			atomic_fetch_add(&mistakes, 1);
	}
	return NULL;
}

static void fork_in_a_storm(unsigned forks)
{
	pthread_t threads[4];
	CUcontext context;
	CUmodule module;
	unsigned bad = 0;

	must(cu.cuInit(0), "cuInit");
	must(cu.cuCtxCreate_v2(&context, 0, 0), "cuCtxCreate");
	kernel = load_kernel(&cu, &module);
	for (unsigned i = 0; i < 4; i++)
		must_be(pthread_create(&threads[i], NULL,
				i % 2 == 0 ? keep_allocating : keep_launching, context) == 0,
			"pthread_create");
	for (unsigned i = 0; i < forks; i++) {
		pid_t child = fork();
		if (child == 0)
			_exit(use_lost_gpu());
		int status = status_of(child);
		if (status != 0)
			say("storm_child %d", status);
		bad += status != 0;
	}
	atomic_store(&is_over, true);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	say("storm %u %u", bad, atomic_load(&mistakes));
}

int main(int argc, char *argv[])
{
	const char *when = argc > 1 ? argv[1] : "";
	bool has_quota = argument(argc, argv, 2, 0) != 0;

	if (strcmp(when, "before") == 0) {
		pid_t child = fork();
		if (child == 0) {
			alarm(PATIENCE_S);
			functions_from_dlopen(&cu, "libcuda.so.1");
			_exit(use_gpu(has_quota));
		}
		say("child %d", status_of(child));
		functions_from_dlopen(&cu, "libcuda.so.1");
		say("parent %d", use_gpu(has_quota));
		return 0;
	}
	functions_from_dlopen(&cu, "libcuda.so.1");
	if (strcmp(when, "looked_up") == 0) {
		fork_and_use("child", has_quota);
		say("parent %d", use_gpu(has_quota));
	} else if (strcmp(when, "initialised") == 0) {
		open_gpu();
		fork_and_use_lost("child");
		execute(argv[0], argc > 2 ? argv[2] : "0");
		say("parent %d", use_gpu(has_quota));
	} else if (strcmp(when, "storm") == 0) {
		fork_in_a_storm((unsigned)argument(argc, argv, 2, 100));
	} else if (strcmp(when, "use") == 0) {
		return use_gpu(has_quota);
	} else {
		return 2;
	}
	return 0;
}
