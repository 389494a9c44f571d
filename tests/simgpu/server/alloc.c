/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Allocation that cannot fail.
 */
#include "alloc.h"

#include <stdio.h>
#include <stdlib.h>

static _Noreturn void give_up(void)
{
	fputs("simgpu: the system has no memory left\n", stderr);
	exit(1);
}

void *alloc_zeroed(size_t size)
{
	void *memory = calloc(1, size);
	if (!memory)
		give_up();
	return memory;
}

void *alloc_resized(void *old, size_t count, size_t size)
{
	void *memory = reallocarray(old, count, size);
	if (!memory)
		give_up();
	return memory;
}
