/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The driver as we call it: a struct of the real functions, filled once from the libcuda that the
 * program uses. A function that this driver lacks answers CUDA_ERROR_NOT_SUPPORTED, so nobody has
 * to test for NULL.
 */
#ifndef CUSLICE_DRIVER_DRIVER_H
#define CUSLICE_DRIVER_DRIVER_H

#include "base/compiler.h"
#include "driver/cuda_api.h"
#include "driver/elf_image.h"

#include <stdbool.h>

/* What the hooks are for. A row whose features are all off is not routed: its callers get the
 * driver's own function. FEATURE_ANY is on as soon as any other is. */
enum {
	FEATURE_ANY = 1 << 0,
	FEATURE_MEMORY = 1 << 1,
	FEATURE_COMPUTE = 1 << 2,
	FEATURE_PARTITION = 1 << 3,
};

struct driver {
#define HOOK(symbol, since, features) __typeof__(symbol) *symbol;
#define CALL(symbol)                  __typeof__(symbol) *symbol;
#include "driver/hooks.def"
#include "driver/calls.def"
#undef HOOK
#undef CALL
};

/* Valid once driver_fill() has returned. The hidden attribute on this declaration, not only on
 * the definition, makes each call one `jmp *driver+offset(%rip)`. */
extern struct driver driver __attribute__((visibility("hidden")));

/* The same, and always the driver's own functions: in `driver` a partition stands before some. */
extern struct driver driver_real __attribute__((visibility("hidden")));

enum hook_index {
#define HOOK(symbol, since, features) HOOK_##symbol,
#include "driver/hooks.def"
#undef HOOK
	HOOK_COUNT
};

struct hook_row {
	const char *symbol;
	unsigned since;    /* as in hooks.def: 12000 is CUDA 12.0 */
	unsigned features; /* FEATURE_* */
	void *hook;        /* our body */
};
extern const struct hook_row hook_rows[HOOK_COUNT] __attribute__((visibility("hidden")));

/* The driver's own function of a row, whatever stands before it; NULL where this driver has none.
 */
void *driver_function(enum hook_index row);

/* What stands in for a function that this driver lacks: any signature, CUDA_ERROR_NOT_SUPPORTED. */
void *driver_absent(void);

/* Fills `driver` from the symbols of `libcuda`. Calls no driver function. Threads: one caller. */
void driver_fill(const struct elf_image *libcuda);

#endif
