/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_waits WHAT [PLUGIN]
 *
 * Three threads launch more than their share lets go, so that nearly always each of them waits.
 * Meanwhile the program does what programs do at their end or in between:
 *
 *   destroy     destroys the context that they use, and works on in another
 *   reset       resets the primary context that they use, and works on in that
 *   other       makes contexts, works in them and destroys them, beside the one that they use
 *   fork        forks, and the children try to launch
 *   plugin      opens a library that launches itself, and closes it, again and again
 *   exit        ends by exit(), quick_exit(), _exit() or the end of its first thread
 *   quick_exit  each with a handler that uses the GPU where there are handlers
 *   _exit
 *   thread_exit
 *   leave       forks a child that stays, says its number, and waits to be killed
 *
 * What the threads get once their context is gone is `lost`, where it is nothing but that.
 */
#include "client.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WAITERS    3
#define PATIENCE_S 30
#define ROUNDS     10

static struct functions cu;
static CUcontext context;
static CUfunction kernel;
static pthread_t waiters[WAITERS];
static atomic_bool is_over;
static atomic_uint launched, mistakes;

static void pause_ms(unsigned ms)
{
	const struct timespec span = {.tv_sec = 0, .tv_nsec = (long)ms * 1000000};

	nanosleep(&span, NULL);
}

/* What a driver may answer for a context that is gone. */
static bool is_lost(CUresult res)
{
	return res == CUDA_ERROR_CONTEXT_IS_DESTROYED || res == CUDA_ERROR_INVALID_CONTEXT ||
	       res == CUDA_ERROR_INVALID_HANDLE || res == CUDA_ERROR_DEINITIALIZED;
}

static void *keep_waiting(void *unused)
{
	CUresult res = cu.cuCtxSetCurrent(context);

	(void)unused;
	while (res == CUDA_SUCCESS && !atomic_load(&is_over)) {
		res = launch(&cu, kernel, NULL);
		atomic_fetch_add(&launched, 1);
	}
	if (res != CUDA_SUCCESS && !is_lost(res)) {
		say("res %d", (int)res);
		atomic_fetch_add(&mistakes, 1);
	}
	return NULL;
}

static void begin(void)
{
	for (unsigned i = 0; i < WAITERS; i++)
		must_be(pthread_create(&waiters[i], NULL, keep_waiting, NULL) == 0, "a thread");
	/* The burst, and a little more. */
	while (atomic_load(&launched) < 25)
		pause_ms(1);
	pause_ms(20);
}

static void end(void)
{
	atomic_store(&is_over, true);
	for (unsigned i = 0; i < WAITERS; i++)
		pthread_join(waiters[i], NULL);
	say("mistakes %u", atomic_load(&mistakes));
}

/* A launch, and its end, in a context that is current. */
static void work(void)
{
	CUmodule module;

	must(launch(&cu, load_kernel(&cu, &module), NULL), "launch");
	must(cu.cuCtxSynchronize(), "synchronize");
}

static void destroy_used(void)
{
	begin();
	must(cu.cuCtxDestroy_v2(context), "cuCtxDestroy");
	must(cu.cuCtxCreate_v2(&context, 0, 0), "another context");
	work();
	end();
	work();
	must(cu.cuCtxDestroy_v2(context), "cuCtxDestroy");
}

static void reset_used(void)
{
	must(cu.cuDevicePrimaryCtxRetain(&context, 0), "cuDevicePrimaryCtxRetain");
	must(cu.cuCtxSetCurrent(context), "cuCtxSetCurrent");
	CUmodule module;
	kernel = load_kernel(&cu, &module);
	begin();
	must(cu.cuDevicePrimaryCtxReset_v2(0), "cuDevicePrimaryCtxReset");
	end();
	must(cu.cuDevicePrimaryCtxRetain(&context, 0), "cuDevicePrimaryCtxRetain");
	must(cu.cuCtxSetCurrent(context), "cuCtxSetCurrent");
	work();
}

