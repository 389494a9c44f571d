/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_errors [one|two]
 *
 * What dlerror() says after lookups that succeed and that do not, in one namespace or in two.
 */
#include "client.h"

#include <dlfcn.h>
#include <string.h>

/* Without the folder of the library, which is the machine's business. */
static void say_error(const char *key)
{
	const char *text = dlerror();
	const char *slash = text != NULL ? strrchr(text, '/') : NULL;

	say("%s %s", key, text == NULL ? "(none)" : slash != NULL ? slash + 1 : text);
}

static void try_handle(const char *key, void *handle)
{
	static const char *const names[] = {"cuInit", "cuMemAlloc_v2", "cuLaunchKernel",
		"cuMemcpyHtoD_v2", "cuGetProcAddress_v2", "cuNoSuchFunction", "no_such_function"};

	say_error(key);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		void *found = dlsym(handle, names[i]);
		say("%s %s %s", key, names[i], found != NULL ? "found" : "null");
		say_error(names[i]);
		found = dlvsym(handle, names[i], "NO_SUCH_VERSION");
		say("%s versioned %s %s", key, names[i], found != NULL ? "found" : "null");
		say_error(names[i]);
	}
	/* A failure that nobody asked about yet, then a success. */
	dlsym(handle, "cuNoSuchFunction");
	dlsym(handle, "cuMemFree_v2");
	say_error("failure_then_success");
	say_error("said_once");
}

int main(int argc, char *argv[])
{
	void *handle;

	say_error("at_first");
	dlsym(RTLD_DEFAULT, "cuInit");
	say_error("probe");
	if (argc > 1 && strcmp(argv[1], "two") == 0) {
		handle = dlmopen(LM_ID_NEWLM, "libcuda.so.1", RTLD_NOW);
		must_be(handle != NULL, "dlmopen");
		try_handle("newlm", handle);
	}
	handle = dlopen("libcuda.so.1", RTLD_NOW);
	must_be(handle != NULL, "dlopen");
	try_handle("local", handle);
	must_be(dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL) == handle, "dlopen");
	try_handle("global", handle);
	try_handle("default", RTLD_DEFAULT);
	return 0;
}
