/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * cuslice run: checks the limits, puts them into the environment and becomes the program.
 */
#include "cli/commands.h"
#include "cli/preload_path.h"
#include "cli/run_group.h"
#include "config/config_parse.h"
#include "partition/mps.h"

#include <argp.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPTION_CONFIG = 0x100, OPTION_DRY_RUN, OPTION_GROUP };

/* The options that stand for a setting. */
static const struct {
	int option;
	const char *name, *argument;
	enum config_key key;
} limit_options[] = {
	{'m', "memory", "SIZE", CONFIG_MEMORY},
	{'c', "compute", "SHARE", CONFIG_COMPUTE},
	{'b', "burst", "TIME", CONFIG_BURST},
};
#define LIMITS ARRAY_LEN(limit_options)

struct run_options {
	const char *limits[LIMITS]; /* as in limit_options, NULL where not given */
	struct config_devices devices[CONFIG_MAX_DEVICES];
	unsigned device_count; /* 0: every device */
	char *config_file;     /* absolute; from malloc */
	const char *group;     /* NULL where not given */
	bool is_dry;
	char **command; /* NULL-terminated, in argv; NULL without one */
};

/* `4 GiB` is fine, but a line of an environment file had better be one word. */
static void remove_blanks(char *text)
{
	char *to = text;

	for (; *text != '\0'; text++) {
		if (*text != ' ')
			*to++ = *text;
	}
	*to = '\0';
}

static bool parse_limit(int key, char *arg, struct argp_state *state)
{
	struct run_options *options = state->input;

	for (size_t i = 0; i < LIMITS; i++) {
		if (limit_options[i].option != key)
			continue;
		struct config_value value = {.key = limit_options[i].key};
		const char *reason = config_parse_value(arg, &value);
		if (reason != NULL)
			argp_error(state, "-%c \"%s\": %s", key, arg, reason);
		remove_blanks(arg);
		options->limits[i] = arg;
		return true;
	}
	return false;
}

/* `0`, `0,1`, `GPU-<uuid>`, as nvidia-smi takes them. */
static void parse_devices(const char *list, struct argp_state *state)
{
	struct run_options *options = state->input;

	if (options->device_count > 0)
		argp_error(state, "-i can be given once; name all devices in it: -i 0,1");
	for (const char *at = list;; at++) {
		size_t len = strcspn(at, ",");
		if (options->device_count == CONFIG_MAX_DEVICES ||
			!config_parse_device(at, len, &options->devices[options->device_count++]))
			argp_error(state,
				"-i \"%s\": name devices as nvidia-smi counts them (0 to %d), or "
				"by GPU-<uuid> or MIG-<uuid>, separated by commas",
				list, CONFIG_MAX_DEVICES - 1);
		at += len;
		if (*at == '\0')
			return;
	}
}

static const char *parse_group(const char *text, struct argp_state *state)
{
	struct config_value value = {.key = CONFIG_GROUP};
	const char *reason = config_parse_value(text, &value);

	if (reason != NULL)
		argp_error(state, "--group \"%s\": %s", text, reason);
	return text;
}

/* The program may change its folder, and has no GPU if the file is wrong: better to say so now. */
static void parse_config_file(const char *path, struct argp_state *state)
{
	static struct config config;
	struct run_options *options = state->input;
	char *variable;

	char *absolute = realpath(path, NULL);
	if (absolute == NULL || strchr(absolute, '\n') != NULL ||
		asprintf(&variable, "CUSLICE_CONFIG=%s", absolute) < 0) {
		argp_failure(state, EXIT_OWN_ERROR, absolute == NULL ? errno : 0,
			"--config \"%s\" cannot be used", path);
		return;
	}
	config_read_from((char *const[]){variable, NULL}, NULL, false, &config);
	free(variable);
	for (unsigned i = 0; i < config.problem_count && i < CONFIG_MAX_PROBLEMS; i++)
		fprintf(stderr, "cuslice run: %s\n", config.problems[i]);
	if (config.problem_count > 0)
		argp_failure(state, EXIT_OWN_ERROR, 0, "--config \"%s\" is not understood", path);
	free(options->config_file);
	options->config_file = absolute;
}

static void check_together(struct argp_state *state)
{
	const struct run_options *options = state->input;
	bool has_limit = false;

	for (size_t i = 0; i < LIMITS; i++)
		has_limit |= options->limits[i] != NULL;
	if (options->device_count > 0 && !has_limit)
		argp_error(state, "-i says which devices -m, -c and -b are for, and none of these "
				  "is given; CUDA_VISIBLE_DEVICES chooses devices");
	if (options->command == NULL && !options->is_dry)
		argp_error(state, "a command to run is needed");
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct run_options *options = state->input;

	switch (key) {
	case 'i':
		parse_devices(arg, state);
		return 0;
	case OPTION_CONFIG:
		parse_config_file(arg, state);
		return 0;
	case OPTION_GROUP:
		options->group = parse_group(arg, state);
		return 0;
	case OPTION_DRY_RUN:
		options->is_dry = true;
		return 0;
	case ARGP_KEY_ARG:
		/* The first word that is no option begins the program's own command line. */
		options->command = &state->argv[state->next - 1];
		state->next = state->argc;
		return 0;
	case ARGP_KEY_END:
		check_together(state);
		return 0;
	default:
		return parse_limit(key, arg, state) ? 0 : ARGP_ERR_UNKNOWN;
	}
}

