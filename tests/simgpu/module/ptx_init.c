/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Initialisers of PTX variables. As in C, inner braces may be left out, and what a list does not
 * mention is zero. Known: one literal a value. Constant expressions are SIM_MODULE_UNSUPPORTED;
 * whatever names a variable or function is an address, and stays zero.
 */
#include <stdlib.h>
#include <string.h>

#include "builder.h"
#include "ptx_variable.h"

struct writer {
	struct ptx_lexer *lexer;
	const struct ptx_type *type;
	struct ptx_variable *variable;
	unsigned char *data;
	uint64_t capacity;
	uint64_t end; /* behind the last value */
	enum sim_module_status status;
};

struct number {
	unsigned long long integer; /* two's complement, or the bits of a float */
	double real;
	enum { NUMBER_INTEGER, NUMBER_REAL, NUMBER_FLOAT_BITS, NUMBER_DOUBLE_BITS } kind;
};

static bool fail(struct writer *writer, enum sim_module_status status)
{
	writer->status = status;
	return false;
}

static bool read_bits(const struct ptx_token *token, struct number *number)
{
	char *end;

	number->integer = strtoull(token->text + 2, &end, 16);
	return end == token->text + token->len;
}

/* 0f and eight digits, 0d and sixteen, 1.5e3, or an integer. */
static bool read_number(const struct ptx_token *token, struct number *ret_number)
{
	struct number number = {0};
	char marker = token->len > 2 ? token->text[1] : '\0';
	char *end;
	bool is_valid;

	if (token->kind != PTX_NUMBER)
		return false;
	if (token->text[0] == '0' && (marker == 'f' || marker == 'F')) {
		number.kind = NUMBER_FLOAT_BITS;
		is_valid = token->len == 10 && read_bits(token, &number);
	} else if (token->text[0] == '0' && (marker == 'd' || marker == 'D')) {
		number.kind = NUMBER_DOUBLE_BITS;
		is_valid = token->len == 18 && read_bits(token, &number);
	} else if (ptx_token_integer(token, &number.integer)) {
		is_valid = true;
	} else {
		number.kind = NUMBER_REAL;
		number.real = strtod(token->text, &end);
		is_valid = end == token->text + token->len;
	}
	*ret_number = number;
	return is_valid;
}

static double number_as_double(const struct number *number)
{
	double value = number->real;
	float narrow;
	uint32_t bits = (uint32_t)number->integer;

	if (number->kind == NUMBER_INTEGER)
		return (double)(long long)number->integer;
	if (number->kind == NUMBER_DOUBLE_BITS)
		memcpy(&value, &number->integer, sizeof(value));
	if (number->kind == NUMBER_FLOAT_BITS) {
		memcpy(&narrow, &bits, sizeof(narrow));
		value = (double)narrow;
	}
	return value;
}

/* The element's bytes; false if a type has no such literal (halves are written as integers). */
static bool encode(const struct ptx_type *type, const struct number *number, bool is_negative,
	unsigned char *ret_bytes)
{
	unsigned long long integer = is_negative ? -number->integer : number->integer;

	if (!type->is_float || type->element_bytes == 2) {
		memset(ret_bytes, 0, type->element_bytes);
		memcpy(ret_bytes, &integer, type->element_bytes < 8 ? type->element_bytes : 8);
		return number->kind == NUMBER_INTEGER;
	}
	double real = number_as_double(number);
	if (is_negative)
		real = -real;
	if (type->element_bytes == 8) {
		memcpy(ret_bytes, &real, 8);
		return true;
	}
	float narrow = (float)real;
	memcpy(ret_bytes, &narrow, 4);
	return true;
}

static bool make_room(struct writer *writer, uint64_t end)
{
	if (end <= writer->capacity)
		return true;
	if (!writer->variable->is_open)
		return fail(writer, SIM_MODULE_INVALID_PTX);
	uint64_t capacity = end * 2;
	unsigned char *data = NULL;
	if (capacity <= SIM_INIT_MAX)
		data = realloc(writer->data, (size_t)capacity);
	if (!data)
		return fail(writer, SIM_MODULE_UNSUPPORTED);
	memset(data + writer->capacity, 0, (size_t)(capacity - writer->capacity));
	writer->data = data;
	writer->capacity = capacity;
	return true;
}

static bool stands_behind_value(const struct ptx_lexer *lexer)
{
	return ptx_is_punctuation(lexer, ',') || ptx_is_punctuation(lexer, '}') ||
	       ptx_is_punctuation(lexer, ';');
}

