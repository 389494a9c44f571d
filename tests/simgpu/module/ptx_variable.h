/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Declarations of PTX variables and parameters, and their initialisers.
 */
#ifndef SIMGPU_MODULE_PTX_VARIABLE_H
#define SIMGPU_MODULE_PTX_VARIABLE_H

#include <stdint.h>

#include "module.h"
#include "ptx_lexer.h"

#define PTX_DIMENSIONS_MAX 8

/* What stands between the state space and the name. */
struct ptx_type {
	uint32_t element_bytes; /* of one vector element */
	uint32_t vector;        /* elements: 1, 2, 4 or 8 */
	uint64_t align;         /* bytes */
	bool is_float;
	bool is_opaque; /* a texture, sampler or surface reference */
};

struct ptx_variable {
	struct ptx_token name;
	unsigned int dimension_count;
	uint64_t dimensions[PTX_DIMENSIONS_MAX]; /* outermost first; a vector is the last one */
	uint64_t bytes;                          /* 0 while the outermost dimension is open */
	bool is_open;                            /* `x[]`: as large as its initialiser */
};

/* Both stand on the first token of theirs and leave the lexer behind the last. */
enum sim_module_status ptx_read_type(struct ptx_lexer *lexer, struct ptx_type *ret_type);
enum sim_module_status ptx_read_variable(
	struct ptx_lexer *lexer, const struct ptx_type *type, struct ptx_variable *ret_variable);

/* Read what follows `=`. An open variable gets its size here. Addresses of other variables become
 * zeroes: what they will be is not known before the module is loaded.
 * ret_init  variable->bytes bytes on the heap */
enum sim_module_status ptx_read_init(struct ptx_lexer *lexer, const struct ptx_type *type,
	struct ptx_variable *variable, void **ret_init);

#endif
