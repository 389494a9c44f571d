/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "driver/driver.h"
#include "hooks/hooks.h"

#include <stddef.h>

struct driver driver, driver_real;

const struct hook_row hook_rows[HOOK_COUNT] = {
#define HOOK(symbol, since, features) {#symbol, since, features, (void *)hook_##symbol},
#include "driver/hooks.def"
#undef HOOK
};

static const struct {
	const char *symbol;
	size_t offset;
} slots[] = {
#define HOOK(symbol, since, features) {#symbol, offsetof(struct driver, symbol)},
#define CALL(symbol)                  {#symbol, offsetof(struct driver, symbol)},
#include "driver/hooks.def"
#include "driver/calls.def"
#undef HOOK
#undef CALL
};

/* Stands in for every function that this driver lacks: with the C calling conventions of x86-64
 * and aarch64 a callee may ignore all its arguments. */
static CUresult absent(void)
{
	return CUDA_ERROR_NOT_SUPPORTED;
}

void *driver_absent(void)
{
	return (void *)absent;
}

static void **slot_at(size_t offset)
{
	return (void **)((char *)&driver_real + offset);
}

void *driver_function(enum hook_index row)
{
	/* hooks.def comes first in both lists, so a hook's index is its slot's. */
	void *function = *slot_at(slots[row].offset);

	return function == (void *)absent ? NULL : function;
}

void driver_fill(const struct elf_image *libcuda)
{
	for (size_t i = 0; i < ARRAY_LEN(slots); i++) {
		void *function = elf_image_find(libcuda, slots[i].symbol);
		*slot_at(slots[i].offset) = function != NULL ? function : (void *)absent;
	}
	driver = driver_real;
}