static int set_variable(const char *name, const char *value, bool is_dry)
{
	if (is_dry)
		printf("%s=%s\n", name, value);
	if (setenv(name, value, 1) == 0)
		return 0;
	fprintf(stderr, "cuslice: the environment has no room\n");
	return -1;
}

static int set_limit(const struct run_options *options, size_t i)
{
	struct config_devices every = {.by = CONFIG_EVERY_DEVICE};
	unsigned count = options->device_count;

	for (unsigned d = 0; d < (count == 0 ? 1 : count); d++) {
		const struct config_devices *devices = count == 0 ? &every : &options->devices[d];
		struct config_name name = config_variable_name(limit_options[i].key, devices);
		if (set_variable(name.text, options->limits[i], options->is_dry) != 0)
			return -1;
	}
	return 0;
}

/* So that what the program starts without the library is held by MPS as well. */
static int set_mps(bool is_dry)
{
	static struct config config;

	config_read(environ, &config);
	struct mps_plan plan = mps_plan(&config);
	return plan.is_change ? set_variable(MPS_PERCENTAGE, plan.percentage, is_dry) : 0;
}

static int set_environment(const struct run_options *options)
{
	static struct config before;
	char *library = preload_path_find();
	bool is_preloaded = library != NULL && preload_path_set(library) == 0;

	free(library);
	if (!is_preloaded)
		return -1;
	if (options->is_dry)
		printf("LD_PRELOAD=%s\n", getenv("LD_PRELOAD"));
	config_read(environ, &before);
	for (size_t i = 0; i < LIMITS; i++) {
		if (options->limits[i] != NULL && set_limit(options, i) != 0)
			return -1;
	}
	if (options->config_file != NULL && set_variable(config_options[CONFIG_CONFIG].variable,
						    options->config_file, options->is_dry) != 0)
		return -1;
	if (set_mps(options->is_dry) != 0)
		return -1;
	return run_group_set(options->group, &before, options->is_dry);
}

static int become(char *command[])
{
	execvp(command[0], command);
	int status = errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
	fprintf(stderr, "cuslice: cannot run \"%s\": %s\n", command[0], strerror(errno));
	return status;
}

/* The options of limits bear the sentences of their settings. */
static const struct argp_option *run_argp_options(void)
{
	static struct argp_option all[LIMITS + 5];

	for (size_t i = 0; i < LIMITS; i++)
		all[i] = (struct argp_option){limit_options[i].name, limit_options[i].option,
			limit_options[i].argument, 0, config_options[limit_options[i].key].sentence,
			0};
	all[LIMITS] = (struct argp_option){"gpu", 'i', "DEVICE[,DEVICE...]", 0,
		"The devices that -m, -c and -b are for, by nvidia-smi's number or GPU-<uuid>; "
		"without it they are for each device.",
		0};
	all[LIMITS + 1] = (struct argp_option){
		"config", OPTION_CONFIG, "FILE", 0, config_options[CONFIG_CONFIG].sentence, 0};
	all[LIMITS + 2] = (struct argp_option){"group", OPTION_GROUP, "NAME", 0,
		"The group that spends the slice together: made or joined by its name, the full "
		"path of a directory, or none. Without it COMMAND and all that it starts are a "
		"new one, unless a setting names one or the container that this is has limits.",
		0};
	all[LIMITS + 3] = (struct argp_option){"dry-run", OPTION_DRY_RUN, NULL, 0,
		"Print the variables as KEY=VALUE lines, for env or docker's --env-file, and run "
		"nothing.",
		0};
	return all;
}

int command_run(int argc, char *argv[])
{
	const struct argp argp = {
		.options = run_argp_options(),
		.parser = parse_option,
		.args_doc = "[--] COMMAND [ARG...]",
		.doc = "Run COMMAND inside a slice. Its limits and the library are put into the "
		       "environment (CUSLICE_MEMORY, CUSLICE_COMPUTE, ..., LD_PRELOAD), and "
		       "cuslice becomes COMMAND.\v"
		       "A limit for one device and one for each device hold together. "
		       "CUSLICE_* that are set already stay, unless an option sets the same one.\n"
		       "Exit status: COMMAND's own; 125 where cuslice itself fails, 126 where "
		       "COMMAND cannot be run, 127 where it is not found.",
	};
	struct run_options options = {0};

	argp_err_exit_status = EXIT_OWN_ERROR;
	argp_program_version = NULL;
	if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &options) != 0)
		return EXIT_OWN_ERROR;
	int res = set_environment(&options);
	free(options.config_file);
	if (res != 0)
		return EXIT_OWN_ERROR;
	if (options.is_dry)
		return fflush(stdout) == 0 ? 0 : EXIT_OWN_ERROR;
	return become(options.command);
}
