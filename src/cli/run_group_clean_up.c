/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A segment is a file, and outlives its group: members end by signals as well, so the last one
 * cannot be trusted to remove it. The next `cuslice run` does.
 *
 * One that no process is a member of holds no bytes and no limits, so whoever comes later loses
 * nothing where it was removed, and makes it anew. Only a worker of another user might not be
 * allowed to; so that of a run stays as long as the process that `cuslice run` became, and any for
 * a while. Whoever becomes a member meanwhile locks a slot first and then looks whether the name
 * still leads to the file (segment_seat.c), and we hold the locks of all slots while we remove it.
 */
#include "cli/run_group.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* How long an unused one stays. Runs may be short and many, and /dev/shm in a container small. */
#ifndef YOUNGEST_RUN_S /* a test does not wait */
#define YOUNGEST_RUN_S 5
#endif
#define YOUNGEST_CONTAINER_S 60

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), end_len = strlen(end);

	return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

/* How old it has to be, in seconds; negative for what stays, as names that people have given do. */
static time_t youngest(const char *name)
{
	char *end;

	if (!ends_with(name, CONFIG_GROUP_SUFFIX))
		return -1;
	if (strncmp(name, "pidns-", 6) == 0)
		return YOUNGEST_CONTAINER_S;
	if (strncmp(name, "run-", 4) != 0)
		return -1;
	long pid = strtol(name + 4, &end, 10);
	bool is_over = pid > 1 && *end == '-' && kill((pid_t)pid, 0) != 0 && errno == ESRCH;
	return is_over ? YOUNGEST_RUN_S : -1;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* True once no member has any slot, and none will get one before the file is closed. */
static bool lock_all(int fd)
{
	struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(fd, F_OFD_SETLK, &all) == 0;
}

static void remove_unused(int folder, const char *name)
{
	time_t age = youngest(name);
	struct stat opened, named;

	if (age < 0)
		return;
	int fd = openat(folder, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return;
	if (fstat(fd, &opened) == 0 && S_ISREG(opened.st_mode) &&
		opened.st_mtime + age <= time(NULL) && lock_all(fd) &&
		fstatat(folder, name, &named, AT_SYMLINK_NOFOLLOW) == 0 && is_same(&opened, &named))
		(void)unlinkat(folder, name, 0);
	close(fd);
}

void run_group_clean_up(const char *folder)
{
	const struct dirent *entry;

	DIR *dir = opendir(folder);
	while (dir != NULL && (entry = readdir(dir)) != NULL)
		remove_unused(dirfd(dir), entry->d_name);
	if (dir != NULL)
		closedir(dir);
}
