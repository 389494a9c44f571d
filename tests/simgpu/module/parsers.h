/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The parsers behind sim_module_parse, one for each form of an image. Each fills an empty image; on
 * failure it leaves a part in it, which the caller frees. None reads outside of what it is given.
 */
#ifndef SIMGPU_MODULE_PARSERS_H
#define SIMGPU_MODULE_PARSERS_H

#include <stddef.h>

#include "module.h"

#define FATBIN_MAGIC         0xBA55ED50u
#define FATBIN_WRAPPER_MAGIC 0x466243b1u

/* `text` ends in a NUL. */
enum sim_module_status ptx_parse(const char *text, struct sim_module_image *image);

/* A cubin of `size` bytes, at any alignment. */
enum sim_module_status cubin_parse(const void *data, size_t size, struct sim_module_image *image);

/* How long a cubin says it is: the end of its section and program header tables, which the CUDA
 * tools write last. 0 if it is no ELF64 of the CUDA architecture. Reads sizeof(Elf64_Ehdr). */
size_t cubin_size(const void *data);

/* A fatbin. Its header tells its length. For `sm` see sim_module_parse_for; 0 fits nothing. */
enum sim_module_status fatbin_parse(const void *data, uint32_t sm, struct sim_module_image *image);

/* Undo the compression of a fatbin entry. False if the library for it is not on the machine, or if
 * the data are not `out_size` bytes when uncompressed. */
enum fatbin_compression { FATBIN_LZ4, FATBIN_ZSTD };
bool fatbin_inflate(
	enum fatbin_compression kind, const void *data, size_t size, void *out, size_t out_size);

#endif
