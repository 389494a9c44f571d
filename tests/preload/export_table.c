/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_export_table UUID
 *
 * Asks for a private table of the driver (UUID is 32 hexadecimal digits) and for one that it does
 * not have, before and after cuInit, and says where the table lies.
 */
#include "client.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static void ask(const struct functions *cu, const char *key, const CUuuid *uuid)
{
	const void *table = NULL;
	Dl_info info;
	CUresult res = cu->cuGetExportTable(&table, uuid);

	if (table == NULL) {
		say("%s %d null", key, (int)res);
		return;
	}
	must_be(dladdr(table, &info) != 0, "dladdr");
	say("%s %d %s+0x%tx", key, (int)res, strrchr(info.dli_fname, '/') + 1,
		(const char *)table - (const char *)info.dli_fbase);
	/* The table's own words: nothing of it may have been replaced. */
	for (unsigned i = 0; i < 2; i++) {
		const void *entry = ((const void *const *)table)[i];
		if (dladdr(entry, &info) != 0)
			say("%s entry %u %s+0x%tx", key, i, strrchr(info.dli_fname, '/') + 1,
				(const char *)entry - (const char *)info.dli_fbase);
		else
			say("%s entry %u %p", key, i, entry);
	}
}

int main(int argc, char *argv[])
{
	struct functions cu;
	CUuuid known, unknown = {{0x5a}};

	must_be(argc == 2 && strlen(argv[1]) == 32, "usage");
	for (unsigned i = 0; i < 16; i++) {
		unsigned byte;
		must_be(sscanf(argv[1] + (size_t)2 * i, "%2x", &byte) == 1, "usage");
		known.bytes[i] = (char)byte;
	}
	functions_from_dlopen(&cu, "libcuda.so.1");
	ask(&cu, "known_before", &known);
	must(cu.cuInit(0), "cuInit");
	ask(&cu, "known", &known);
	ask(&cu, "unknown", &unknown);
	return 0;
}
