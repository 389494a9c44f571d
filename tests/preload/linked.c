/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * For programs that are linked with libcuda. Compiled a second time with WEAK, for those that only
 * would like to be.
 */
#include "client.h"

#ifdef WEAK
#define FUNCTION(symbol, name, version) extern __typeof__(symbol) symbol __attribute__((weak));
#include "functions.def"
#undef FUNCTION
#endif

void functions_from_link(struct functions *ret_functions)
{
#define FUNCTION(symbol, name, version) ret_functions->symbol = symbol;
#include "functions.def"
#undef FUNCTION
}
