/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The ways by which a program makes the driver take device memory, one row each.
 */
#ifndef GPU_FAMILIES_H
#define GPU_FAMILIES_H

#include "probe.h"

extern const char kernels_ptx[]; /* heap.ptx */

struct family {
	const char *family, *name;
	/* Takes memory, and sees to it that it is really there. Any error but success ends the row:
	 * nothing is held then. All in the current context. */
	CUresult (*take)(void);
	/* Gives it back, as far as a program can. */
	void (*give)(void);
};

extern const struct family families[];
extern const size_t family_count;

#endif
