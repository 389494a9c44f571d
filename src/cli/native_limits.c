/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "cli/native_limits.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* NVML's reference names a value for no limit, but not what it is: no device has so much. */
#define NO_LIMIT_BYTES (UINT64_C(1) << 50)

bool native_cgroup_find(const char *proc_file, const char *root, char ret_folder[NATIVE_PATH_LEN])
{
	char line[NATIVE_PATH_LEN];
	const char *path = NULL;

	FILE *file = fopen(proc_file, "re");
	if (file == NULL)
		return false;
	while (path == NULL && fgets(line, sizeof(line), file) != NULL) {
		if (strncmp(line, "0::/", 4) == 0 && strchr(line, '\n') != NULL)
			path = line + 3;
	}
	fclose(file);
	/* One that is outside of what is mounted here begins with /.. */
	if (path == NULL || strncmp(path, "/..", 3) == 0)
		return false;
	line[strcspn(line, "\n")] = '\0';
	int len = snprintf(ret_folder, NATIVE_PATH_LEN, "%s%s", root, path[1] == '\0' ? "" : path);
	return len > 0 && len < (int)NATIVE_PATH_LEN;
}

/* The value of a device in a file that has a line for each, `max` for no limit. */
static bool read_value(
	const char *folder, const char *name, const char *device, uint64_t *ret_bytes)
{
	char path[NATIVE_PATH_LEN + 20], line[256], found[96], text[32];
	bool is_found = false;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	FILE *file = fopen(path, "re");
	while (file != NULL && !is_found && fgets(line, sizeof(line), file) != NULL)
		is_found =
			sscanf(line, "%95s %31s", found, text) == 2 && strcmp(found, device) == 0;
	if (file != NULL)
		fclose(file);
	return is_found && sscanf(text, "%" SCNu64, ret_bytes) == 1;
}

static struct native_limit *limit_of(struct native_limits *limits, const char *device)
{
	for (unsigned i = 0; i < limits->count; i++) {
		if (strcmp(limits->limits[i].device, device) == 0)
			return &limits->limits[i];
	}
	if (limits->count == NATIVE_LIMITS_MAX)
		return NULL;
	struct native_limit *limit = &limits->limits[limits->count++];
	*limit = (struct native_limit){.hard_bytes = NATIVE_UNLIMITED};
	snprintf(limit->device, sizeof(limit->device), "%s", device);
	return limit;
}

/* The least counts: a limit of a folder is one for all below it. */
static void note_limit(
	struct native_limits *limits, const char *folder, const char *device, uint64_t hard_bytes)
{
	struct native_limit *limit = limit_of(limits, device);

	if (limit == NULL || limit->hard_bytes <= hard_bytes)
		return;
	limit->hard_bytes = hard_bytes;
	limit->soft_bytes = limit->used_bytes = 0;
	(void)read_value(folder, "dmem.min", device, &limit->soft_bytes);
	limit->knows_used = read_value(folder, "dmem.current", device, &limit->used_bytes);
	snprintf(limit->file, sizeof(limit->file), "%.1000s/dmem.max", folder);
}

static void look_at_folder(struct native_limits *limits, const char *folder)
{
	char path[NATIVE_PATH_LEN + 20], line[256], device[96], text[32];
	uint64_t bytes;

	snprintf(path, sizeof(path), "%s/dmem.max", folder);
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return;
	while (fgets(line, sizeof(line), file) != NULL) {
		if (sscanf(line, "%95s %31s", device, text) == 2 &&
			sscanf(text, "%" SCNu64, &bytes) == 1)
			note_limit(limits, folder, device, bytes);
	}
	fclose(file);
}

void native_limits_of_cgroup(const char *root, const char *folder, struct native_limits *ret_limits)
{
	char at[NATIVE_PATH_LEN];

	ret_limits->count = 0;
	snprintf(at, sizeof(at), "%s", folder);
	while (strlen(at) >= strlen(root)) {
		look_at_folder(ret_limits, at);
		char *slash = strrchr(at, '/');
		if (slash == NULL)
			break;
		*slash = '\0';
	}
}

/* NVML's struct of the same name, by its API reference. */
struct memory_limits_v1 {
	const char *name_space; /* ours to set: the folder */
	unsigned long long soft_bytes, hard_bytes, used_bytes;
};

struct nvml {
	void *library;
	int (*init)(void);
	int (*shutdown)(void);
	int (*count)(unsigned *ret_count);
	int (*device)(unsigned index, void **ret_device);
	int (*uuid)(void *device, char *ret_uuid, unsigned len);
	int (*limits)(void *device, struct memory_limits_v1 *ret_limits);
};

static bool open_nvml(struct nvml *ret_nvml)
{
	ret_nvml->library = dlopen("libnvidia-ml.so.1", RTLD_LAZY | RTLD_LOCAL);
	if (ret_nvml->library == NULL)
		return false;
	const struct {
		const char *name;
		void *place;
	} rows[] = {
		{"nvmlInit_v2", &ret_nvml->init},
		{"nvmlShutdown", &ret_nvml->shutdown},
		{"nvmlDeviceGetCount_v2", &ret_nvml->count},
		{"nvmlDeviceGetHandleByIndex_v2", &ret_nvml->device},
		{"nvmlDeviceGetUUID", &ret_nvml->uuid},
		{"nvmlDeviceGetMemoryLimits_v1", &ret_nvml->limits},
	};
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		*(void **)rows[i].place = dlsym(ret_nvml->library, rows[i].name);
		if (*(void **)rows[i].place == NULL)
			return false;
	}
	return ret_nvml->init() == 0;
}

static void look_at_device(
	const struct nvml *nvml, unsigned index, const char *folder, struct native_limits *limits)
{
	struct memory_limits_v1 said = {.name_space = folder};
	char uuid[96];
	void *device;

	if (nvml->device(index, &device) != 0 || nvml->uuid(device, uuid, sizeof(uuid)) != 0 ||
		nvml->limits(device, &said) != 0 || said.hard_bytes >= NO_LIMIT_BYTES)
		return;
	struct native_limit *limit = limit_of(limits, uuid);
	if (limit == NULL)
		return;
	limit->hard_bytes = said.hard_bytes;
	limit->soft_bytes = said.soft_bytes;
	limit->used_bytes = said.used_bytes;
	limit->knows_used = true;
}

void native_limits_of_nvml(const char *folder, struct native_limits *ret_limits)
{
	struct nvml nvml = {.library = NULL};
	unsigned count = 0;

	ret_limits->count = 0;
	if (open_nvml(&nvml)) {
		if (nvml.count(&count) != 0)
			count = 0;
		for (unsigned i = 0; i < count; i++)
			look_at_device(&nvml, i, folder, ret_limits);
		nvml.shutdown();
	}
	if (nvml.library != NULL)
		dlclose(nvml.library);
}
