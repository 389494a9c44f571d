/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Reading of values.
 */
#include "value.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct unit {
	const char *name;
	uint64_t factor;
};

__attribute__((format(printf, 2, 3))) static bool refuse(char *reason, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(reason, VALUE_REASON_LEN, format, args);
	va_end(args);
	return false;
}

/* The number at the start of `text`; what follows it, blanks skipped, is `ret_rest`. */
static bool read_leading_number(
	const char *text, uint64_t *ret_number, const char **ret_rest, char *reason)
{
	char *rest;
	if (!isdigit((unsigned char)text[0]))
		return refuse(reason, "not a whole number");
	errno = 0;
	*ret_number = strtoull(text, &rest, 10);
	if (errno == ERANGE)
		return refuse(reason, "the number is too large");
	*ret_rest = rest + strspn(rest, " ");
	return true;
}

static bool read_with_unit(const char *text, const struct unit *units, const char *known,
	uint64_t *ret_value, char *reason)
{
	uint64_t number = 0;
	const char *rest = text;
	if (!read_leading_number(text, &number, &rest, reason))
		return false;
	while (units->name && strcmp(units->name, rest) != 0)
		units++;
	if (!units->name && rest[0] == '\0')
		return refuse(reason, "no unit (use %s)", known);
	if (!units->name)
		return refuse(reason, "unknown unit \"%.32s\" (use %s)", rest, known);
	if (__builtin_mul_overflow(number, units->factor, ret_value))
		return refuse(reason, "the number is too large");
	return true;
}

bool value_read_number(const char *text, uint64_t *ret_number, char *ret_reason)
{
	uint64_t number = 0;
	const char *rest = text;
	if (!read_leading_number(text, &number, &rest, ret_reason))
		return false;
	if (rest[0] != '\0')
		return refuse(ret_reason, "\"%.32s\" follows the number", rest);
	*ret_number = number;
	return true;
}

bool value_read_bytes(const char *text, uint64_t *ret_bytes, char *ret_reason)
{
	static const struct unit units[] = {{"", 1}, {"B", 1}, {"KiB", UINT64_C(1) << 10},
		{"MiB", UINT64_C(1) << 20}, {"GiB", UINT64_C(1) << 30}, {"TiB", UINT64_C(1) << 40},
		{NULL, 0}};
	return read_with_unit(text, units, "B, KiB, MiB, GiB or TiB", ret_bytes, ret_reason);
}

bool value_read_duration(const char *text, uint64_t *ret_ns, char *ret_reason)
{
	static const struct unit units[] = {
		{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}, {NULL, 0}};
	return read_with_unit(text, units, "ns, us, ms or s", ret_ns, ret_reason);
}

bool value_read_capability(
	const char *text, uint32_t *ret_major, uint32_t *ret_minor, char *ret_reason)
{
	const char *digits = "0123456789";
	size_t major_len = strspn(text, digits);
	bool has_dot = text[major_len] == '.';
	size_t minor_len = has_dot ? strspn(text + major_len + 1, digits) : 0;
	if (major_len < 1 || major_len > 2 || minor_len != 1 || text[major_len + 2] != '\0')
		return refuse(ret_reason, "not of the form major.minor, such as 9.0");
	*ret_major = (uint32_t)strtoul(text, NULL, 10);
	*ret_minor = (uint32_t)(text[major_len + 1] - '0');
	return true;
}

static uint8_t hex_value(char digit)
{
	if (isdigit((unsigned char)digit))
		return (uint8_t)(digit - '0');
	return (uint8_t)(tolower((unsigned char)digit) - 'a' + 10);
}

bool value_read_uuid(const char *text, uint8_t ret_uuid[16], char *ret_reason)
{
	uint8_t uuid[16] = {0};
	size_t digits = 0;
	if (strncmp(text, "GPU-", 4) == 0)
		text += 4;
	for (; *text; text++) {
		if (*text == '-')
			continue;
		if (!isxdigit((unsigned char)*text) || digits == 32)
			return refuse(ret_reason, "not 32 hexadecimal digits");
		uuid[digits / 2] = (uint8_t)(uuid[digits / 2] << 4 | hex_value(*text));
		digits++;
	}
	if (digits != 32)
		return refuse(ret_reason, "not 32 hexadecimal digits");
	memcpy(ret_uuid, uuid, sizeof(uuid));
	return true;
}

bool value_read_part(const char *text, uint32_t *ret_ppm, char *ret_reason)
{
	uint32_t ppm = 0, unit = 1000000;
	size_t whole = strspn(text, "0123456789");
	for (size_t i = 0; i < whole && whole <= 3; i++)
		ppm = ppm * 10 + (uint32_t)(text[i] - '0') * unit;
	const char *rest = text + whole;
	size_t digits = *rest == '.' ? strspn(++rest, "0123456789") : 0;
	if (whole == 0 || whole > 3 || digits > 6 || (digits == 0 && rest > text + whole) ||
		rest[digits] != '\0')
		return refuse(ret_reason, "not a number like 0.5, below 1000, of six decimals");
	for (size_t i = 0; i < digits; i++) {
		unit /= 10;
		ppm += (uint32_t)(rest[i] - '0') * unit;
	}
	*ret_ppm = ppm;
	return true;
}

bool value_read_bits(
	const char *text, const char *const names[], uint32_t *ret_bits, char *ret_reason)
{
	uint32_t bits = 0;
	if (strcmp(text, "none") == 0) {
		*ret_bits = 0;
		return true;
	}
	for (const char *at = text;; at++) {
		size_t len = strcspn(at, ","), bit = 0;
		while (names[bit] && (strlen(names[bit]) != len || strncmp(names[bit], at, len)))
			bit++;
		if (!names[bit])
			return refuse(ret_reason, "\"%.*s\" is not known",
				(int)(len > 32 ? 32 : len), at);
		bits |= 1u << bit;
		at += len;
		if (*at == '\0')
			break;
	}
	*ret_bits = bits;
	return true;
}

bool value_read_name(const char *text, char *ret_name, size_t size, char *ret_reason)
{
	size_t len = strlen(text);
	if (len == 0)
		return refuse(ret_reason, "a name is missing");
	if (len >= size)
		return refuse(ret_reason, "longer than %zu characters", size - 1);
	for (size_t i = 0; i < len; i++) {
		if (!isascii(text[i]) || !isprint((unsigned char)text[i]))
			return refuse(ret_reason, "a character that cannot be printed");
	}
	memset(ret_name, 0, size);
	memcpy(ret_name, text, len);
	return true;
}
