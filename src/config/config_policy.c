/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "config/config_policy.h"
#include "config/config_file.h"
#include "config/config_parse.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The number of the machine's own user namespace, in every kernel (PROC_USER_INIT_INO). */
#define INITIAL_USER_NAMESPACE 0xEFFFFFFDu

static bool is_ini_name(const char *name)
{
	size_t len = strlen(name);

	return len > 4 && *name != '.' && strcmp(name + len - 4, ".ini") == 0;
}

/* The first *.ini behind `last` in the order of names. False behind the last one, with errno set
 * where the folder could not be read to its end. Reading it once for each file needs no memory for
 * a list. */
static bool next_policy_name(DIR *dir, const char *last, char ret_name[NAME_MAX + 1])
{
	const struct dirent *entry;

	*ret_name = '\0';
	rewinddir(dir);
	while (errno = 0, (entry = readdir(dir)) != NULL) {
		if (is_ini_name(entry->d_name) && strcmp(entry->d_name, last) > 0 &&
			(*ret_name == '\0' || strcmp(entry->d_name, ret_name) < 0))
			snprintf(ret_name, NAME_MAX + 1, "%s", entry->d_name);
	}
	return *ret_name != '\0';
}

void config_policy_read(struct config *config, const char *folder)
{
	char last[NAME_MAX + 1] = "", name[NAME_MAX + 1], path[CONFIG_PATH_LEN];
	bool is_full = false;

	config->policy_dir = folder;
	DIR *dir = opendir(folder);
	if (dir == NULL && errno == ENOENT)
		return;
	config->has_policy = true;
	/* The first file that is one too many is a problem, and the last to be looked at. */
	while (dir != NULL && !is_full && next_policy_name(dir, last, name)) {
		is_full = config->file_count == CONFIG_MAX_FILES;
		if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
			config_add_problem_in(
				config, CONFIG_POLICY, "%.200s: its name is too long", path);
		else
			config_file_read(config, CONFIG_POLICY, path, false);
		memcpy(last, name, sizeof(last));
	}
	if (!is_full && errno != 0)
		config_add_problem_in(config, CONFIG_POLICY, "%.200s: %s", folder, strerror(errno));
	if (dir != NULL)
		closedir(dir);
}

/* glibc's stat() is a symbol that no glibc before 2.33 has. */
static bool look_at(const char *path, struct stat *ret_info)
{
	return syscall(SYS_newfstatat, AT_FDCWD, path, ret_info, 0) == 0;
}

/* What others than the policy said, behind it; their files get other numbers. */
static void keep_others(const struct config *before, struct config *config)
{
	unsigned numbers[CONFIG_MAX_FILES] = {0};

	for (unsigned i = 0; i < before->file_count; i++) {
		if (before->files[i].source == CONFIG_POLICY)
			continue;
		if (config->file_count == CONFIG_MAX_FILES) {
			config_add_problem_in(config, CONFIG_POLICY, "%.200s: more than 24 files",
				config->policy_dir);
			return;
		}
		numbers[i] = config->file_count;
		config->files[config->file_count++] = before->files[i];
	}
	for (unsigned i = 0; i < before->value_count; i++) {
		struct config_value value = before->values[i];
		if (value.source == CONFIG_POLICY)
			continue;
		if (value.source == CONFIG_DEFAULTS)
			value.file = numbers[value.file];
		config_add_value(config, &value);
	}
}

void config_policy_read_again(const struct config *before, struct config *ret_config)
{
	int saved_errno = errno;

	memset(ret_config, 0, sizeof(*ret_config));
	config_policy_read(ret_config, before->policy_dir);
	keep_others(before, ret_config);
	ret_config->on_error = before->on_error;
	ret_config->log = before->log;
	ret_config->is_disabled = before->is_disabled;
	errno = saved_errno;
}

static uint64_t mix(uint64_t print, uint64_t number)
{
	print = (print ^ number) * 0x9e3779b97f4a7c15ull;
	return print ^ print >> 32;
}

static uint64_t mix_file(uint64_t print, const char *path)
{
	struct stat info;

	if (!look_at(path, &info))
		return mix(print, (uint64_t)errno);
	print = mix(mix(print, (uint64_t)info.st_dev), (uint64_t)info.st_ino);
	print = mix(mix(print, (uint64_t)info.st_size), (uint64_t)info.st_mode);
	print = mix(mix(print, (uint64_t)info.st_mtim.tv_sec), (uint64_t)info.st_mtim.tv_nsec);
	return mix(mix(print, (uint64_t)info.st_ctim.tv_sec), (uint64_t)info.st_ctim.tv_nsec);
}

uint64_t config_policy_folder_print(const struct config *config)
{
	int saved_errno = errno;
	uint64_t print = mix_file(0, config->policy_dir);

	errno = saved_errno;
	return print;
}

uint64_t config_policy_print(const struct config *config)
{
	int saved_errno = errno;
	uint64_t print = mix_file(0, config->policy_dir);

	for (unsigned i = 0; i < config->file_count; i++) {
		if (config->files[i].source == CONFIG_POLICY)
			print = mix_file(print, config->files[i].path);
	}
	errno = saved_errno;
	return print;
}

static bool is_read_only(const char *path)
{
	struct statvfs info;

	return statvfs(path, &info) == 0 && (info.f_flag & ST_RDONLY) != 0;
}

static bool is_root_s(const char *path)
{
	struct stat info;

	return look_at(path, &info) && info.st_uid == 0 &&
	       (info.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

static bool are_owners_real(void)
{
	struct stat info;

	return look_at("/proc/self/ns/user", &info) && info.st_ino == INITIAL_USER_NAMESPACE;
}

static bool is_trusted_at(const char *path, bool are_real)
{
	return is_read_only(path) || (are_real && is_root_s(path));
}

bool config_policy_is_trusted(const struct config *config)
{
	char folder[CONFIG_PATH_LEN];
	struct stat info;
	int saved_errno = errno;
	bool are_real = are_owners_real();

	snprintf(folder, sizeof(folder), "%s", config->policy_dir);
	char *slash = strrchr(folder, '/');
	if (!look_at(folder, &info) && slash != NULL)
		slash[slash == folder] = '\0';
	bool is_trusted = is_trusted_at(folder, are_real);
	for (unsigned i = 0; i < config->file_count && is_trusted; i++) {
		if (config->files[i].source == CONFIG_POLICY)
			is_trusted = is_trusted_at(config->files[i].path, are_real);
	}
	errno = saved_errno;
	return is_trusted;
}
