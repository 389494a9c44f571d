/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Commands that make a machine.
 */
#include "command.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch.h"

static volatile pid_t program_pid;

static void pass_on(int signal_number)
{
	int error = errno;
	kill(program_pid, signal_number);
	errno = error;
}

/* The driver and NVML lie beside this program. Returns false after a message. */
static bool show_machine(const char *dir)
{
	char path[PATH_MAX], value[2 * PATH_MAX];
	const char *old = getenv("LD_LIBRARY_PATH");
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
	if (len < 0) {
		perror("simgpu: /proc/self/exe");
		return false;
	}
	path[len] = '\0';
	*strrchr(path, '/') = '\0';
	bool has_old = old && old[0];
	int written = snprintf(
		value, sizeof(value), "%s%s%s", path, has_old ? ":" : "", has_old ? old : "");
	if ((size_t)written >= sizeof(value) || setenv("LD_LIBRARY_PATH", value, 1) ||
		setenv("SIMGPU_DIR", dir, 1)) {
		fputs("simgpu: LD_LIBRARY_PATH is too long\n", stderr);
		return false;
	}
	return true;
}

static _Noreturn void become_program(const char *dir, char **argv)
{
	if (!show_machine(dir))
		_exit(EXIT_SIMGPU);
	/* Where the machine has MPS its control socket is there; where not, none of another is. */
	setenv("CUDA_MPS_PIPE_DIRECTORY", dir, 1);
	execvp(argv[0], argv);
	int status = errno == ENOENT ? 127 : 126;
	fprintf(stderr, "simgpu: \"%s\": %s\n", argv[0], strerror(errno));
	_exit(status);
}

/* Waits as a shell does: who ends the program from the terminal does not mean us. */
static int wait_for_program(void)
{
	struct sigaction forward = {.sa_handler = pass_on}, ignore = {.sa_handler = SIG_IGN};
	int status;
	sigaction(SIGTERM, &forward, NULL);
	sigaction(SIGHUP, &forward, NULL);
	sigaction(SIGINT, &ignore, NULL);
	sigaction(SIGQUIT, &ignore, NULL);
	while (waitpid(program_pid, &status, 0) < 0) {
		if (errno != EINTR)
			return EXIT_SIMGPU;
	}
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int stop_server(pid_t pid, int status)
{
	int server_status = 0;
	kill(pid, SIGTERM);
	while (waitpid(pid, &server_status, 0) < 0 && errno == EINTR)
		continue;
	if (server_status == 0)
		return status;
	fputs("simgpu: the server did not last as long as the program\n", stderr);
	return status ? status : EXIT_SIMGPU;
}

int command_run(int argc, char **argv)
{
	struct launch launch = {0};
	int rest;
	if (!launch_read_options(argc, argv, &launch, &rest))
		return EXIT_SIMGPU;
	if (rest == argc) {
		command_usage(
			"run [--dir DIR] [--file FILE] [-s KEY=VALUE]... [--] PROGRAM ARG...");
		return EXIT_SIMGPU;
	}
	pid_t server_pid = launch_server(&launch);
	if (server_pid < 0)
		return EXIT_SIMGPU;
	program_pid = fork();
	if (program_pid == 0)
		become_program(launch.dir, argv + rest);
	if (program_pid < 0)
		perror("simgpu: fork");
	return stop_server(server_pid, program_pid < 0 ? EXIT_SIMGPU : wait_for_program());
}

int command_start(int argc, char **argv)
{
	struct launch launch = {.is_detached = true};
	int rest;
	if (!launch_read_options(argc, argv, &launch, &rest))
		return EXIT_SIMGPU;
	if (rest != argc || launch.dir[0] == '\0')
		return command_usage("start --dir DIR [--file FILE] [-s KEY=VALUE]...");
	pid_t pid = launch_server(&launch);
	if (pid < 0)
		return EXIT_SIMGPU;
	printf("%d\n", (int)pid);
	return 0;
}
