/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "child.h"

#include <errno.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "paths.h"
#include "protocol.h"

extern char **environ;

#define MAX_ADDED 6

static bool begins_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

/* What would make the two sides differ in more than the setup. */
static bool is_dropped(const char *variable, bool is_real)
{
	return begins_with(variable, "LD_PRELOAD=") || begins_with(variable, "CUSLICE_") ||
	       (!is_real && (begins_with(variable, "LD_LIBRARY_PATH=") ||
				    begins_with(variable, "SIMGPU_") ||
				    begins_with(variable, "CUDA_VISIBLE_DEVICES=")));
}

static char **copy_environment(bool is_real, size_t *ret_count)
{
	size_t count = 0;

	while (environ[count] != NULL)
		count++;
	char **copy = calloc(count + MAX_ADDED + 1, sizeof(*copy));
	*ret_count = 0;
	for (size_t i = 0; copy != NULL && i < count; i++) {
		if (!is_dropped(environ[i], is_real))
			copy[(*ret_count)++] = environ[i];
	}
	return copy;
}

static bool add(char **environment, size_t *count, const char *name, const char *value)
{
	char *variable;

	if (asprintf(&variable, "%s=%s", name, value) < 0)
		return false;
	environment[(*count)++] = variable;
	return true;
}

static bool add_limits(char **environment, size_t *count, enum setup setup, const char *group)
{
	return add(environment, count, "CUSLICE_GROUP", setup == SETUP_GROUP ? group : "none") &&
	       add(environment, count, "CUSLICE_MEMORY", "50%") &&
	       (setup != SETUP_SHARE || add(environment, count, "CUSLICE_COMPUTE", "50%")) &&
	       (setup != SETUP_WHOLE || add(environment, count, "CUSLICE_COMPUTE", "100%"));
}

static char **make(enum setup setup, const char *library, const char *group, const char *simgpu)
{
	size_t count;
	char **made = copy_environment(simgpu == NULL, &count);

	if (made == NULL ||
		(simgpu != NULL && (!add(made, &count, "SIMGPU_NULL", "1") ||
					   !add(made, &count, "LD_LIBRARY_PATH", simgpu))) ||
		(setup != SETUP_BARE && (!add(made, &count, "LD_PRELOAD", library) ||
						!add_limits(made, &count, setup, group))))
		return NULL;
	return made;
}

static bool is_there(const char *path)
{
	if (access(path, R_OK) == 0)
		return true;
	fprintf(stderr, "cuslice-bench: %s: %s\n", path, strerror(errno));
	return false;
}

bool environments_make(
	const char *library, const char *group, bool is_real, struct environments *ret_environments)
{
	char simgpu[PATH_MAX];

	if (!is_there(library) || (!is_real && (!paths_of_simgpu(simgpu) || !is_there(simgpu))))
		return false;
	for (enum setup setup = 0; setup < SETUP_COUNT; setup++) {
		char **made = make(setup, library, group, is_real ? NULL : simgpu);
		if (made == NULL) {
			fprintf(stderr, "cuslice-bench: out of memory\n");
			return false;
		}
		ret_environments->of[setup] = made;
	}
	return true;
}

void children_share_core(void)
{
	cpu_set_t cores;
	int core = sched_getcpu();

	if (core < 0)
		return;
	CPU_ZERO(&cores);
	CPU_SET((unsigned)core, &cores);
	sched_setaffinity(0, sizeof(cores), &cores);
}

static int spawn(const char *mode, char **environment, int fd, pid_t *ret_pid)
{
	static char program[PATH_MAX];
	char *arguments[] = {"cuslice-bench", (char *)mode, NULL};
	posix_spawn_file_actions_t actions;

	if (program[0] == '\0' && !paths_of_program(program))
		return ENOENT;
	int error = posix_spawn_file_actions_init(&actions);
	if (error != 0)
		return error;
	error = posix_spawn_file_actions_adddup2(&actions, fd, CHILD_FD);
	if (error == 0)
		error = posix_spawn(ret_pid, program, &actions, NULL, arguments, environment);
	posix_spawn_file_actions_destroy(&actions);
	return error;
}

bool child_start(const char *mode, char **environment, struct child *ret_child)
{
	int ends[2];

	int error = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0 ? 0 : errno;
	if (error == 0) {
		error = spawn(mode, environment, ends[1], &ret_child->pid);
		close(ends[1]);
		if (error != 0)
			close(ends[0]);
	}
	if (error != 0) {
		fprintf(stderr, "cuslice-bench: no child can be started: %s\n", strerror(error));
		return false;
	}
	ret_child->fd = ends[0];
	return true;
}

bool child_end(struct child *child)
{
	int status;
	pid_t pid;

	close(child->fd);
	child->fd = 0;
	do {
		pid = waitpid(child->pid, &status, 0);
	} while (pid < 0 && errno == EINTR);
	return pid == child->pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
