/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "driver/nvml.h"
#include "hooks/hooks.h"

#include <stddef.h>

struct nvml nvml;

const struct nvml_row nvml_rows[NVML_HOOK_COUNT] = {
#define NVML_HOOK(symbol) {#symbol, (void *)hook_##symbol},
#include "driver/nvml_hooks.def"
#undef NVML_HOOK
};

bool nvml_fill(const struct elf_image *library)
{
#define NVML_HOOK(symbol) *(void **)&nvml.symbol = elf_image_find(library, #symbol);
#include "driver/nvml_hooks.def"
#undef NVML_HOOK
	*(void **)&nvml.nvmlDeviceGetIndex = elf_image_find(library, "nvmlDeviceGetIndex");
	*(void **)&nvml.nvmlDeviceGetUUID = elf_image_find(library, "nvmlDeviceGetUUID");
	return nvml.nvmlDeviceGetIndex != NULL && nvml.nvmlDeviceGetUUID != NULL;
}

void *nvml_function(enum nvml_hook_index row)
{
	static const size_t offsets[] = {
#define NVML_HOOK(symbol) offsetof(struct nvml, symbol),
#include "driver/nvml_hooks.def"
#undef NVML_HOOK
	};
	return *(void **)((char *)&nvml + offsets[row]);
}
