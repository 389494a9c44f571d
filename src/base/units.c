/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "base/units.h"

#include <stdio.h>
#include <string.h>

typedef unsigned __int128 u128;

/* A decimal number as written: digits / 10^fraction_digits. Exact, so `1.5GiB` is. */
struct decimal {
	uint64_t digits;
	uint64_t scale; /* 10^fraction_digits */
	bool has_point;
};

static const struct {
	const char *name;
	uint64_t bytes;
} size_units[] = {
	{"", 1},
	{"B", 1},
	{"Ki", 1ull << 10},
	{"KiB", 1ull << 10},
	{"Mi", 1ull << 20},
	{"MiB", 1ull << 20},
	{"Gi", 1ull << 30},
	{"GiB", 1ull << 30},
	{"Ti", 1ull << 40},
	{"TiB", 1ull << 40},
	{"kB", 1000ull},
	{"KB", 1000ull},
	{"MB", 1000000ull},
	{"GB", 1000000000ull},
	{"TB", 1000000000000ull},
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Moves *text behind the number. */
static const char *parse_decimal(const char **text, struct decimal *ret_number)
{
	struct decimal number = {.scale = 1};
	const char *at = *text;
	int digits = 0;

	if (*at == '-' || *at == '+')
		return "a plain number without a sign is needed";
	for (; is_digit(*at) || (*at == '.' && !number.has_point); at++) {
		if (*at == '.') {
			number.has_point = true;
			continue;
		}
		if (number.digits > (UINT64_MAX - 9) / 10 || number.scale > UINT64_MAX / 10)
			return "the number has too many digits";
		number.digits = number.digits * 10 + (uint64_t)(*at - '0');
		number.scale *= number.has_point ? 10 : 1;
		digits++;
	}
	if (digits == 0)
		return "a number is needed";
	if (at[-1] == '.')
		return "digits are needed behind the point";
	*text = at;
	*ret_number = number;
	return NULL;
}

/* `25%` in parts per million. Above 100 % is a mistake, not a wish for everything. */
static const char *percent_to_ppm(struct decimal number, uint32_t *ret_ppm)
{
	u128 ppm = (u128)number.digits * (PPM_WHOLE / 100) / number.scale;

	if (number.digits == 0)
		return "zero is no limit that a program can live with; leave it unset instead";
	if ((u128)number.digits > (u128)100 * number.scale)
		return "more than 100%";
	*ret_ppm = ppm == 0 ? 1 : (uint32_t)ppm;
	return NULL;
}

static const char *decimal_to_bytes(struct decimal number, const char *unit, uint64_t *ret_bytes)
{
	if (*unit == ' ')
		unit++;
	for (size_t i = 0; i < ARRAY_LEN(size_units); i++) {
		if (strcmp(unit, size_units[i].name) != 0)
			continue;
		if (*unit == '\0' && number.has_point)
			return "bytes have no fraction; add a unit (KiB, MiB, GiB, ...)";
		u128 bytes = (u128)number.digits * size_units[i].bytes / number.scale;
		if (bytes == 0)
			return "zero is no limit that a program can live with; leave it unset "
			       "instead";
		if (bytes > INT64_MAX)
			return "larger than any memory";
		*ret_bytes = (uint64_t)bytes;
		return NULL;
	}
	if (strcmp(unit, "K") == 0 || strcmp(unit, "M") == 0 || strcmp(unit, "G") == 0 ||
		strcmp(unit, "T") == 0 || strcmp(unit, "k") == 0)
		return "the unit is ambiguous; write GiB (1024 based) or GB (1000 based)";
	return "unknown unit (use KiB, MiB, GiB, TiB, KB, MB, GB, TB or %)";
}

const char *units_parse_size(const char *text, struct size_value *ret_size)
{
	struct size_value size = {0};
	struct decimal number;

	const char *reason = parse_decimal(&text, &number);
	if (reason != NULL)
		return reason;
	if (strcmp(text, "%") == 0)
		reason = percent_to_ppm(number, &size.ppm);
	else
		reason = decimal_to_bytes(number, text, &size.bytes);
	if (reason == NULL)
		*ret_size = size;
	return reason;
}

static const char *fraction_to_ppm(struct decimal number, uint32_t *ret_ppm)
{
	if (!number.has_point)
		return "a unit is missing; write 25% or 0.25 or 32sm";
	if (number.digits > number.scale)
		return "a fraction above 1; write 25% or 0.25 or 32sm";
	if (number.digits > UINT64_MAX / 100)
		return "the number has too many digits";
	number.digits *= 100;
	return percent_to_ppm(number, ret_ppm);
}

const char *units_parse_share(const char *text, struct share_value *ret_share)
{
	struct share_value share = {0};
	struct decimal number;

	const char *reason = parse_decimal(&text, &number);
	if (reason != NULL)
		return reason;
	if (strcmp(text, "%") == 0) {
		reason = percent_to_ppm(number, &share.ppm);
	} else if (strcmp(text, "") == 0) {
		reason = fraction_to_ppm(number, &share.ppm);
	} else if (strcmp(text, "sm") == 0) {
		if (number.has_point || number.digits == 0 || number.digits > UINT16_MAX)
			return "a whole number of SMs is needed, 1sm or more";
		share.sm_count = (uint32_t)number.digits;
	} else {
		return "unknown unit; write 25% or 0.25 or 32sm";
	}
	if (reason == NULL)
		*ret_share = share;
	return reason;
}

uint64_t units_resolve_size(struct size_value size, uint64_t device_bytes)
{
	if (size.ppm == 0)
		return size.bytes;
	return (uint64_t)((u128)device_bytes * size.ppm / PPM_WHOLE);
}

uint32_t units_resolve_share(struct share_value share, uint32_t device_sms)
{
	if (share.sm_count == 0)
		return share.ppm;
	if (share.sm_count >= device_sms)
		return PPM_WHOLE;
	return (uint32_t)((uint64_t)share.sm_count * PPM_WHOLE / device_sms);
}

struct units_text units_format_bytes(uint64_t bytes)
{
	static const char *const names[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	struct units_text out;
	uint64_t unit = 1024;
	size_t i = 0;

	if (bytes < 1024) {
		snprintf(out.text, sizeof(out.text), "%llu B", (unsigned long long)bytes);
		return out;
	}
	while (i + 1 < ARRAY_LEN(names) && bytes / unit >= 1024) {
		unit *= 1024;
		i++;
	}
	uint64_t hundredths = (uint64_t)((u128)bytes * 100 / unit);
	snprintf(out.text, sizeof(out.text), "%llu.%02llu %s",
		(unsigned long long)(hundredths / 100), (unsigned long long)(hundredths % 100),
		names[i]);
	return out;
}
