/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * PTX tokens. Only ASCII matters: other bytes are punctuation that no rule expects.
 */
#include "ptx_lexer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_word_start(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || c == '%';
}

static bool is_word(char c)
{
	return is_word_start(c) || is_digit(c);
}

static const char *skip_blanks(const char *at)
{
	for (;;) {
		if (at[0] == ' ' || (at[0] >= '\t' && at[0] <= '\r')) {
			at++;
		} else if (at[0] == '/' && at[1] == '/') {
			at += strcspn(at, "\n");
		} else if (at[0] == '/' && at[1] == '*') {
			const char *end = strstr(at + 2, "*/");
			at = end ? end + 2 : at + strlen(at);
		} else {
			return at;
		}
	}
}

static const char *number_end(const char *at)
{
	bool is_bits = at[0] == '0' && at[1] != '\0' && strchr("xXfFdD", at[1]);

	while (is_word(*at) || *at == '.') {
		bool is_exponent = !is_bits && (*at == 'e' || *at == 'E');
		at++;
		if (is_exponent && (*at == '+' || *at == '-'))
			at++;
	}
	return at;
}

static const char *string_end(const char *at)
{
	for (at++; *at != '"'; at++) {
		if (at[0] == '\\' && at[1] != '\0')
			at++;
		if (*at == '\0')
			return at;
	}
	return at + 1;
}

static const char *token_end(const char *at, enum ptx_token_kind *ret_kind)
{
	*ret_kind = PTX_END;
	if (*at == '\0')
		return at;
	if (*at == '.' && is_word(at[1])) {
		*ret_kind = PTX_DIRECTIVE;
		for (at++; is_word(*at); at++)
			;
		return at;
	}
	if (is_word_start(*at)) {
		*ret_kind = PTX_WORD;
		while (is_word(*at) || *at == '.')
			at++;
		return at;
	}
	if (is_digit(*at)) {
		*ret_kind = PTX_NUMBER;
		return number_end(at);
	}
	if (*at == '"') {
		*ret_kind = PTX_STRING;
		return string_end(at);
	}
	*ret_kind = PTX_PUNCTUATION;
	return at + 1;
}

void ptx_advance(struct ptx_lexer *lexer)
{
	struct ptx_token token = {.text = skip_blanks(lexer->at)};

	lexer->at = token_end(token.text, &token.kind);
	token.len = (size_t)(lexer->at - token.text);
	lexer->token = token;
}

void ptx_lexer_init(struct ptx_lexer *lexer, const char *text)
{
	lexer->at = text;
	ptx_advance(lexer);
}

void ptx_skip_line(struct ptx_lexer *lexer)
{
	lexer->at += strcspn(lexer->at, "\n");
	ptx_advance(lexer);
}

bool ptx_is_punctuation(const struct ptx_lexer *lexer, char character)
{
	return lexer->token.kind == PTX_PUNCTUATION && lexer->token.text[0] == character;
}

bool ptx_is_directive(const struct ptx_lexer *lexer, const char *directive)
{
	return lexer->token.kind == PTX_DIRECTIVE && lexer->token.len == strlen(directive) &&
	       memcmp(lexer->token.text, directive, lexer->token.len) == 0;
}

bool ptx_accept_punctuation(struct ptx_lexer *lexer, char character)
{
	if (!ptx_is_punctuation(lexer, character))
		return false;
	ptx_advance(lexer);
	return true;
}

bool ptx_token_integer(const struct ptx_token *token, unsigned long long *ret_value)
{
	bool is_binary = token->len > 2 && (token->text[1] == 'b' || token->text[1] == 'B');
	char *end;

	if (token->kind != PTX_NUMBER)
		return false;
	errno = 0;
	unsigned long long value =
		strtoull(token->text + (is_binary ? 2 : 0), &end, is_binary ? 2 : 0);
	if (*end == 'U')
		end++;
	if (errno || end != token->text + token->len)
		return false;
	*ret_value = value;
	return true;
}
