/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Types and names of PTX declarations:
 *
 *   .align 8 .v2 .f32 name[3][4]
 *   .u64 .ptr .global .align 16 name          (parameters; the second alignment is the pointee's)
 */
#include "ptx_variable.h"

#include <string.h>

/* No variable is larger; the product of dimensions must not wrap. */
#define VARIABLE_BYTES_MAX ((uint64_t)1 << 40)

/* Fundamental types, by the bytes of one. */
static const struct {
	const char *name;
	uint32_t bytes;
	bool is_float, is_opaque;
} types[] = {
	{".b8", 1, false, false},
	{".u8", 1, false, false},
	{".s8", 1, false, false},
	{".b16", 2, false, false},
	{".u16", 2, false, false},
	{".s16", 2, false, false},
	{".f16", 2, true, false},
	{".bf16", 2, true, false},
	{".b32", 4, false, false},
	{".u32", 4, false, false},
	{".s32", 4, false, false},
	{".f32", 4, true, false},
	{".f16x2", 4, false, false},
	{".bf16x2", 4, false, false},
	{".b64", 8, false, false},
	{".u64", 8, false, false},
	{".s64", 8, false, false},
	{".f64", 8, true, false},
	{".b128", 16, false, false},
	{".texref", 8, false, true},
	{".samplerref", 8, false, true},
	{".surfref", 8, false, true},
};

static bool read_fundamental(struct ptx_lexer *lexer, struct ptx_type *type)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (!ptx_is_directive(lexer, types[i].name))
			continue;
		type->element_bytes = types[i].bytes;
		type->is_float = types[i].is_float;
		type->is_opaque = types[i].is_opaque;
		ptx_advance(lexer);
		return true;
	}
	return false;
}

static bool read_vector(struct ptx_lexer *lexer, struct ptx_type *type)
{
	const struct ptx_token *token = &lexer->token;
	if (token->kind != PTX_DIRECTIVE || token->len != 3 || token->text[1] != 'v' ||
		!strchr("248", token->text[2]))
		return false;
	type->vector = (uint32_t)(token->text[2] - '0');
	ptx_advance(lexer);
	return true;
}

/* `.align N`, into `ret_align` unless it is the pointee's. */
static bool read_align(struct ptx_lexer *lexer, uint64_t *ret_align)
{
	unsigned long long align;

	if (!ptx_is_directive(lexer, ".align"))
		return false;
	ptx_advance(lexer);
	if (!ptx_token_integer(&lexer->token, &align) || align == 0 || align > 4096 ||
		(align & (align - 1)) != 0)
		return false;
	*ret_align = align;
	ptx_advance(lexer);
	return true;
}

static bool read_pointee(struct ptx_lexer *lexer)
{
	static const char *const spaces[] = {".const", ".global", ".local", ".shared"};
	uint64_t pointee_align;

	if (!ptx_is_directive(lexer, ".ptr"))
		return false;
	ptx_advance(lexer);
	for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++) {
		if (ptx_is_directive(lexer, spaces[i])) {
			ptx_advance(lexer);
			break;
		}
	}
	read_align(lexer, &pointee_align);
	return true;
}

/* `.attribute(.managed)`: nothing that changes a layout. */
static bool skip_attribute(struct ptx_lexer *lexer)
{
	unsigned int depth = 0;

	if (!ptx_is_directive(lexer, ".attribute"))
		return false;
	ptx_advance(lexer);
	do {
		if (ptx_is_punctuation(lexer, '('))
			depth++;
		else if (ptx_is_punctuation(lexer, ')'))
			depth--;
		else if (depth == 0 || lexer->token.kind == PTX_END)
			return false;
		ptx_advance(lexer);
	} while (depth > 0);
	return true;
}

enum sim_module_status ptx_read_type(struct ptx_lexer *lexer, struct ptx_type *ret_type)
{
	struct ptx_type type = {.vector = 1};

	while (lexer->token.kind == PTX_DIRECTIVE) {
		if (!skip_attribute(lexer) && !read_align(lexer, &type.align) &&
			!read_vector(lexer, &type) && !read_pointee(lexer) &&
			!read_fundamental(lexer, &type))
			return SIM_MODULE_INVALID_PTX;
	}
	if (type.element_bytes == 0)
		return SIM_MODULE_INVALID_PTX;
	if (type.align == 0)
		type.align = (uint64_t)type.element_bytes * type.vector;
	*ret_type = type;
	return SIM_MODULE_OK;
}

static bool read_dimension(struct ptx_lexer *lexer, struct ptx_variable *variable)
{
	unsigned long long extent = 0;

	if (variable->dimension_count == PTX_DIMENSIONS_MAX - 1) /* one is kept for the vector */
		return false;
	if (ptx_is_punctuation(lexer, ']')) {
		if (variable->dimension_count > 0)
			return false;
		variable->is_open = true;
	} else {
		if (!ptx_token_integer(&lexer->token, &extent))
			return false;
		ptx_advance(lexer);
	}
	variable->dimensions[variable->dimension_count++] = extent;
	return ptx_accept_punctuation(lexer, ']');
}

static bool multiply_dimensions(const struct ptx_type *type, struct ptx_variable *variable)
{
	uint64_t bytes = type->element_bytes;

	for (unsigned int i = 0; i < variable->dimension_count; i++) {
		uint64_t extent = variable->dimensions[i];
		if (extent > 0 && bytes > VARIABLE_BYTES_MAX / extent)
			return false;
		bytes *= extent;
	}
	variable->bytes = bytes;
	return true;
}

enum sim_module_status ptx_read_variable(
	struct ptx_lexer *lexer, const struct ptx_type *type, struct ptx_variable *ret_variable)
{
	struct ptx_variable variable = {.name = lexer->token};

	if (lexer->token.kind != PTX_WORD)
		return SIM_MODULE_INVALID_PTX;
	ptx_advance(lexer);
	while (ptx_accept_punctuation(lexer, '['))
		if (!read_dimension(lexer, &variable))
			return SIM_MODULE_INVALID_PTX;
	if (type->vector > 1)
		variable.dimensions[variable.dimension_count++] = type->vector;
	if (!multiply_dimensions(type, &variable))
		return SIM_MODULE_INVALID_PTX;
	*ret_variable = variable;
	return SIM_MODULE_OK;
}
