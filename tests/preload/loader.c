/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_loader WHAT [PATH]
 *
 * A program that is linked with libcuda, and does something unusual with the loader or its threads
 * around its first call.
 */
#include "client.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

static struct functions cu;

static void *open_plugin(void *path)
{
	must_be(dlopen(path, RTLD_NOW) != NULL, path);
	return NULL;
}

/* The first call while another thread is in a constructor, which then calls as well. */
static void during_constructor(char *path)
{
	pthread_t thread;

	must_be(pthread_create(&thread, NULL, open_plugin, path) == 0, "pthread_create");
	usleep(100 * 1000);
	say("init %d", (int)cu.cuInit(0));
	pthread_join(thread, NULL);
}

static void *look_up_cancelled(void *handle)
{
	pthread_cancel(pthread_self());
	say("lookup %s", dlsym(handle, "cuInit") != NULL ? "found" : "null");
	return NULL;
}

/* The first lookup by a thread that ends at the next cancellation point. */
static void cancelled(void)
{
	void *handle = dlopen("libcuda.so.1", RTLD_NOW);
	pthread_t thread;

	must_be(pthread_create(&thread, NULL, look_up_cancelled, handle) == 0, "pthread_create");
	pthread_join(thread, NULL);
	say("again %s", dlsym(handle, "cuInit") != NULL ? "found" : "null");
	say("init %d", (int)cu.cuInit(0));
}

/* Another libcuda is looked at first, as a program may that has the toolkit's stub in its way. */
static void stub_first(const char *path)
{
	void *stub = dlopen(path, RTLD_NOW);
	size_t bytes = 0;

	must_be(stub != NULL, path);
	must_be(dlsym(stub, "cuInit") != NULL, "the stub's cuInit");
	say("init %d", (int)cu.cuInit(0));
	CUresult res = cu.cuDeviceTotalMem_v2(&bytes, 0);
	say("total %d %zu", (int)res, bytes / MIB);
}

static void both_ways(void)
{
	struct functions looked_up;
	CUcontext context;
	CUdeviceptr address;

	functions_from_dlopen(&looked_up, "libcuda.so.1");
	must(cu.cuInit(0), "cuInit");
	must(cu.cuCtxCreate_v2(&context, 0, 0), "cuCtxCreate");
	say("linked %d", (int)cu.cuMemAlloc_v2(&address, 40 * MIB));
	say("looked_up %d", (int)looked_up.cuMemAlloc_v2(&address, 40 * MIB));
}

/* A library of hooks that is opened late, and asked for its exports. */
static void open_late(const char *path)
{
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	void *(*its_dlsym)(void *, const char *);
	CUresult (*its_total)(size_t *, CUdevice);
	size_t bytes = 0;

	must_be(library != NULL, path);
	*(void **)&its_dlsym = dlsym(library, "dlsym");
	say("malloc %s", its_dlsym(RTLD_DEFAULT, "malloc") != NULL ? "found" : "null");
	*(void **)&its_total = dlsym(library, "cuDeviceTotalMem_v2");
	must(cu.cuInit(0), "cuInit");
	CUresult res = its_total(&bytes, 0);
	say("total %d %zu", (int)res, bytes / MIB);
}

static void error_text(void)
{
	dlerror();
	say("init %d", (int)cu.cuInit(0));
	const char *text = dlerror();
	say("error %s", text != NULL ? text : "none");
}

int main(int argc, char *argv[])
{
	const char *what = argc > 1 ? argv[1] : "";

	functions_from_link(&cu);
	if (strcmp(what, "during_constructor") == 0 && argc > 2)
		during_constructor(argv[2]);
	else if (strcmp(what, "stub_first") == 0 && argc > 2)
		stub_first(argv[2]);
	else if (strcmp(what, "open_late") == 0 && argc > 2)
		open_late(argv[2]);
	else if (strcmp(what, "both_ways") == 0)
		both_ways();
	else if (strcmp(what, "error_text") == 0)
		error_text();
	else if (strcmp(what, "cancelled") == 0)
		cancelled();
	else
		return 2;
	return 0;
}
