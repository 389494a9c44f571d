/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * For a machine without a driver: asks for it in every way and says what it finds. The weak
 * reference is answered by whoever exports cuInit: without the preload by nobody.
 */
#include "client.h"

#include <dlfcn.h>
#include <string.h>

extern __typeof__(cuInit) cuInit __attribute__((weak));
extern __typeof__(cuMemAlloc_v2) cuMemAlloc_v2 __attribute__((weak));

static void probe(const char *name)
{
	dlerror();
	void *found = dlsym(RTLD_DEFAULT, name);
	say("probe %s %s", name, found != NULL ? "found" : "null");
	say("error %s %s", name, dlerror() != NULL ? "text" : "none");
}

int main(int argc, char *argv[])
{
	CUdeviceptr address = 42;

	probe("cuInit");
	probe("cuMemAlloc_v2");
	probe("cuNoSuchFunction");
	probe("cuDeviceGetCount");
	say("dlopen %s", dlopen("libcuda.so.1", RTLD_NOW) != NULL ? "found" : "null");
	say("error %s", dlerror() != NULL ? "text" : "none");
	if (argc < 2 || strcmp(argv[1], "call") != 0)
		return 0;
	say("weak cuInit %s", cuInit != NULL ? "there" : "null");
	if (cuInit != NULL) {
		say("init %d", (int)cuInit(0));
		CUresult res = cuMemAlloc_v2(&address, MIB);
		say("alloc %d %d", (int)res, (int)address);
		say("init %d", (int)cuInit(0));
	}
	return 0;
}
