/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A library that offends each check of library.py, so that a check which has gone blind fails.
 */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

double bad_library_root(double value);
void bad_library_leave(void);

__attribute__((constructor)) static void work_in_a_constructor(void)
{
	setenv("BAD_LIBRARY", dlsym(RTLD_DEFAULT, "cuInit") != NULL ? "cuda" : "none", 1);
}

double bad_library_root(double value)
{
	return sqrt(value);
}

void bad_library_leave(void)
{
	puts("leaving");
	exit(1);
}
