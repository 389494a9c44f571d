/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What stands behind exported functions that simgpu does not have.
 *
 * Every symbol of the driver's ABI has a weak definition here (generated), which a definition in
 * any other file replaces. It takes no arguments: a C caller may pass some all the same.
 */
#ifndef SIMGPU_DRIVER_UNSUPPORTED_H
#define SIMGPU_DRIVER_UNSUPPORTED_H

#include <stdint.h>

/* Counts a call of `symbol` and tells the server of the first one.
 * calls    of this symbol so far
 * Returns  CUDA_ERROR_NOT_SUPPORTED, or why the call is refused before that
 */
int unsupported(const char *symbol, _Atomic uint32_t *calls);

#define UNSUPPORTED(symbol)                                            \
	__attribute__((weak, visibility("default"))) int symbol(void); \
	int symbol(void)                                               \
	{                                                              \
		static _Atomic uint32_t calls;                         \
		return unsupported(#symbol, &calls);                   \
	}

#endif
