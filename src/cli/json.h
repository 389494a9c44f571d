/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * JSON to stdout, one value after another; commas and indents are looked after. A name is NULL
 * inside of a list. Not for threads.
 */
#ifndef CUSLICE_CLI_JSON_H
#define CUSLICE_CLI_JSON_H

#include <stdbool.h>
#include <stdint.h>

/* An object ('{', ended by '}') or a list ('[', ended by ']'). */
void json_begin(const char *name, char bracket);
void json_end(char bracket);

/* What is no printable ASCII becomes a question mark, so that any bytes make valid JSON. */
void json_string(const char *name, const char *text);
void json_bool(const char *name, bool value);
void json_number(const char *name, uint64_t value);

#endif
