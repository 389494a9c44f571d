/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * gpu-families FAMILY: what device memory of one family (linear, array, pool, ...) really takes
 * beside what is charged for it, as CSV. What is really taken is told by another process, which has
 * nothing preloaded: the drop of what the driver calls free there. "context" is this process's own
 * primary context, and a second one.
 */
#include "cuslice/cuslice.h"
#include "families.h"

#include <dlfcn.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define REPEATS 2

/* The other process answers each byte with what is free. */
struct watcher {
	pid_t pid;
	int ask, answer;
};

/* Bytes in use, each from some constant on. */
struct reading {
	uint64_t real, charged, seen; /* seen: by cuMemGetInfo here */
};

typedef int read_slice(int device, struct cuslice_slice *ret_slice, size_t size);

static struct watcher watcher;
static read_slice *read_ledger; /* NULL: bare */

static int watch(void)
{
	char byte;

	probe_open();
	while (read(STDIN_FILENO, &byte, 1) == 1) {
		uint64_t free_bytes = probe_free_bytes();
		if (write(STDOUT_FILENO, &free_bytes, sizeof(free_bytes)) != sizeof(free_bytes))
			return 1;
	}
	return 0;
}

static void fail(const char *text)
{
	perror(text);
	exit(PROBE_BROKEN);
}

static void start_watcher(char *program)
{
	char *argv[] = {program, "--watch", NULL};
	posix_spawn_file_actions_t actions;
	int ask[2], answer[2];
	char *preload = getenv("LD_PRELOAD");
	char *kept = preload == NULL ? NULL : strdup(preload);

	if (pipe(ask) != 0 || pipe(answer) != 0)
		fail("pipe");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ask[0], STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, answer[1], STDOUT_FILENO);
	posix_spawn_file_actions_addclose(&actions, ask[1]);
	posix_spawn_file_actions_addclose(&actions, answer[0]);
	unsetenv("LD_PRELOAD");
	if (posix_spawn(&watcher.pid, "/proc/self/exe", &actions, NULL, argv, environ) != 0)
		fail("posix_spawn");
	if (kept != NULL)
		setenv("LD_PRELOAD", kept, 1);
	free(kept);
	posix_spawn_file_actions_destroy(&actions);
	close(ask[0]);
	close(answer[1]);
	watcher.ask = ask[1];
	watcher.answer = answer[0];
}

static void stop_watcher(void)
{
	close(watcher.ask);
	waitpid(watcher.pid, NULL, 0);
}

static uint64_t free_elsewhere(void)
{
	uint64_t free_bytes = 0;

	if (write(watcher.ask, "", 1) != 1 ||
		read(watcher.answer, &free_bytes, sizeof(free_bytes)) != sizeof(free_bytes))
		fail("the watcher");
	return free_bytes;
}

/* Before the context is there, its own process sees nothing. */
static struct reading read_now(bool has_context)
{
	struct cuslice_slice slice = {0};
	struct reading reading;

	reading.seen = UINT64_MAX / 2 - (has_context ? probe_free_bytes() : 0);
	if (read_ledger != NULL)
		(void)read_ledger(0, &slice, sizeof(slice));
	reading.charged = slice.used_bytes;
	reading.real = UINT64_MAX / 2 - free_elsewhere();
	return reading;
}

static void say(const char *name, const char *when, struct reading from, struct reading to)
{
	printf("%s,%s,CUDA_SUCCESS,%lld,%lld,%lld\n", name, when, (long long)(to.real - from.real),
		(long long)(to.charged - from.charged), (long long)(to.seen - from.seen));
}

static void measure(const struct family *family)
{
	struct reading start = read_now(true);

	for (int i = 0; i < REPEATS; i++) {
		CUresult res = family->take();
		if (res != CUDA_SUCCESS) {
			const char *name = "unknown";
			(void)cuGetErrorName(res, &name);
			printf("%s,taken,%s,0,0,0\n", family->name, name);
			return;
		}
		say(family->name, i == 0 ? "taken" : "again", start, read_now(true));
		family->give();
		say(family->name, i == 0 ? "given" : "given again", start, read_now(true));
	}
}

int main(int argc, char *argv[])
{
	bool is_known = false;

	if (argc == 2 && strcmp(argv[1], "--watch") == 0)
		return watch();
	if (argc != 2) {
		fprintf(stderr, "usage: %s FAMILY\n", argv[0]);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	start_watcher(argv[0]);
	read_ledger = (read_slice *)dlsym(RTLD_DEFAULT, "cuslice_read");
	puts("name,when,result,real,charged,seen");
	struct reading before = read_now(false);
	probe_open();
	struct reading after = read_now(true);
	after.seen = before.seen;
	if (strcmp(argv[1], "context") == 0)
		say("the first context", "taken", before, after);
	for (size_t i = 0; i < family_count; i++) {
		if (strcmp(families[i].family, argv[1]) != 0)
			continue;
		is_known = true;
		measure(&families[i]);
	}
	stop_watcher();
	if (!is_known)
		fprintf(stderr, "no family \"%s\"\n", argv[1]);
	return is_known ? 0 : 2;
}
