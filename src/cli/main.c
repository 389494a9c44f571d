/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * cuslice: finds the subcommand and hands over.
 */
#include "base/compiler.h"
#include "cli/commands.h"
#include "config/config_parse.h"
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
	{"explain", "cuslice explain", command_explain,
		"Show each setting and its source, what lost and why, the group, the tenants"},
};

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (strcmp(name, commands[i].name) == 0)
			return &commands[i];
	}
	return NULL;
}

static int print_help(FILE *out)
{
	fprintf(out, "Usage: cuslice COMMAND [OPTION...]\n"
		     "Hold unmodified CUDA programs to a slice of a GPU.\n\nCommands:\n");
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].sentence);
	fprintf(out, "  %-8s This text; `cuslice help COMMAND` says more\n", "help");
	fprintf(out, "\nSettings in the environment; in INI files the same without CUSLICE_, in "
		     "lower case:\n");
	for (unsigned i = 0; i < CONFIG_KEY_COUNT; i++)
		fprintf(out, "  %-17s %s\n", config_options[i].variable,
			config_options[i].sentence);
	fprintf(out, "\n  --help     this text\n  --version  the version\n");
	return out == stdout ? 0 : EXIT_OWN_ERROR;
}

static int print_version(void)
{
	printf("cuslice %d.%d.%d\n", CUSLICE_VERSION_MAJOR, CUSLICE_VERSION_MINOR,
		CUSLICE_VERSION_PATCH);
	return 0;
}

static int run_command(const char *name, int argc, char *argv[])
{
	const struct command *command = find_command(name);

	if (command == NULL) {
		fprintf(stderr, "cuslice: no command \"%s\"; `cuslice --help` lists them\n", name);
		return EXIT_OWN_ERROR;
	}
	argv[0] = (char *)command->shown_name;
	return command->run(argc, argv);
}

int main(int argc, char *argv[])
{
	if (argc < 2)
		return print_help(stderr);
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
		return print_version();
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return print_help(stdout);
	if (strcmp(argv[1], "help") != 0)
		return run_command(argv[1], argc - 1, argv + 1);
	if (argc == 2)
		return print_help(stdout);
	return run_command(argv[2], 2, (char *[]){NULL, (char *)"--help", NULL});
}
