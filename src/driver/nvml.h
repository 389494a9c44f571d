/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * NVML as we call it: its real functions, filled once from the libnvidia-ml that the program uses.
 */
#ifndef CUSLICE_DRIVER_NVML_H
#define CUSLICE_DRIVER_NVML_H

#include "base/compiler.h"
#include "driver/elf_image.h"
#include "driver/nvml_api.h"

#include <stdbool.h>

struct nvml {
#define NVML_HOOK(symbol) __typeof__(symbol) *symbol; /* NULL where this NVML has none */
#include "driver/nvml_hooks.def"
#undef NVML_HOOK
	__typeof__(nvmlDeviceGetIndex) *nvmlDeviceGetIndex;
	__typeof__(nvmlDeviceGetUUID) *nvmlDeviceGetUUID;
};
extern struct nvml nvml __attribute__((visibility("hidden")));

enum nvml_hook_index {
#define NVML_HOOK(symbol) NVML_HOOK_##symbol,
#include "driver/nvml_hooks.def"
#undef NVML_HOOK
	NVML_HOOK_COUNT
};

struct nvml_row {
	const char *symbol;
	void *hook; /* our body */
};
extern const struct nvml_row nvml_rows[NVML_HOOK_COUNT] __attribute__((visibility("hidden")));

/* Fills `nvml`. False where the library lacks what the bodies need. Threads: one caller. */
bool nvml_fill(const struct elf_image *library) MUST_CHECK;

/* NVML's own function of a row, NULL where it has none. */
void *nvml_function(enum nvml_hook_index row);

#endif
