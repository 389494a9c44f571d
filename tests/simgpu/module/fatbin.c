/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Reads fatbins: a header, then entries one after another, each a cubin or PTX for one
 * architecture. The layout was read off the output of fatbinary 13.0.
 */
#include <stdlib.h>
#include <string.h>

#include "parsers.h"

#define FATBIN_KIND_PTX  1
#define FATBIN_KIND_ELF  2
#define FATBIN_FLAG_LZ4  UINT64_C(0x2000)
#define FATBIN_FLAG_ZSTD UINT64_C(0x8000)

/* No module is larger; a damaged header may say so. */
#define ENTRY_SIZE_MAX ((uint64_t)1 << 31)

struct fatbin_header {
	uint32_t magic;
	uint16_t version, header_size;
	uint64_t size; /* of all entries, without this header */
};

struct fatbin_entry {
	uint16_t kind, version;
	uint32_t header_size;
	uint64_t size; /* of what stands in the file, padding included */
	uint32_t compressed_size, options_offset;
	uint16_t minor, major;
	uint32_t sm;
	uint32_t name_offset, name_size;
	uint64_t flags;
	uint64_t reserved;
	uint64_t uncompressed_size; /* 0 where nothing is compressed */
};

/* An entry with its payload, compressed or not. */
struct candidate {
	struct fatbin_entry entry;
	const unsigned char *payload;
};

/* A cubin runs on its own major version from its minor one on, PTX on all that is newer. */
static bool fits(const struct fatbin_entry *entry, uint32_t sm)
{
	if (entry->sm > sm)
		return false;
	return entry->kind == FATBIN_KIND_PTX || entry->sm / 10 == sm / 10;
}

/* What fits goes first, then a cubin before PTX, then a newer architecture before an older one. */
static bool is_better(
	const struct fatbin_entry *entry, const struct fatbin_entry *than, uint32_t sm)
{
	if (fits(entry, sm) != fits(than, sm))
		return fits(entry, sm);
	if (entry->kind != than->kind)
		return entry->kind == FATBIN_KIND_ELF;
	return entry->sm > than->sm;
}

static enum sim_module_status choose_entry(
	const unsigned char *data, size_t size, uint32_t sm, struct candidate *ret_choice)
{
	struct candidate best = {0};

	while (size >= sizeof(struct fatbin_entry)) {
		struct fatbin_entry entry;
		memcpy(&entry, data, sizeof(entry));
		if (entry.header_size < sizeof(entry) || entry.header_size > size ||
			entry.size > size - entry.header_size)
			return SIM_MODULE_INVALID_IMAGE;
		bool is_known = entry.kind == FATBIN_KIND_ELF || entry.kind == FATBIN_KIND_PTX;
		if (is_known && (!best.payload || is_better(&entry, &best.entry, sm)))
			best = (struct candidate){entry, data + entry.header_size};
		data += entry.header_size + entry.size;
		size -= entry.header_size + (size_t)entry.size;
	}
	if (!best.payload)
		return SIM_MODULE_UNSUPPORTED;
	*ret_choice = best;
	return SIM_MODULE_OK;
}

/* The payload as it was before compression, with a NUL behind it. */
static enum sim_module_status unpack(
	const struct candidate *choice, char **ret_data, size_t *ret_size)
{
	const struct fatbin_entry *entry = &choice->entry;
	bool is_zstd = entry->flags & FATBIN_FLAG_ZSTD;
	bool is_packed = is_zstd || (entry->flags & FATBIN_FLAG_LZ4);
	uint64_t size = is_packed ? entry->uncompressed_size : entry->size;

	if (size > ENTRY_SIZE_MAX || (is_packed && entry->compressed_size > entry->size))
		return SIM_MODULE_INVALID_IMAGE;
	char *data = malloc((size_t)size + 1);
	if (!data)
		return SIM_MODULE_UNSUPPORTED;
	if (!is_packed) {
		memcpy(data, choice->payload, (size_t)size);
	} else if (!fatbin_inflate(is_zstd ? FATBIN_ZSTD : FATBIN_LZ4, choice->payload,
			   entry->compressed_size, data, (size_t)size)) {
		free(data);
		return SIM_MODULE_UNSUPPORTED;
	}
	data[size] = '\0';
	*ret_data = data;
	*ret_size = (size_t)size;
	return SIM_MODULE_OK;
}

enum sim_module_status fatbin_parse(const void *data, uint32_t sm, struct sim_module_image *image)
{
	struct fatbin_header header;
	struct candidate choice;
	char *payload;
	size_t size;

	memcpy(&header, data, sizeof(header));
	if (header.header_size < sizeof(header))
		return SIM_MODULE_INVALID_IMAGE;
	enum sim_module_status status = choose_entry(
		(const unsigned char *)data + header.header_size, header.size, sm, &choice);
	if (status == SIM_MODULE_OK)
		status = unpack(&choice, &payload, &size);
	if (status != SIM_MODULE_OK)
		return status;
	if (choice.entry.kind == FATBIN_KIND_ELF)
		status = cubin_parse(payload, size, image);
	else
		status = ptx_parse(payload, image);
	free(payload);
	return status;
}
