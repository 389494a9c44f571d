/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "members.h"

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "protocol.h"
#include "task.h"

#define HELD_BYTES 4096

bool members_make_folder(char ret_folder[PATH_MAX])
{
	/* In memory, as groups are. */
	bool has_shm = access("/dev/shm", W_OK | X_OK) == 0;

	snprintf(ret_folder, PATH_MAX, "%s/cuslice-bench-XXXXXX", has_shm ? "/dev/shm" : "/tmp");
	if (mkdtemp(ret_folder) != NULL)
		return true;
	fprintf(stderr, "cuslice-bench: %s: %s\n", ret_folder, strerror(errno));
	return false;
}

void members_remove_folder(const char *folder)
{
	DIR *files = opendir(folder);
	struct dirent *file;

	while (files != NULL && (file = readdir(files)) != NULL) {
		if (strcmp(file->d_name, ".") != 0 && strcmp(file->d_name, "..") != 0)
			unlinkat(dirfd(files), file->d_name, 0);
	}
	if (files != NULL)
		closedir(files);
	rmdir(folder);
}

bool members_start(struct members *members, char **environment)
{
	uint32_t ready;

	while (members->count < MEMBERS_COUNT) {
		struct child *member = &members->all[members->count];
		if (!child_start(MODE_MEMBER, environment, member))
			return false;
		members->count++;
		if (!protocol_receive(member->fd, &ready, sizeof(ready))) {
			fprintf(stderr, "cuslice-bench: a process could not join the group\n");
			return false;
		}
	}
	return true;
}

bool members_end(struct members *members)
{
	bool is_well = true;

	while (members->count > 0) {
		if (!child_end(&members->all[--members->count]))
			is_well = false;
	}
	return is_well;
}

int members_main(void)
{
	struct task task;
	CUdeviceptr held;
	uint32_t ready = 1;

	if (!task_open(&task) || task.cuda.cuMemAlloc_v2(&held, HELD_BYTES) != CUDA_SUCCESS ||
		!protocol_send(CHILD_FD, &ready, sizeof(ready)))
		return EXIT_FAILURE;
	/* Until our parent closes its end. */
	while (protocol_receive(CHILD_FD, &ready, sizeof(ready)))
		continue;
	return EXIT_SUCCESS;
}
