/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "partition/covered.h"

#include <stddef.h>
#include <string.h>

/* Tests build the library with rows of their own. */
#ifndef COVERED_ROWS
#define COVERED_ROWS "partition/covered.def"
#endif

const struct covered covered_rows[] = {
#define COVERED(...) {__VA_ARGS__},
#include COVERED_ROWS
#undef COVERED
	{.name = NULL},
};

const struct covered *covered_find(const struct covered rows[], const char *name, unsigned cc_major,
	unsigned cc_minor, int cuda_version)
{
	for (const struct covered *row = rows; row->name != NULL; row++) {
		if (strcmp(row->name, name) == 0 && row->cc_major == cc_major &&
			row->cc_minor == cc_minor && row->cuda_from <= cuda_version &&
			row->cuda_to >= cuda_version)
			return row;
	}
	return NULL;
}
