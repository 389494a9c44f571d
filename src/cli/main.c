/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * cuslice: finds the subcommand and hands over.
 */
#include "base/compiler.h"
#include "cli/commands.h"
#include "cuslice/cuslice.h"

#include <stdio.h>
#include <string.h>

static const struct command {
	const char *name;
	const char *shown_name;
	int (*run)(int argc, char *argv[]);
	const char *sentence;
} commands[] = {
	{"run", "cuslice run", command_run, "Run a program inside a slice"},
};

static int print_help(FILE *out)
{
	fprintf(out, "Usage: cuslice COMMAND [OPTION...]\n"
		     "Hold unmodified CUDA programs to a slice of a GPU.\n\nCommands:\n");
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].sentence);
	fprintf(out, "\n  --help     this text; `cuslice COMMAND --help` says more\n"
		     "  --version  the version\n");
	return out == stdout ? 0 : EXIT_OWN_ERROR;
}

static int print_version(void)
{
	printf("cuslice %d.%d.%d\n", CUSLICE_VERSION_MAJOR, CUSLICE_VERSION_MINOR,
		CUSLICE_VERSION_PATCH);
	return 0;
}

int main(int argc, char *argv[])
{
	if (argc < 2)
		return print_help(stderr);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
		strcmp(argv[1], "help") == 0)
		return print_help(stdout);
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
		return print_version();
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (strcmp(argv[1], commands[i].name) == 0) {
			argv[1] = (char *)commands[i].shown_name;
			return commands[i].run(argc - 1, argv + 1);
		}
	}
	fprintf(stderr, "cuslice: no command \"%s\"; `cuslice --help` lists them\n", argv[1]);
	return EXIT_OWN_ERROR;
}
