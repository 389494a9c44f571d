/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Starting a server.
 */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static bool complain(const char *what)
{
	fprintf(stderr, "simgpu: \"%s\": %s\n", what, strerror(errno));
	return false;
}

/* Programs change their directory: they get an absolute path. */
static bool use_dir(struct launch *launch, const char *dir)
{
	if (mkdir(dir, 0700) && errno != EEXIST)
		return complain(dir);
	return realpath(dir, launch->dir) ? true : complain(dir);
}

static bool forward(struct launch *launch, const char *option, const char *value)
{
	if (launch->arg_count + 2 > LAUNCH_MAX_ARGS) {
		fputs("simgpu: too many settings\n", stderr);
		return false;
	}
	launch->args[launch->arg_count++] = option;
	launch->args[launch->arg_count++] = value;
	return true;
}

bool launch_read_options(int argc, char **argv, struct launch *ret_launch, int *ret_rest)
{
	static const struct option options[] = {{"dir", required_argument, NULL, 'd'},
		{"file", required_argument, NULL, 'f'}, {"setting", required_argument, NULL, 's'},
		{NULL, 0, NULL, 0}};
	bool is_good = true;
	int option;
	optind = 1;
	while (is_good && (option = getopt_long(argc, argv, "+s:", options, NULL)) != -1) {
		if (option == 'd')
			is_good = use_dir(ret_launch, optarg);
		else if (option == 'f')
			is_good = forward(ret_launch, "--file", optarg);
		else if (option == 's')
			is_good = forward(ret_launch, "-s", optarg);
		else
			is_good = false; /* getopt has said why */
	}
	*ret_rest = optind;
	return is_good;
}

static bool make_temporary_dir(struct launch *launch)
{
	const char *base = getenv("TMPDIR");
	if (!base || base[0] != '/')
		base = "/tmp";
	snprintf(launch->dir, sizeof(launch->dir), "%s/simgpu-XXXXXX", base);
	launch->is_temporary = true;
	return mkdtemp(launch->dir) ? true : complain(launch->dir);
}

static _Noreturn void become_server(const struct launch *launch, pid_t parent, int ready_fd)
{
	const char *argv[LAUNCH_MAX_ARGS + 10];
	char fd_text[16];
	int count = 0;

	snprintf(fd_text, sizeof(fd_text), "%d", ready_fd);
	argv[count++] = "simgpu";
	argv[count++] = "serve";
	argv[count++] = "--dir";
	argv[count++] = launch->dir;
	argv[count++] = "--ready-fd";
	argv[count++] = fd_text;
	if (launch->is_temporary)
		argv[count++] = "--temporary";
	if (launch->is_detached)
		argv[count++] = "--detached";
	for (int i = 0; i < launch->arg_count; i++)
		argv[count++] = launch->args[i];
	argv[count] = NULL;

	/* A group of its own: a ^C is meant for the program, which the server has to outlive. */
	setsid();
	if (!launch->is_detached)
		prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(EXIT_SIMGPU);
	/* What is preloaded is meant for the program, too. */
	unsetenv("LD_PRELOAD");
	execv("/proc/self/exe", (char *const *)argv);
	complain("/proc/self/exe");
	_exit(EXIT_SIMGPU);
}

/* Whether the server said that it accepts; it closes the pipe without a word if it cannot. */
static bool wait_until_ready(int fd)
{
	char byte;
	ssize_t got;
	do
		got = read(fd, &byte, 1);
	while (got < 0 && errno == EINTR);
	return got == 1;
}

pid_t launch_server(struct launch *launch)
{
	int ready[2];
	if (launch->dir[0] == '\0' && !make_temporary_dir(launch))
		return -1;
	if (pipe2(ready, O_CLOEXEC)) {
		complain("pipe");
		return -1;
	}
	pid_t parent = getpid(), pid = fork();
	if (pid == 0) {
		fcntl(ready[1], F_SETFD, 0);
		become_server(launch, parent, ready[1]);
	}
	close(ready[1]);
	bool is_ready = pid > 0 && wait_until_ready(ready[0]);
	close(ready[0]);
	if (is_ready)
		return pid;
	if (pid < 0)
		complain("fork");
	else
		waitpid(pid, NULL, 0);
	if (launch->is_temporary)
		rmdir(launch->dir);
	return -1;
}
