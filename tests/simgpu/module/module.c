/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Tells the forms of a module image apart.
 */
#include "module.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "parsers.h"

/* What nvcc and cuModuleLoadFatBinary's callers put around a fatbin. */
struct fatbin_wrapper {
	uint32_t magic, version;
	const void *data;
	const void *filename_or_fatbins;
};

static uint32_t magic_of(const void *data)
{
	uint32_t magic = 0;

	/* Byte for byte: a short PTX text may end before the fourth. */
	for (unsigned int i = 0; i < sizeof(magic); i++) {
		unsigned char byte = ((const unsigned char *)data)[i];
		if (byte == '\0')
			break;
		magic |= (uint32_t)byte << (8 * i);
	}
	return magic;
}

static enum sim_module_status parse(const void *data, uint32_t sm, struct sim_module_image *image)
{
	uint32_t magic = magic_of(data);

	if (magic == FATBIN_WRAPPER_MAGIC) {
		struct fatbin_wrapper wrapper;
		memcpy(&wrapper, data, sizeof(wrapper));
		if (!wrapper.data || magic_of(wrapper.data) != FATBIN_MAGIC)
			return SIM_MODULE_INVALID_IMAGE;
		return fatbin_parse(wrapper.data, sm, image);
	}
	if (magic == FATBIN_MAGIC)
		return fatbin_parse(data, sm, image);
	if (memcmp(&magic, ELFMAG, SELFMAG) == 0)
		return cubin_parse(data, cubin_size(data), image);
	return ptx_parse(data, image);
}

enum sim_module_status sim_module_parse_for(
	const void *image, uint32_t sm, struct sim_module_image **ret_image)
{
	struct sim_module_image *parsed = calloc(1, sizeof(*parsed));
	if (!parsed)
		return SIM_MODULE_UNSUPPORTED;
	enum sim_module_status status = parse(image, sm, parsed);
	if (status == SIM_MODULE_OK)
		*ret_image = parsed;
	else
		sim_module_free(parsed);
	return status;
}

enum sim_module_status sim_module_parse(const void *image, struct sim_module_image **ret_image)
{
	return sim_module_parse_for(image, 0, ret_image);
}