static void destroy_others(void)
{
	begin();
	for (unsigned i = 0; i < ROUNDS; i++) {
		CUcontext other;
		must(cu.cuCtxCreate_v2(&other, 0, 0), "another context");
		CUmodule module;
		must(launch(&cu, load_kernel(&cu, &module), NULL), "launch");
		must(cu.cuCtxDestroy_v2(other), "cuCtxDestroy");
	}
	end();
}

/* In a child, for which there is no driver. */
static int use_lost_gpu(void)
{
	alarm(PATIENCE_S);
	for (unsigned i = 0; i < 3; i++) {
		if (launch(&cu, kernel, NULL) != CUDA_ERROR_NOT_INITIALIZED)
			return 1;
	}
	pid_t child = fork();
	if (child == 0)
		_exit(launch(&cu, kernel, NULL) != CUDA_ERROR_NOT_INITIALIZED);
	int status = -1;
	return child < 0 || waitpid(child, &status, 0) != child || status != 0 ? 2 : 0;
}

static void fork_beside(void)
{
	begin();
	for (unsigned i = 0; i < ROUNDS; i++) {
		int status = -1;
		pid_t child = fork();
		if (child == 0)
			_exit(use_lost_gpu());
		must_be(child > 0 && waitpid(child, &status, 0) == child, "waitpid");
		must_be(status == 0, "a child that ends well");
	}
	end();
	work();
}

static void open_plugins(const char *path)
{
	begin();
	for (unsigned i = 0; i < 3; i++) {
		void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
		must_be(plugin != NULL, path);
		int (*run)(void);
		*(void **)&run = dlsym(plugin, "plugin_launch");
		must_be(run != NULL && run() == 0, "plugin_launch");
		must_be(dlclose(plugin) == 0, "dlclose");
	}
	end();
	work();
}

static void use_late(void)
{
	CUdeviceptr address;

	(void)cu.cuCtxSetCurrent(context);
	(void)launch(&cu, kernel, NULL);
	if (cu.cuMemAlloc_v2(&address, MIB) == CUDA_SUCCESS)
		(void)cu.cuMemFree_v2(address);
	say("late");
}

static void *end_first_thread(void *unused)
{
	(void)unused;
	pause_ms(50);
	say("last");
	exit(0);
}

static void leave(const char *how)
{
	pthread_t last;

	begin();
	if (strcmp(how, "exit") == 0) {
		atexit(use_late);
		exit(0);
	} else if (strcmp(how, "quick_exit") == 0) {
		at_quick_exit(use_late);
		quick_exit(0);
	} else if (strcmp(how, "_exit") == 0) {
		_exit(0);
	}
	must_be(pthread_create(&last, NULL, end_first_thread, NULL) == 0, "a thread");
	pthread_exit(NULL);
}

static void leave_child(void)
{
	begin();
	pid_t child = fork();
	if (child == 0) {
		pause_ms(999);
		pause();
		_exit(0);
	}
	say("child %d", (int)child);
	pause();
}

int main(int argc, char *argv[])
{
	const char *what = argc > 1 ? argv[1] : "";
	CUmodule module;

	alarm(PATIENCE_S);
	functions_from_dlopen(&cu, "libcuda.so.1");
	must(cu.cuInit(0), "cuInit");
	must(cu.cuCtxCreate_v2(&context, 0, 0), "cuCtxCreate");
	kernel = load_kernel(&cu, &module);
	if (strcmp(what, "destroy") == 0)
		destroy_used();
	else if (strcmp(what, "reset") == 0)
		reset_used();
	else if (strcmp(what, "other") == 0)
		destroy_others();
	else if (strcmp(what, "fork") == 0)
		fork_beside();
	else if (strcmp(what, "plugin") == 0)
		open_plugins(argc > 2 ? argv[2] : "");
	else if (strcmp(what, "leave") == 0)
		leave_child();
	else
		leave(what);
	return 0;
}
