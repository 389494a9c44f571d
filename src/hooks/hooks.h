/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The bodies of the rows of hooks.def. Each has the signature that cuda.h gives to its symbol, so
 * a body that differs does not compile, and one that is missing does not link. They run after the
 * start only, from any thread of the program, and return what the driver documents for the call.
 */
#ifndef CUSLICE_HOOKS_HOOKS_H
#define CUSLICE_HOOKS_HOOKS_H

#include "base/compiler.h"
#include "driver/cuda_api.h"
#include "driver/nvml_api.h"

#include <stdbool.h>

#define HOOK(symbol, since, features) __typeof__(symbol) hook_##symbol;
#include "driver/hooks.def"
#undef HOOK
#define NVML_HOOK(symbol) __typeof__(symbol) hook_##symbol;
#include "driver/nvml_hooks.def"
#undef NVML_HOOK

/* What hooks_module.c keeps of libraries: made at the start, and forgotten with a context. */
bool hooks_module_init(void) MUST_CHECK;
void hooks_module_drop_context(CUcontext context);

/* What hooks_array.c knows of arrays on their way. At the start, once. False without memory. */
bool hooks_array_init(void) MUST_CHECK;

/* Makes what the bodies keep between calls. At the start, once. False without memory. */
bool hooks_init(void) MUST_CHECK;

#endif
