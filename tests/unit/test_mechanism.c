/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * How a share is kept: every combination of facts, against what must hold for each; and which GPUs
 * reports cover.
 */
#include "unit.h"
#include "partition/covered.h"
#include "partition/mechanism.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const enum config_mechanism all_asked[] = {
	CONFIG_AUTO, CONFIG_TIME, CONFIG_SM, CONFIG_MPS, CONFIG_BOTH};
#define COMPANIES 3u
#define FLAGS     6u

static struct mechanism_facts facts_of(unsigned asked, unsigned company, unsigned flags)
{
	struct mechanism_facts facts = {
		.asked = all_asked[asked],
		.company = (enum mechanism_company)company,
		.has_mps = (flags & 1) != 0,
		.has_percentage = (flags & 2) != 0,
		.is_static = (flags & 8) != 0,
		.can_partition = (flags & 16) != 0,
		.is_covered = (flags & 32) != 0,
		.no_mps = "<no MPS>",
	};

	/* A static partition is named by a variable too. */
	if ((flags & (4 | 8)) != 0)
		facts.mps_variable = "<variable>";
	return facts;
}

static bool is_partition(enum mechanism mechanism)
{
	return mechanism == MECHANISM_SM || mechanism == MECHANISM_BOTH;
}

static void check_never(const struct mechanism_facts *facts, enum mechanism mechanism)
{
	bool is_scaled = facts->has_mps && facts->mps_variable != NULL;

	/* Never mixed, nor without what it takes. */
	if (is_partition(mechanism))
		assert_true(facts->can_partition && !is_scaled);
	if (mechanism == MECHANISM_MPS)
		assert_true(facts->has_mps && facts->has_percentage && !facts->is_static);
	if (mechanism == MECHANISM_MPS_STATIC)
		assert_true(facts->has_mps && facts->is_static);
	/* Nobody gets what was not asked for by name, but by auto. */
	if (facts->asked != CONFIG_AUTO && is_partition(mechanism))
		assert_int_equal(
			mechanism, facts->asked == CONFIG_SM ? MECHANISM_SM : MECHANISM_BOTH);
	if (facts->asked == CONFIG_TIME)
		assert_int_equal(mechanism, MECHANISM_TIME);
	if (facts->asked == CONFIG_AUTO && is_partition(mechanism))
		assert_true(mechanism == MECHANISM_BOTH && facts->is_covered &&
			    facts->company == MECHANISM_ALONE && !facts->has_mps);
}

static void check_where_it_can(const struct mechanism_facts *facts, enum mechanism mechanism)
{
	bool has_part = facts->has_mps && facts->mps_variable != NULL;
	bool is_for_mps = facts->asked == CONFIG_AUTO || facts->asked == CONFIG_MPS;

	if (facts->has_mps && facts->is_static && facts->asked != CONFIG_TIME)
		assert_int_equal(mechanism, MECHANISM_MPS_STATIC);
	else if (is_for_mps && facts->has_mps && facts->has_percentage)
		assert_int_equal(mechanism, MECHANISM_MPS);
	else if (!is_for_mps && facts->asked != CONFIG_TIME && has_part && facts->has_percentage)
		assert_int_equal(mechanism, MECHANISM_MPS); /* it is there already */
	if (facts->asked == CONFIG_SM && facts->can_partition && !has_part)
		assert_int_equal(mechanism, MECHANISM_SM);
	if (facts->asked == CONFIG_BOTH && facts->can_partition && !has_part)
		assert_int_equal(mechanism, MECHANISM_BOTH);
	if (facts->asked == CONFIG_AUTO && facts->can_partition && facts->is_covered &&
		!facts->has_mps && facts->company == MECHANISM_ALONE)
		assert_int_equal(mechanism, MECHANISM_BOTH);
}

/* Aloud where it was asked for by name and is not so; and always with a reason. */
static void check_told(const struct mechanism_facts *facts, const struct mechanism_choice *chosen)
{
	static const char *const names[] = {[CONFIG_TIME] = "time",
		[CONFIG_SM] = "sm",
		[CONFIG_MPS] = "mps",
		[CONFIG_BOTH] = "both"};

	assert_true(strlen(chosen->why) > 5);
	if (facts->asked == CONFIG_AUTO)
		assert_true(chosen->is_as_asked);
	else
		assert_int_equal(chosen->is_as_asked,
			strcmp(names[facts->asked], mechanism_name(chosen->mechanism)) == 0);
}

static void every_combination(void **state)
{
	unsigned seen[MECHANISM_COUNT] = {0};

	(void)state;
	for (unsigned asked = 0; asked < ARRAY_LEN(all_asked); asked++) {
		for (unsigned rest = 0; rest < COMPANIES << FLAGS; rest++) {
			struct mechanism_facts facts =
				facts_of(asked, rest >> FLAGS, rest & ((1u << FLAGS) - 1));
			struct mechanism_choice chosen = mechanism_choose(&facts);
			check_never(&facts, chosen.mechanism);
			check_where_it_can(&facts, chosen.mechanism);
			check_told(&facts, &chosen);
			seen[chosen.mechanism]++;
		}
	}
	for (unsigned i = 0; i < MECHANISM_COUNT; i++)
		assert_int_not_equal(seen[i], 0);
}

