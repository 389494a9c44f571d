/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A libcuda.so.1 for the linker only: programs that are linked with it find the machine's own when
 * they are started. Built without cuda.h, for its functions have no parameters.
 */
#define FUNCTION(symbol, name, version) \
	int symbol(void);               \
	int symbol(void)                \
	{                               \
		return 0;               \
	}
#include "functions.def"
#undef FUNCTION
