/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * cuslice-bench: what the library costs beside the bare driver.
 */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "measure.h"
#include "paths.h"
#include "report.h"
#include "rows.h"
#include "worker.h"

#define BATCHES       31
#define QUICK_BATCHES 5
#define QUICK_DIVISOR 10

/* Exit status of a wrong command line. */
#define EXIT_USAGE 2

enum {
	KEY_DRIVER = 1,
	KEY_ROWS,
	KEY_LIST,
	KEY_QUICK,
	KEY_BATCHES,
	KEY_JSON,
	KEY_PRELOAD,
	KEY_COUNT,
	KEY_CALLS,
	KEY_PARTS
};

struct options {
	struct measure measure;
	bool is_chosen[ROW_COUNT]; /* by index of rows[]; none means all */
	bool is_any_chosen;
	const char *json, *library;
	const struct row *counted; /* --count */
	unsigned calls, parts;
};

static const struct argp_option option_table[] = {
	{"driver", KEY_DRIVER, "null|real", 0,
		"What is under it: simgpu's null mode (default), or the driver of this machine", 0},
	{"rows", KEY_ROWS, "NAME,...", 0, "Only these rows; --list names them", 0},
	{"list", KEY_LIST, NULL, 0, "Name the rows", 0},
	{"quick", KEY_QUICK, NULL, 0, "Few and small batches: coarse", 0},
	{"batches", KEY_BATCHES, "N", 0, "Batches of each row and side, 31", 0},
	{"json", KEY_JSON, "FILE", 0,
		"Also as JSON; - is standard output, and the table goes to standard error", 0},
	{"preload", KEY_PRELOAD, "FILE", 0, "Measure this library instead of libcuslice.so", 0},
	{"count", KEY_COUNT, "NAME", OPTION_HIDDEN, "", 0},
	{"calls", KEY_CALLS, "N", OPTION_HIDDEN, "", 0},
	{"parts", KEY_PARTS, "N", OPTION_HIDDEN, "", 0},
	{0},
};

static void choose_rows(struct argp_state *state, char *names)
{
	struct options *options = state->input;

	for (char *name = strtok(names, ","); name != NULL; name = strtok(NULL, ",")) {
		const struct row *row = row_find(name);
		if (row == NULL)
			argp_error(state, "no row \"%s\"; --list names them", name);
		else
			options->is_chosen[row - rows] = options->is_any_chosen = true;
	}
}

static const struct row *read_row(struct argp_state *state, const char *name)
{
	const struct row *row = row_find(name);

	if (row == NULL)
		argp_error(state, "no row \"%s\"; --list names them", name);
	return row;
}

static unsigned read_count(struct argp_state *state, const char *text, unsigned limit)
{
	char *end;
	unsigned long count = strtoul(text, &end, 10);

	if (text[0] < '0' || text[0] > '9' || *end != '\0' || count == 0 || count > limit)
		argp_error(state, "\"%s\": a number from 1 to %u is needed", text, limit);
	return (unsigned)count;
}

static void list_rows(void)
{
	for (size_t i = 0; i < ROW_COUNT; i++)
		printf("%-14s %s\n", rows[i].name, rows[i].title);
	exit(EXIT_SUCCESS);
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct options *options = state->input;
	struct measure *measure = &options->measure;

	switch (key) {
	case KEY_DRIVER:
		measure->is_real = strcmp(argument, "real") == 0;
		if (!measure->is_real && strcmp(argument, "null") != 0)
			argp_error(state, "\"%s\": the driver is null or real", argument);
		return 0;
	case KEY_ROWS:
		choose_rows(state, argument);
		return 0;
	case KEY_LIST:
		list_rows();
		return 0;
	case KEY_QUICK:
		measure->batches = QUICK_BATCHES;
		measure->divisor = QUICK_DIVISOR;
		return 0;
	case KEY_BATCHES:
		measure->batches = read_count(state, argument, MEASURE_MAX_BATCHES);
		return 0;
	case KEY_JSON:
		options->json = argument;
		return 0;
	case KEY_PRELOAD:
		options->library = argument;
		return 0;
	case KEY_COUNT:
		options->counted = read_row(state, argument);
		return 0;
	case KEY_CALLS:
		options->calls = read_count(state, argument, 100000000);
		return 0;
	case KEY_PARTS:
		options->parts = read_count(state, argument, 1000000);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static bool write_json(const struct report *report, const char *path)
{
	if (path == NULL)
		return true;
	bool is_stdout = strcmp(path, "-") == 0;
	FILE *out = is_stdout ? stdout : fopen(path, "we");
	if (out == NULL) {
		perror(path);
		return false;
	}
	report_print_json(report, out);
	bool is_written = ferror(out) == 0 && fflush(out) == 0;
	if (!is_stdout && fclose(out) != 0)
		is_written = false;
	if (!is_written)
		perror(path);
	return is_written;
}

static bool measure_all(struct options *options, struct report *report, struct result *results)
{
	if (!measure_describe(&options->measure))
		return false;
	for (size_t i = 0; i < ROW_COUNT; i++) {
		if (options->is_any_chosen && !options->is_chosen[i])
			continue;
		if (!measure_row(&options->measure, &rows[i], &results[report->count]))
			return false;
		report->count++;
	}
	return true;
}

static int run_in_folder(struct options *options, const char *library, const char *group)
{
	struct result results[ROW_COUNT];
	struct report report = {
		.measure = &options->measure,
		.results = results,
		.clock_ns = stats_clock_ns(),
	};

	if (!environments_make(
		    library, group, options->measure.is_real, &options->measure.environments))
		return EXIT_FAILURE;
	/* A real driver has threads of its own. */
	if (!options->measure.is_real)
		children_share_core();
	bool is_measured = measure_all(options, &report, results);
	if (!measure_end(&options->measure) || !is_measured)
		return EXIT_FAILURE;
	bool is_json_stdout = options->json != NULL && strcmp(options->json, "-") == 0;
	report_print_table(&report, is_json_stdout ? stderr : stdout);
	return write_json(&report, options->json) ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int run_benchmark(struct options *options)
{
	char library[PATH_MAX], group[PATH_MAX];

	const char *preload = options->library;
	if (preload == NULL && paths_of_library(library))
		preload = library;
	if (preload == NULL || !members_make_folder(group))
		return EXIT_FAILURE;
	int status = run_in_folder(options, preload, group);
	members_remove_folder(group);
	return status;
}

int main(int argc, char *argv[])
{
	static const struct argp parser = {
		.options = option_table,
		.parser = parse_option,
		.doc = "Measures what libcuslice.so costs beside the bare driver.",
	};
	struct options options = {
		.measure = {.batches = BATCHES, .divisor = 1},
		.calls = 1,
		.parts = 1,
	};

	/* A process that is to do nothing parses nothing either. */
	if (argc == 2 && strcmp(argv[1], MODE_NOTHING) == 0)
		return EXIT_SUCCESS;
	if (argc == 2 && strcmp(argv[1], MODE_INIT) == 0)
		return worker_init_main();
	if (argc == 2 && strcmp(argv[1], MODE_MEMBER) == 0)
		return members_main();
	if (argc == 2 && strcmp(argv[1], MODE_WORKER) == 0)
		return worker_main();
	argp_err_exit_status = EXIT_USAGE;
	argp_parse(&parser, argc, argv, 0, NULL, &options);
	if (options.counted != NULL)
		return worker_count_main(options.counted, options.calls, options.parts);
	return run_benchmark(&options);
}