/* What is said for those that people meet. */
static void reasons(void **state)
{
	static const struct {
		struct mechanism_facts facts;
		enum mechanism mechanism;
		const char *says[2];
	} rows[] = {
		{{.asked = CONFIG_AUTO, .no_mps = "no MPS at /x"}, MECHANISM_TIME,
			{"no MPS at /x; ", "driver for CUDA 12.5"}},
		{{.asked = CONFIG_AUTO, .no_mps = "no MPS at /x", .can_partition = true},
			MECHANISM_TIME, {"no MPS at /x; ", "no report shows"}},
		{{.asked = CONFIG_AUTO,
			 .no_mps = "no MPS at /x",
			 .can_partition = true,
			 .is_covered = true,
			 .company = MECHANISM_BESIDE_OTHERS},
			MECHANISM_TIME, {"no MPS at /x; ", "others are at it"}},
		{{.asked = CONFIG_AUTO,
			 .no_mps = "no MPS at /x",
			 .can_partition = true,
			 .is_covered = true,
			 .company = MECHANISM_BESIDE_UNSEEN},
			MECHANISM_TIME, {"no MPS at /x; ", "could not be seen"}},
		{{.asked = CONFIG_AUTO, .has_mps = true, .no_mps = "not in percent"},
			MECHANISM_TIME, {"not in percent", ""}},
		{{.asked = CONFIG_MPS, .no_mps = "no MPS at /x"}, MECHANISM_TIME,
			{"no MPS at /x", ""}},
		{{.asked = CONFIG_MPS, .has_percentage = true}, MECHANISM_TIME,
			{"the driver does not use MPS", ""}},
		{{.asked = CONFIG_SM}, MECHANISM_TIME, {"driver for CUDA 12.5", ""}},
		{{.asked = CONFIG_BOTH,
			 .can_partition = true,
			 .has_mps = true,
			 .mps_variable = "A_VARIABLE"},
			MECHANISM_TIME, {"beside A_VARIABLE", "larger"}},
		{{.asked = CONFIG_SM,
			 .has_mps = true,
			 .has_percentage = true,
			 .mps_variable = "A_VARIABLE"},
			MECHANISM_MPS, {"beside A_VARIABLE", "larger"}},
		{{.asked = CONFIG_BOTH,
			 .can_partition = true,
			 .has_mps = true,
			 .is_static = true,
			 .mps_variable = "A_VARIABLE"},
			MECHANISM_MPS_STATIC, {"no partition of ours", "A_VARIABLE"}},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		struct mechanism_choice chosen = mechanism_choose(&rows[i].facts);
		print_message("%s\n", chosen.why);
		assert_int_equal(chosen.mechanism, rows[i].mechanism);
		assert_non_null(strstr(chosen.why, rows[i].says[0]));
		assert_non_null(strstr(chosen.why, rows[i].says[1]));
	}
}

static void reason_longer_than_its_place_is_cut(void **state)
{
	char text[2 * MECHANISM_WHY_LEN];
	struct mechanism_facts facts = {.asked = CONFIG_MPS, .no_mps = text};

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(strlen(mechanism_choose(&facts).why), MECHANISM_WHY_LEN - 1);
}

static void rows_cover_what_they_name(void **state)
{
	static const struct covered rows[] = {
		{"NVIDIA H200", 9, 0, 12080, 13000, "a.md"},
		{"NVIDIA H200", 9, 0, 13020, 13020, "b.md"},
		{"NVIDIA A100", 8, 0, 13000, 13000, "c.md"},
		{.name = NULL},
	};
	static const struct {
		const char *name;
		unsigned major, minor;
		int version;
		const char *report;
	} asked[] = {
		{"NVIDIA H200", 9, 0, 12080, "a.md"},
		{"NVIDIA H200", 9, 0, 12090, "a.md"},
		{"NVIDIA H200", 9, 0, 13000, "a.md"},
		{"NVIDIA H200", 9, 0, 13020, "b.md"},
		{"NVIDIA A100", 8, 0, 13000, "c.md"},
		{"NVIDIA H200", 9, 0, 12079, NULL},
		{"NVIDIA H200", 9, 0, 13010, NULL},
		{"NVIDIA H200", 9, 0, 13021, NULL},
		{"NVIDIA H200", 9, 1, 13000, NULL},
		{"NVIDIA H200", 8, 0, 13000, NULL},
		{"NVIDIA H200 NVL", 9, 0, 13000, NULL},
		{"NVIDIA H20", 9, 0, 13000, NULL},
		{"", 9, 0, 13000, NULL},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(asked); i++) {
		const struct covered *row = covered_find(
			rows, asked[i].name, asked[i].major, asked[i].minor, asked[i].version);
		assert_int_equal(row == NULL, asked[i].report == NULL);
		if (row != NULL)
			assert_string_equal(row->report, asked[i].report);
	}
	assert_null(covered_find(&rows[3], "NVIDIA H200", 9, 0, 13000));
}

static bool is_committed(const char *report)
{
	char path[512];

	if (strchr(report, '/') != NULL)
		return false;
	snprintf(path, sizeof(path), "%s/%s", RESULTS, report);
	return access(path, R_OK) == 0;
}

static void each_row_of_ours_has_its_report(void **state)
{
	(void)state;
	for (const struct covered *row = covered_rows; row->name != NULL; row++) {
		print_message("%s: %s\n", row->name, row->report);
		assert_true(is_committed(row->report));
		assert_true(row->cuda_from >= 12050 && row->cuda_from <= row->cuda_to);
	}
	assert_true(is_committed("README.md"));
	assert_false(is_committed("never-made.md"));
	assert_false(is_committed("../results/README.md"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_combination),
		cmocka_unit_test(reasons),
		cmocka_unit_test(reason_longer_than_its_place_is_cut),
		cmocka_unit_test(rows_cover_what_they_name),
		cmocka_unit_test(each_row_of_ours_has_its_report),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
