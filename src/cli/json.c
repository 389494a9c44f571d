/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "cli/json.h"

#include <inttypes.h>
#include <stdio.h>

static int depth;
static bool is_first = true; /* in its object or list */

static void print_quoted(const char *text)
{
	putchar('"');
	for (; *text != '\0'; text++) {
		bool is_printable = *text >= ' ' && *text <= '~';
		if (*text == '"' || *text == '\\')
			putchar('\\');
		putchar(is_printable ? *text : '?');
	}
	putchar('"');
}

static void begin_line(void)
{
	if (depth > 0)
		printf("\n%*s", 2 * depth, "");
}

static void begin_value(const char *name)
{
	if (!is_first)
		putchar(',');
	is_first = false;
	begin_line();
	if (name != NULL) {
		print_quoted(name);
		printf(": ");
	}
}

void json_begin(const char *name, char bracket)
{
	begin_value(name);
	putchar(bracket);
	depth++;
	is_first = true;
}

void json_end(char bracket)
{
	depth--;
	if (!is_first) {
		if (depth == 0)
			putchar('\n');
		begin_line();
	}
	putchar(bracket);
	is_first = false;
}

void json_string(const char *name, const char *text)
{
	begin_value(name);
	print_quoted(text);
}

void json_bool(const char *name, bool value)
{
	begin_value(name);
	printf("%s", value ? "true" : "false");
}

void json_number(const char *name, uint64_t value)
{
	begin_value(name);
	printf("%" PRIu64, value);
}
