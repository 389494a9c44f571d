/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "paths.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool paths_of_program(char ret_path[PATH_MAX])
{
	ssize_t len = readlink("/proc/self/exe", ret_path, PATH_MAX);

	if (len < 0 || len >= PATH_MAX)
		return false;
	ret_path[len] = '\0';
	return true;
}

/* The program is FOLDER/bin/cuslice-bench; gives FOLDER/`rest`. */
static bool beside_program(const char *rest, char ret_path[PATH_MAX])
{
	if (!paths_of_program(ret_path))
		return false;
	for (int i = 0; i < 2; i++) {
		char *slash = strrchr(ret_path, '/');
		if (slash == NULL)
			return false;
		*slash = '\0';
	}
	size_t len = strlen(ret_path), room = PATH_MAX - len;
	return (size_t)snprintf(ret_path + len, room, "/%s", rest) < room;
}

bool paths_of_library(char ret_path[PATH_MAX])
{
	return beside_program("lib/libcuslice.so", ret_path);
}

bool paths_of_linked(char ret_path[PATH_MAX])
{
	return beside_program("bench/libbench_linked.so", ret_path);
}

bool paths_of_simgpu(char ret_path[PATH_MAX])
{
	return beside_program("simgpu", ret_path);
}
