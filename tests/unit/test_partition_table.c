/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * That the tables of docs/partition.md are what partition_choose() answers. Where they are not, the
 * right ones are printed.
 */
#include "unit.h"
#include "base/units.h"
#include "partition/choose.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 512

static const struct {
	const char *name;
	unsigned cc_major, sm_count;
} devices[] = {
	{"H200, H100 SXM", 9, 132},
	{"H100 PCIe", 9, 114},
	{"B200", 10, 148},
	{"A100", 8, 108},
	{"L40S", 8, 142},
};
#define DEVICES (sizeof(devices) / sizeof(devices[0]))

static const unsigned percents[] = {5, 10, 25, 33, 50, 75, 90};
#define PERCENTS (sizeof(percents) / sizeof(percents[0]))

/* `16 × 82.5 % (9)`: SMs, the part of the time unless it is all of it, waves. */
static void write_cell(
	char *line, const struct partition_rules *rules, unsigned percent, bool exact)
{
	struct partition_choice choice =
		partition_choose(rules, percent * (PPM_WHOLE / 100), exact);
	char cell[64];

	if (choice.duty_ppm == PPM_WHOLE)
		snprintf(cell, sizeof(cell), " %u (%u) |", choice.sm_count, choice.waves);
	else
		snprintf(cell, sizeof(cell), " %u × %u.%u %% (%u) |", choice.sm_count,
			choice.duty_ppm / 10000, choice.duty_ppm / 1000 % 10, choice.waves);
	strcat(line, cell);
}

static void write_line(char line[LINE_MAX_BYTES], unsigned device, bool exact)
{
	struct partition_rules rules =
		partition_rules_of(devices[device].cc_major, devices[device].sm_count);

	snprintf(line, LINE_MAX_BYTES, "| %s | `%s` | %u | %u, %u |", devices[device].name,
		exact ? "both" : "sm", rules.sm_count, rules.least, rules.step);
	for (unsigned i = 0; i < PERCENTS; i++)
		write_cell(line, &rules, percents[i], exact);
}

static char *read_document(void)
{
	static char text[1 << 17];
	FILE *file = fopen(PARTITION_DOCUMENT, "r");

	assert_non_null(file);
	size_t size = fread(text, 1, sizeof(text) - 1, file);
	assert_true(size > 0 && size < sizeof(text) - 1);
	fclose(file);
	return text;
}

static unsigned rows_in(const char *text)
{
	unsigned count = 0;

	for (unsigned i = 0; i < DEVICES; i++) {
		char start[64];
		snprintf(start, sizeof(start), "\n| %s | `", devices[i].name);
		for (const char *at = text; (at = strstr(at, start)) != NULL; at++)
			count++;
	}
	return count;
}

static void tables_are_what_is_chosen(void **state)
{
	const char *text = read_document();
	unsigned missing = 0;

	(void)state;
	for (unsigned i = 0; i < 2 * DEVICES; i++) {
		char line[LINE_MAX_BYTES];
		write_line(line, i / 2, i % 2 != 0);
		missing += strstr(text, line) == NULL ? 1 : 0;
		if (missing != 0)
			print_message("%s\n", line);
	}
	assert_int_equal(missing, 0);
	assert_int_equal(rows_in(text), 2 * DEVICES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_are_what_is_chosen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
