/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_kinds KIND [PATH]
 *
 * The scenario by a driver that is found at run time: every way that programs in the wild use.
 * PATH is that of libcuda.so.1, or of the plugin.
 */
#include "scenario.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

static void *by_dlsym(void *handle, const char *symbol, const char *name, int version)
{
	(void)name;
	(void)version;
	return dlsym(handle, symbol);
}

/* Driver functions have no versions: the answer to a version that exists nowhere, and to those
 * that real ones would have, is the driver's own, and then the plain one is used. */
static void *by_dlvsym(void *handle, const char *symbol, const char *name, int version)
{
	void *found = dlvsym(handle, symbol, "libcuda.so.1");

	(void)name;
	(void)version;
	say("dlvsym %s %s", symbol, found != NULL ? "found" : "null");
	return found != NULL ? found : dlsym(handle, symbol);
}

/* How cuGetProcAddress is to be asked. */
struct asking {
	__typeof__(cuGetProcAddress) *v1;
	__typeof__(cuGetProcAddress_v2) *v2; /* NULL: v1 is asked */
	cuuint64_t flags;
};

static void *by_proc_address(void *data, const char *symbol, const char *name, int version)
{
	const struct asking *asking = data;
	CUdriverProcAddressQueryResult status;
	void *found = NULL;

	(void)symbol;
	if (asking->v2 == NULL)
		must(asking->v1(name, &found, version, asking->flags), name);
	else
		must(asking->v2(name, &found, version, asking->flags, &status), name);
	return found;
}

static const struct {
	const char *kind, *symbol;
	cuuint64_t flags;
} proc_address_kinds[] = {
	{"proc", "cuGetProcAddress", CU_GET_PROC_ADDRESS_DEFAULT},
	{"proc_legacy", "cuGetProcAddress", CU_GET_PROC_ADDRESS_LEGACY_STREAM},
	{"proc_thread", "cuGetProcAddress", CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM},
	{"proc2", "cuGetProcAddress_v2", CU_GET_PROC_ADDRESS_DEFAULT},
	{"proc2_legacy", "cuGetProcAddress_v2", CU_GET_PROC_ADDRESS_LEGACY_STREAM},
	{"proc2_thread", "cuGetProcAddress_v2", CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM},
};

static bool resolve_by_proc_address(const char *kind, struct functions *ret_functions)
{
	for (size_t i = 0; i < sizeof(proc_address_kinds) / sizeof(proc_address_kinds[0]); i++) {
		if (strcmp(kind, proc_address_kinds[i].kind) != 0)
			continue;
		struct asking asking = {.flags = proc_address_kinds[i].flags};
		void *handle = dlopen("libcuda.so.1", RTLD_NOW);
		must_be(handle != NULL, "libcuda.so.1");
		void *function = dlsym(handle, proc_address_kinds[i].symbol);
		must_be(function != NULL, proc_address_kinds[i].symbol);
		if (strstr(proc_address_kinds[i].symbol, "_v2") != NULL)
			*(void **)&asking.v2 = function;
		else
			*(void **)&asking.v1 = function;
		functions_resolve(ret_functions, by_proc_address, &asking);
		return true;
	}
	return false;
}

/* A library that is linked with libcuda runs the scenario. */
static int run_plugin(const char *path, int flags)
{
	void *plugin = dlopen(path, RTLD_NOW | flags);
	int (*run)(void);

	must_be(plugin != NULL, dlerror());
	*(void **)&run = dlsym(plugin, "plugin_run");
	must_be(run != NULL, "plugin_run");
	return run();
}

int main(int argc, char *argv[])
{
	const char *kind = argc > 1 ? argv[1] : "";
	const char *path = argc > 2 ? argv[2] : "";
	struct functions cu;
	void *handle;

	if (strcmp(kind, "soname") == 0) {
		functions_from_dlopen(&cu, "libcuda.so.1");
	} else if (strcmp(kind, "path") == 0) {
		functions_from_dlopen(&cu, path);
	} else if (strcmp(kind, "newlm") == 0) {
		handle = dlmopen(LM_ID_NEWLM, "libcuda.so.1", RTLD_NOW);
		must_be(handle != NULL, "dlmopen");
		functions_resolve(&cu, by_dlsym, handle);
	} else if (strcmp(kind, "dlvsym") == 0) {
		handle = dlopen("libcuda.so.1", RTLD_NOW);
		must_be(handle != NULL, "libcuda.so.1");
		functions_resolve(&cu, by_dlvsym, handle);
	} else if (strcmp(kind, "default") == 0) {
		must_be(dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL) != NULL, "libcuda.so.1");
		functions_resolve(&cu, by_dlsym, RTLD_DEFAULT);
	} else if (strcmp(kind, "program") == 0) {
		must_be(dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL) != NULL, "libcuda.so.1");
		functions_resolve(&cu, by_dlsym, dlopen(NULL, RTLD_NOW));
	} else if (strcmp(kind, "plugin_local") == 0) {
		return run_plugin(path, RTLD_LOCAL);
	} else if (strcmp(kind, "plugin_deepbind") == 0) {
		return run_plugin(path, RTLD_LOCAL | RTLD_DEEPBIND);
	} else if (!resolve_by_proc_address(kind, &cu)) {
		say("no such kind: \"%s\"", kind);
		return 2;
	}
	return scenario(&cu);
}
