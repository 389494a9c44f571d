/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * simgpu: the command of the simulated machine. docs/simgpu.md describes it.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "launch.h"
#include "server.h"
#include "settings.h"

static const struct {
	const char *name, *arguments, *purpose;
	int (*run)(int argc, char **argv);
} commands[] = {
	{"run", "[--dir DIR] [--file FILE] [-s KEY=VALUE]... [--] PROGRAM ARG...",
		"run a program on a machine of its own", command_run},
	{"start", "--dir DIR [--file FILE] [-s KEY=VALUE]...",
		"start a machine and print the pid of its server", command_start},
	{"stop", "[--dir DIR]", "stop it", command_stop},
	{"set", "[--dir DIR] KEY=VALUE...", "change settings while it runs", command_set},
	{"fail", "[--dir DIR] SYMBOL RESULT [COUNT]",
		"let the next calls of a driver function fail", command_fail},
	{"account", "[--dir DIR] [--json]", "tell who holds and used what", command_account},
	{"watch", "[--dir DIR] [--every DURATION]",
		"tell again and again how much GPU time each process has used", command_watch},
	{"wait-idle", "[--dir DIR]", "wait until nothing is queued or runs", command_wait_idle},
	{"serve", "--dir DIR [--file FILE] [-s KEY=VALUE]...", "start a machine in the foreground",
		command_serve},
};
#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static void print_help(FILE *to)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		fprintf(to, "simgpu %s %s\n        %s\n", commands[i].name, commands[i].arguments,
			commands[i].purpose);
	fputs("Without --dir the machine is the one in $SIMGPU_DIR. The keys are in "
	      "docs/simgpu.md.\n",
		to);
}

struct serve_args {
	struct settings settings;
	struct server_options options;
};

static bool read_serve_option(struct serve_args *args, int option, char *error)
{
	switch (option) {
	case 'd':
		return true; /* read before: the settings need it */
	case 'f':
		return settings_read_file(&args->settings, optarg, error);
	case 's':
		return settings_set(&args->settings, optarg, false, error);
	case 'r':
		args->options.ready_fd = atoi(optarg);
		return true;
	case 't':
		args->options.is_temporary = true;
		return true;
	case 'D':
		args->options.is_detached = true;
		return true;
	default:
		strcpy(error, "the options of \"serve\" are not understood");
		return false;
	}
}

/* The last --dir, or NULL. */
static const char *find_dir(int argc, char **argv)
{
	const char *dir = NULL;
	for (int i = 1; i + 1 < argc; i++) {
		if (strcmp(argv[i], "--dir") == 0)
			dir = argv[i + 1];
	}
	return dir;
}

int command_serve(int argc, char **argv)
{
	static const struct option options[] = {{"dir", required_argument, NULL, 'd'},
		{"file", required_argument, NULL, 'f'}, {"setting", required_argument, NULL, 's'},
		{"ready-fd", required_argument, NULL, 'r'}, {"temporary", no_argument, NULL, 't'},
		{"detached", no_argument, NULL, 'D'}, {NULL, 0, NULL, 0}};
	static struct serve_args args;
	char error[SETTINGS_ERROR_LEN];
	const char *dir = find_dir(argc, argv);
	int option;

	if (!dir)
		return command_usage("serve --dir DIR [--file FILE] [-s KEY=VALUE]...");
	settings_init(&args.settings, dir);
	args.options = (struct server_options){.dir = dir, .ready_fd = -1};
	optind = 1;
	bool is_good = true;
	while (is_good && (option = getopt_long(argc, argv, "+s:", options, NULL)) != -1)
		is_good = read_serve_option(&args, option, error);
	if (is_good && optind == argc && settings_check(&args.settings, error))
		return server_run(&args.settings, &args.options);
	if (is_good && optind < argc)
		snprintf(error, sizeof(error), "\"%.128s\": what is it for?", argv[optind]);
	fprintf(stderr, "simgpu: %s\n", error);
	return EXIT_SIMGPU;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		if (strcmp(commands[i].name, name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	}
	bool is_asked = strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0;
	print_help(is_asked ? stdout : stderr);
	return is_asked ? 0 : 2;
}