/* Anything up to the next value. Fails unless a name is in it: then it is an address. */
static bool skip_address(struct writer *writer)
{
	struct ptx_lexer *lexer = writer->lexer;
	bool has_name = false;

	while (!stands_behind_value(lexer)) {
		if (lexer->token.kind == PTX_END)
			return fail(writer, SIM_MODULE_INVALID_PTX);
		has_name |= lexer->token.kind == PTX_WORD;
		ptx_advance(lexer);
	}
	return has_name || fail(writer, SIM_MODULE_UNSUPPORTED);
}

static bool read_value(struct writer *writer, uint64_t at)
{
	struct ptx_lexer *lexer = writer->lexer;
	struct number number;

	if (!make_room(writer, at + writer->type->element_bytes))
		return false;
	if (at + writer->type->element_bytes > writer->end)
		writer->end = at + writer->type->element_bytes;
	if (stands_behind_value(lexer))
		return fail(writer, SIM_MODULE_INVALID_PTX);
	struct ptx_lexer start = *lexer;
	bool is_negative = ptx_accept_punctuation(lexer, '-');
	bool is_number = read_number(&lexer->token, &number);
	ptx_advance(lexer);
	if (!is_number || !stands_behind_value(lexer)) {
		*lexer = start;
		return skip_address(writer);
	}
	if (!encode(writer->type, &number, is_negative, writer->data + at))
		return fail(writer, SIM_MODULE_INVALID_PTX);
	return true;
}

/* Bytes of one entry of dimension `depth`. */
static uint64_t stride(const struct writer *writer, unsigned int depth)
{
	uint64_t bytes = writer->type->element_bytes;

	for (unsigned int i = depth + 1; i < writer->variable->dimension_count; i++)
		bytes *= writer->variable->dimensions[i];
	return bytes;
}

/* What follows `{`, up to and with its `}`: entries of dimension `depth`, from `base` on. Goes no
 * deeper than the variable has dimensions. */
static bool read_list(struct writer *writer, unsigned int depth, uint64_t base)
{
	uint64_t at = base;
	uint64_t entry = stride(writer, depth);

	if (depth >= writer->variable->dimension_count || entry == 0)
		return fail(writer, SIM_MODULE_INVALID_PTX);
	while (!ptx_accept_punctuation(writer->lexer, '}')) {
		if (ptx_accept_punctuation(writer->lexer, '{')) {
			at = base + (at - base + entry - 1) / entry * entry;
			if (!read_list(writer, depth + 1, at))
				return false;
			at += entry;
		} else {
			if (!read_value(writer, at))
				return false;
			at += writer->type->element_bytes;
		}
		if (!ptx_accept_punctuation(writer->lexer, ',') &&
			!ptx_is_punctuation(writer->lexer, '}'))
			return fail(writer, SIM_MODULE_INVALID_PTX);
	}
	return true;
}

/* The open dimension is as long as it must be for the last value. */
static bool close_dimension(struct writer *writer)
{
	uint64_t entry = stride(writer, 0);
	uint64_t entries = (writer->end + entry - 1) / entry;

	if (!make_room(writer, entries * entry))
		return false;
	writer->variable->dimensions[0] = entries;
	writer->variable->bytes = entries * entry;
	writer->variable->is_open = false;
	return true;
}

enum sim_module_status ptx_read_init(struct ptx_lexer *lexer, const struct ptx_type *type,
	struct ptx_variable *variable, void **ret_init)
{
	struct writer writer = {.lexer = lexer, .type = type, .variable = variable};
	bool is_read;

	if (variable->bytes > SIM_INIT_MAX)
		return SIM_MODULE_UNSUPPORTED;
	writer.capacity = variable->bytes;
	writer.data = calloc(1, (size_t)variable->bytes + 1);
	if (!writer.data)
		return SIM_MODULE_UNSUPPORTED;
	if (ptx_accept_punctuation(lexer, '{'))
		is_read = read_list(&writer, 0, 0);
	else
		is_read = variable->dimension_count == 0 ? read_value(&writer, 0)
							 : fail(&writer, SIM_MODULE_INVALID_PTX);
	if (is_read && variable->is_open)
		is_read = close_dimension(&writer);
	if (!is_read) {
		free(writer.data);
		return writer.status;
	}
	*ret_init = writer.data;
	return SIM_MODULE_OK;
}
