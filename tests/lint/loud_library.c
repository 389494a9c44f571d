/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A preload as it must not be: it makes CUDA appear and talks. quiet.py has to notice both.
 */
#include <stdio.h>

int cuInit(unsigned flags);

int cuInit(unsigned flags)
{
	return (int)flags;
}

__attribute__((constructor)) static void talk(void)
{
	fputs("loud\n", stderr);
}
