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

int main(int argc, char *argv[])
{
	const char *what = argc > 1 ? argv[1] : "";

	functions_from_link(&cu);
	if (strcmp(what, "during_constructor") == 0 && argc > 2)
		during_constructor(argv[2]);
	else if (strcmp(what, "cancelled") == 0)
		cancelled();
	else
		return 2;
	return 0;
}
