/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_tenant
 *
 * Does what it is told on stdin, one command a line, and answers with one line each: a process of
 * a group that the test has in its hand.
 *
 *   init         cuInit, and the primary context of device 0
 *   alloc MIB    free         the newest is freed first
 *   info         free and total MiB
 *   launch       a kernel, and waits for it
 *   user UID     becomes another user
 *   fork         a child obeys from now on, until `end`; then it is the parent again
 *   exec         this program once more, from its beginning
 *   profile WEIGHTS PEAK PERCENT
 *                MiB of a model; sizes its cache as vLLM does, and takes it
 *   end
 */
#include "client.h"

#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_HELD 64

static struct functions cu;
static CUdeviceptr held[MAX_HELD];
static unsigned held_count;

/* Byte by byte: what follows belongs to the child or the new program. By the bare system call,
 * for ThreadSanitizer takes descriptor 0 in a thread's own table for this one. False at the end. */
static bool read_command(char command[80])
{
	size_t len = 0;

	while (len < 79 && syscall(SYS_read, STDIN_FILENO, command + len, 1) == 1) {
		if (command[len] == '\n') {
			command[len] = '\0';
			return true;
		}
		len++;
	}
	return false;
}

static CUresult init(void)
{
	CUcontext context;

	functions_from_dlopen(&cu, "libcuda.so.1");
	CUresult res = cu.cuInit(0);
	if (res == CUDA_SUCCESS)
		res = cu.cuDevicePrimaryCtxRetain(&context, 0);
	return res == CUDA_SUCCESS ? cu.cuCtxSetCurrent(context) : res;
}

static CUresult allocate(size_t mib)
{
	must_be(held_count < MAX_HELD, "room for one more");
	CUresult res = cu.cuMemAlloc_v2(&held[held_count], mib * MIB);
	held_count += res == CUDA_SUCCESS;
	return res;
}

static CUresult free_newest(void)
{
	must_be(held_count > 0, "something to free");
	return cu.cuMemFree_v2(held[--held_count]);
}

static size_t free_mib(size_t *ret_total)
{
	size_t free_bytes, total_bytes;

	must(cu.cuMemGetInfo_v2(&free_bytes, &total_bytes), "cuMemGetInfo");
	*ret_total = total_bytes / MIB;
	return free_bytes / MIB;
}

static CUresult launch_one(void)
{
	CUmodule module;

	CUresult res = launch(&cu, load_kernel(&cu, &module), NULL);
	return res == CUDA_SUCCESS ? cu.cuCtxSynchronize() : res;
}

/* A part of the device is for this model. What the weights and the peak of a first run leave of it
 * becomes the cache; somebody else who gives memory back meanwhile would spoil the measure. */
static void profile(size_t weights, size_t peak, size_t percent)
{
	size_t total;
	size_t first = free_mib(&total), wanted = total * percent / 100;

	if (first < wanted) {
		say("profile no room: %zu of %zu MiB are free, %zu wanted", first, total, wanted);
		return;
	}
	must(allocate(weights), "weights");
	must(allocate(peak), "a first run");
	size_t lowest = free_mib(&total);
	must(free_newest(), "its end");
	must_be(lowest <= first - weights - peak, "what was taken is seen");
	size_t cache = wanted - (first - lowest);
	say("profile %d cache %zu", (int)allocate(cache), cache);
}

static void become_user(uid_t user)
{
	must_be(setgroups(0, NULL) == 0 && setgid(user) == 0 && setuid(user) == 0, "setuid");
}

static void obey(const char *program, char *command)
{
	char *word = strtok(command, " ");
	size_t numbers[3] = {0};
	size_t total;

	for (unsigned i = 0; i < 3; i++) {
		const char *text = strtok(NULL, " ");
		numbers[i] = text == NULL ? 0 : strtoul(text, NULL, 10);
	}
	if (strcmp(word, "init") == 0) {
		say("init %d", (int)init());
	} else if (strcmp(word, "alloc") == 0) {
		say("alloc %d", (int)allocate(numbers[0]));
	} else if (strcmp(word, "free") == 0) {
		say("free %d", (int)free_newest());
	} else if (strcmp(word, "info") == 0) {
		size_t left = free_mib(&total);
		say("info %zu %zu", left, total);
	} else if (strcmp(word, "launch") == 0) {
		say("launch %d", (int)launch_one());
	} else if (strcmp(word, "user") == 0) {
		become_user((uid_t)numbers[0]);
		say("user %u", (unsigned)geteuid());
	} else if (strcmp(word, "profile") == 0) {
		profile(numbers[0], numbers[1], numbers[2]);
	} else if (strcmp(word, "exec") == 0) {
		say("exec 0");
		execl(program, program, (char *)NULL);
		say("exec failed");
	} else {
		say("what is %s?", word);
	}
}

int main(int argc, char *argv[])
{
	char command[80];
	int status;

	(void)argc;
	while (read_command(command) && strcmp(command, "end") != 0) {
		if (strcmp(command, "fork") != 0) {
			obey(argv[0], command);
			continue;
		}
		pid_t child = fork();
		if (child != 0) {
			must_be(waitpid(child, &status, 0) == child, "waitpid");
			say("end %d", status);
		} else {
			held_count = 0;
			say("fork 0");
		}
	}
	return 0;
}
