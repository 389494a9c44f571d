/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The clients that find the driver at run time: by dlopen and dlsym, or by cuGetProcAddress.
 */
#include "client.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

typedef CUresult proc_address_v1(const char *name, void **ret, int version, cuuint64_t flags);
typedef CUresult proc_address_v2(const char *name, void **ret, int version, cuuint64_t flags,
	CUdriverProcAddressQueryResult *status);

struct lookup {
	void *libcuda;
	proc_address_v1 *by_v1; /* at most one of these two is set */
	proc_address_v2 *by_v2;
	cuuint64_t flags;
};

#define TEXT_OF(macro)   #macro
#define SYMBOL_OF(macro) TEXT_OF(macro) /* cuMemAlloc: "cuMemAlloc_v2" */

static const struct call {
	const char *name, *symbol;
	int version;
	size_t offset;
} calls[] = {
#define CLIENT_FIELD(name, version) \
	{#name, SYMBOL_OF(name), version, offsetof(struct client_driver, name)},
	CLIENT_CALLS(CLIENT_FIELD)
#undef CLIENT_FIELD
};

static void *find(const struct lookup *lookup, const struct call *call)
{
	CUdriverProcAddressQueryResult status;
	CUresult res = CUDA_SUCCESS;
	void *function = NULL;

	if (lookup->by_v2 != NULL)
		res = lookup->by_v2(call->name, &function, call->version, lookup->flags, &status);
	else if (lookup->by_v1 != NULL)
		res = lookup->by_v1(call->name, &function, call->version, lookup->flags);
	else
		function = dlsym(lookup->libcuda, call->symbol);
	if (function == NULL)
		fprintf(stderr, "%s is not found (%d)\n", call->name, (int)res);
	return function;
}

/* How each kind opens the driver, and which lookup it takes. */
static const struct kind {
	const char *name, *file, *resolver;
	cuuint64_t flags;
} kinds[] = {
	{"dlsym", "libcuda.so.1", NULL, 0},
	{"libcuda.so", "libcuda.so", NULL, 0},
	{"procaddress", "libcuda.so.1", "cuGetProcAddress", 0},
	{"procaddress-v2", "libcuda.so.1", "cuGetProcAddress_v2", 0},
	{"procaddress-per-thread", "libcuda.so.1", "cuGetProcAddress_v2",
		CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM},
};

static bool open_lookup(const struct kind *kind, struct lookup *ret_lookup)
{
	*ret_lookup = (struct lookup){.flags = kind->flags};
	ret_lookup->libcuda = dlopen(kind->file, RTLD_NOW | RTLD_LOCAL);
	if (ret_lookup->libcuda == NULL) {
		fprintf(stderr, "%s\n", dlerror());
		return false;
	}
	if (kind->resolver == NULL)
		return true;
	void *resolver = dlsym(ret_lookup->libcuda, kind->resolver);
	if (strcmp(kind->resolver, "cuGetProcAddress") == 0)
		ret_lookup->by_v1 = (proc_address_v1 *)resolver;
	else
		ret_lookup->by_v2 = (proc_address_v2 *)resolver;
	if (resolver == NULL)
		fprintf(stderr, "%s is not found\n", kind->resolver);
	return resolver != NULL;
}

static const struct kind *find_kind(const char *name)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	}
	fprintf(stderr, "no kind \"%s\"\n", name);
	return NULL;
}

bool client_find(const char *kind_name, struct client_driver *ret_driver)
{
	const struct kind *kind = find_kind(kind_name);
	struct lookup lookup;

	if (kind == NULL || !open_lookup(kind, &lookup))
		return false;
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		void *function = find(&lookup, &calls[i]);
		if (function == NULL)
			return false;
		memcpy((char *)ret_driver + calls[i].offset, &function, sizeof(function));
	}
	return true;
}
