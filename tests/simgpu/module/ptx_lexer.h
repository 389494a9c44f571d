/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Cuts PTX text into tokens. A directive (`.entry`, `.align`) ends before the next dot, an
 * instruction (`ld.shared.f32`) is one word with its dots: so `.shared` alone always declares.
 */
#ifndef SIMGPU_MODULE_PTX_LEXER_H
#define SIMGPU_MODULE_PTX_LEXER_H

#include <stdbool.h>
#include <stddef.h>

enum ptx_token_kind {
	PTX_END,
	PTX_DIRECTIVE, /* with its dot */
	PTX_WORD,
	PTX_NUMBER,
	PTX_STRING,      /* with its quotes */
	PTX_PUNCTUATION, /* one character */
};

/* A token, as it stands in the text. */
struct ptx_token {
	enum ptx_token_kind kind;
	const char *text;
	size_t len;
};

struct ptx_lexer {
	const char *at;         /* behind `token` */
	struct ptx_token token; /* the current one */
};

/* Stand on the first token of `text`, which ends in a NUL. */
void ptx_lexer_init(struct ptx_lexer *lexer, const char *text);

/* Go to the next token; at the end stay there. */
void ptx_advance(struct ptx_lexer *lexer);

/* Go to the first token of the next line. */
void ptx_skip_line(struct ptx_lexer *lexer);

bool ptx_is_punctuation(const struct ptx_lexer *lexer, char character);
bool ptx_is_directive(const struct ptx_lexer *lexer, const char *directive);

/* The same, and advance if it is so. */
bool ptx_accept_punctuation(struct ptx_lexer *lexer, char character);

/* The current token as a whole number; false if it is none, or larger than 64 bits. */
bool ptx_token_integer(const struct ptx_token *token, unsigned long long *ret_value);

#endif
