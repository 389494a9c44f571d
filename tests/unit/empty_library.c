/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Stands in for libcuslice.so where only its path matters.
 */
int empty_library(void);

int empty_library(void)
{
	return 0;
}
