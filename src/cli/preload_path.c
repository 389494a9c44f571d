/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "cli/preload_path.h"
#include "base/compiler.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIBRARY "libcuslice.so"

/* From the folder of the program, but for the last. */
static const char *const places[] = {
	"/../" CUSLICE_PRELOAD_DIR "/" LIBRARY,
	"/../lib/" LIBRARY,
};

/* The folder of this program, without a slash at its end. */
static bool own_folder(char folder[PATH_MAX])
{
	ssize_t len = readlink("/proc/self/exe", folder, PATH_MAX - 1);

	if (len <= 0)
		return false;
	folder[len] = '\0';
	char *slash = strrchr(folder, '/');
	if (slash == NULL)
		return false;
	*slash = '\0';
	return true;
}

char *preload_path_find(void)
{
	char folder[PATH_MAX];

	if (own_folder(folder)) {
		for (size_t i = 0; i < ARRAY_LEN(places); i++) {
			char path[2 * PATH_MAX];
			snprintf(path, sizeof(path), "%s%s", folder, places[i]);
			char *found = realpath(path, NULL);
			if (found != NULL)
				return found;
		}
	}
	char *found = realpath(CUSLICE_PRELOAD_FULL_DIR "/" LIBRARY, NULL);
	if (found == NULL)
		fprintf(stderr,
			"cuslice: " LIBRARY " was found neither beside this program nor in "
			"%s\n",
			CUSLICE_PRELOAD_FULL_DIR);
	return found;
}

/* LD_PRELOAD is a list separated by colons and spaces. */
static bool list_has(const char *list, const char *path)
{
	size_t path_len = strlen(path);

	while (*list != '\0') {
		size_t len = strcspn(list, ": ");
		if (len == path_len && strncmp(list, path, len) == 0)
			return true;
		list += len + (list[len] != '\0');
	}
	return false;
}

int preload_path_set(const char *path)
{
	const char *old = getenv("LD_PRELOAD");
	char *list;

	if (strpbrk(path, ": ") != NULL) {
		fprintf(stderr,
			"cuslice: LD_PRELOAD cannot name \"%s\": it is a list separated by colons "
			"and spaces; install to a folder without them\n",
			path);
		return -1;
	}
	if (old == NULL || *old == '\0')
		return setenv("LD_PRELOAD", path, 1);
	if (list_has(old, path))
		return 0;
	if (asprintf(&list, "%s:%s", path, old) < 0)
		return -1;
	int res = setenv("LD_PRELOAD", list, 1);
	free(list);
	return res;
}
