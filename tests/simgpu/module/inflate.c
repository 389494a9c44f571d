/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Compressed fatbin entries, by the system's own liblz4 and libzstd. They are opened when they are
 * first needed: nearly every machine has the libraries, few have their headers, and nothing else
 * of simgpu wants them.
 */
#include <dlfcn.h>
#include <limits.h>

#include "parsers.h"

typedef size_t zstd_decompress_fn(void *out, size_t out_size, const void *data, size_t size);
typedef int lz4_decompress_fn(const char *data, char *out, int size, int out_size);

static void *find_function(const char *library, const char *symbol)
{
	void *handle = dlopen(library, RTLD_LAZY | RTLD_LOCAL);
	return handle ? dlsym(handle, symbol) : NULL;
}

static bool inflate_zstd(const void *data, size_t size, void *out, size_t out_size)
{
	void *symbol = find_function("libzstd.so.1", "ZSTD_decompress");
	if (!symbol)
		return false;
	zstd_decompress_fn *decompress = (zstd_decompress_fn *)symbol;
	/* An error is a size near SIZE_MAX: never the one that was asked for. */
	return decompress(out, out_size, data, size) == out_size;
}

static bool inflate_lz4(const void *data, size_t size, void *out, size_t out_size)
{
	void *symbol = find_function("liblz4.so.1", "LZ4_decompress_safe");
	if (!symbol || size > INT_MAX || out_size > INT_MAX)
		return false;
	lz4_decompress_fn *decompress = (lz4_decompress_fn *)symbol;
	return decompress(data, out, (int)size, (int)out_size) == (int)out_size;
}

bool fatbin_inflate(
	enum fatbin_compression kind, const void *data, size_t size, void *out, size_t out_size)
{
	if (kind == FATBIN_ZSTD)
		return inflate_zstd(data, size, out, out_size);
	return inflate_lz4(data, size, out, out_size);
}
