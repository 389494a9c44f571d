/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * cuslice run: checks the limits, puts them into the environment and becomes the program.
 */
#include "base/units.h"
#include "cli/commands.h"
#include "cli/preload_path.h"

#include <argp.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct run_options {
	const char *memory, *compute;
	char **command; /* NULL-terminated, in argv */
};

static const struct argp_option run_argp_options[] = {
	{"memory", 'm', "SIZE", 0, "Device memory: 4GiB, 512MiB, 4GB (10^9), 50%, or bytes", 0},
	{"compute", 'c', "SHARE", 0, "Share of the compute: 25%, 0.25 or 32sm", 0},
	{0},
};

static void check(struct argp_state *state, char option, const char *value, const char *reason)
{
	if (reason != NULL)
		argp_error(state, "-%c \"%s\": %s", option, value, reason);
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct run_options *options = state->input;
	struct size_value size;
	struct share_value share;

	switch (key) {
	case 'm':
		check(state, 'm', arg, units_parse_size(arg, &size));
		options->memory = arg;
		return 0;
	case 'c':
		check(state, 'c', arg, units_parse_share(arg, &share));
		options->compute = arg;
		return 0;
	case ARGP_KEY_ARG:
		/* The first word that is no option begins the program's own command line. */
		options->command = &state->argv[state->next - 1];
		state->next = state->argc;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "a command to run is needed");
		return EINVAL;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int set_limit(const char *variable, const char *value)
{
	return value == NULL ? 0 : setenv(variable, value, 1);
}

static int become(char *command[])
{
	execvp(command[0], command);
	int status = errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
	fprintf(stderr, "cuslice: cannot run \"%s\": %s\n", command[0], strerror(errno));
	return status;
}

int command_run(int argc, char *argv[])
{
	static const struct argp argp = {
		.options = run_argp_options,
		.parser = parse_option,
		.args_doc = "[--] COMMAND [ARG...]",
		.doc = "Run COMMAND inside a slice. Its limits and the library are put into the "
		       "environment (CUSLICE_MEMORY, CUSLICE_COMPUTE, LD_PRELOAD), and cuslice "
		       "becomes COMMAND.\v"
		       "Exit status: COMMAND's own; 125 where cuslice itself fails, 126 where "
		       "COMMAND cannot be run, 127 where it is not found.",
	};
	struct run_options options = {0};

	argp_err_exit_status = EXIT_OWN_ERROR;
	argp_program_version = NULL;
	if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &options) != 0)
		return EXIT_OWN_ERROR;
	char *library = preload_path_find();
	bool is_preloaded = library != NULL && preload_path_set(library) == 0;
	free(library);
	if (!is_preloaded)
		return EXIT_OWN_ERROR;
	if (set_limit("CUSLICE_MEMORY", options.memory) != 0 ||
		set_limit("CUSLICE_COMPUTE", options.compute) != 0) {
		fprintf(stderr, "cuslice: the environment has no room\n");
		return EXIT_OWN_ERROR;
	}
	return become(options.command);
}
