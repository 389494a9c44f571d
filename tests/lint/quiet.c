/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A program that never uses CUDA but asks whether it is there, as many do. It is run with the
 * preload, built for glibc and for musl, and tells by its exit status alone whether the preload
 * kept out of its way: quiet.py adds what is seen from outside.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum verdict {
	QUIET = 0,
	CUDA_APPEARED = 10,
	LOOKUP_BROKEN,
	DLOPEN_BROKEN,
	THREAD_APPEARED,
	FILE_APPEARED,
	FORK_BROKEN,
};

static int count_entries(const char *path)
{
	DIR *dir = opendir(path);
	int count = 0;

	if (dir == NULL)
		return -1;
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count - 2; /* . and .. */
}

/* RTLD_NEXT is not asked: it leaves by a jump and is answered by the dynamic linker alone, which
 * sees our exports behind the program. A call through that gets CUDA_ERROR_NO_DEVICE. */
static bool cuda_appears(void)
{
	static const char *const names[] = {"cuInit", "cuMemAlloc_v2", "cuGetProcAddress",
		"cuGetProcAddress_v2", "cuNoSuchName"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (dlsym(RTLD_DEFAULT, names[i]) != NULL)
			return true;
	return dlopen("libcuda.so.1", RTLD_NOW) != NULL;
}

static bool lookups_work(void)
{
	size_t (*length)(const char *);

	*(void **)&length = dlsym(RTLD_DEFAULT, "strlen");
	return length != NULL && length("quiet") == 5 &&
	       dlsym(RTLD_DEFAULT, "no_such_function") == NULL && dlerror() != NULL;
}

static bool dlopen_works(void)
{
	void *program = dlopen(NULL, RTLD_NOW);

	return program != NULL && dlsym(program, "getpid") != NULL && dlclose(program) == 0;
}

static void *return_argument(void *argument)
{
	return argument;
}

static bool threads_and_fork_work(void)
{
	pthread_t thread;
	void *result = NULL;
	int status = -1;
	pid_t child;

	if (pthread_create(&thread, NULL, return_argument, &status) != 0 ||
		pthread_join(thread, &result) != 0 || result != &status)
		return false;
	child = fork();
	if (child == 0)
		_exit(lookups_work() ? 0 : 1);
	return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

int main(void)
{
	if (cuda_appears())
		return CUDA_APPEARED;
	if (!lookups_work())
		return LOOKUP_BROKEN;
	if (!dlopen_works())
		return DLOPEN_BROKEN;
	if (!threads_and_fork_work())
		return FORK_BROKEN;
	if (count_entries("/proc/self/task") != 1)
		return THREAD_APPEARED;
	/* standard input, output and error, and the folder that is being read */
	if (count_entries("/proc/self/fd") != 4)
		return FILE_APPEARED;
	return QUIET;
}
