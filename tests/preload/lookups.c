/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_lookups FILE
 *
 * Asks cuGetProcAddress_v2 for every row of a table of lookups (name,version,flags,symbol; the
 * first line is a heading) and says of each: the row, the result, the status, where the answer
 * lies, and whether it is what dlsym gives for the symbol. As the CUDA runtime does, once without
 * room for the status; and cuGetProcAddress itself is looked up through itself.
 */
#include "client.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* `libcuda.so.1+0x1234`, which does not change between runs; of others only the name. */
static void place_of(const void *address, char *ret_text, size_t size)
{
	Dl_info info;

	if (address == NULL || dladdr(address, &info) == 0) {
		snprintf(ret_text, size, "%s", address == NULL ? "null" : "nowhere");
		return;
	}
	const char *name = strrchr(info.dli_fname, '/') + 1;
	if (strncmp(name, "libcuda.", 8) == 0)
		snprintf(ret_text, size, "%s+0x%tx", name,
			(const char *)address - (const char *)info.dli_fbase);
	else
		snprintf(ret_text, size, "%s", name);
}

static void ask(__typeof__(cuGetProcAddress_v2) *get, void *handle, char *row)
{
	CUdriverProcAddressQueryResult status = 99;
	const char *name = strtok(row, ",");
	int version = atoi(strtok(NULL, ","));
	cuuint64_t flags = strtoull(strtok(NULL, ","), NULL, 0);
	const char *symbol = strtok(NULL, ",\n");
	void *found = NULL, *again = NULL;
	char place[200];

	CUresult res = get(name, &found, version, flags, &status);
	CUresult res_again = get(name, &again, version, flags, NULL);
	place_of(found, place, sizeof(place));
	void *by_symbol = symbol != NULL ? dlsym(handle, symbol) : NULL;
	say("%s,%d,%d %d %d %s %s %s", name, version, (int)flags, (int)res, (int)status, place,
		res == res_again && found == again ? "again" : "DIFFERENT",
		found == by_symbol ? "same" : "other");
}

int main(int argc, char *argv[])
{
	void *handle = dlopen("libcuda.so.1", RTLD_NOW);
	__typeof__(cuGetProcAddress_v2) *get, *get_again = NULL;
	char row[500];
	FILE *table;

	must_be(argc == 2 && handle != NULL, "usage");
	table = fopen(argv[1], "r");
	must_be(table != NULL && fgets(row, sizeof(row), table) != NULL, argv[1]);
	*(void **)&get = dlsym(handle, "cuGetProcAddress_v2");
	must_be(get != NULL, "cuGetProcAddress_v2");
	must(get("cuGetProcAddress", (void **)&get_again, 12000, 0, NULL), "through itself");
	while (fgets(row, sizeof(row), table) != NULL)
		ask(get_again, handle, row);
	fclose(table);
	return 0;
}
