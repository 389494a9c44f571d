/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "group/group.h"
#include "base/log.h"
#include "config/config_parse.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The machine's own namespaces have these inode numbers in every Linux since 3.8. */
#define INITIAL_PID_NAMESPACE  0xeffffffcu
#define INITIAL_USER_NAMESPACE 0xeffffffdu

#define OVERFLOW_UID 65534 /* how an owner that a user namespace does not know is shown */

/* In the folder of a group that has no name of its own. */
#define FILE_IN_FOLDER "cuslice" CONFIG_GROUP_SUFFIX

/* Of the user's own folder. Workers of root change their user and must still get through, so for
 * root it is their not knowing the name that keeps others out. */
#define MODE_OF_ROOT  0711
#define MODE_OF_USERS 0700
#define MODE_BITS     07777

/* glibc's own stat() is a symbol that no glibc before 2.33 has. */
static int stat_at(int fd, const char *path, int flags, struct stat *ret_info)
{
	return (int)syscall(SYS_newfstatat, fd, path, ret_info, flags);
}

static bool find_namespace(const char *path, struct stat *ret_info)
{
	return stat_at(AT_FDCWD, path, 0, ret_info) == 0;
}

static void folder_of_user(uid_t user, char folder[GROUP_FOLDER_LEN])
{
	snprintf(folder, GROUP_FOLDER_LEN, "%s/cuslice-%u", GROUP_BASE_DIR, (unsigned)user);
}

static void set_path(struct group_identity *group)
{
	snprintf(group->path, sizeof(group->path), "%s/%s%s", group->folder, group->key,
		CONFIG_GROUP_SUFFIX);
}

static void find_by_name(const char *name, struct group_identity *group)
{
	group->kind = GROUP_BY_NAME;
	snprintf(group->key, sizeof(group->key), "%.*s", CONFIG_GROUP_LEN, name);
	folder_of_user(geteuid(), group->folder);
	set_path(group);
}

/* `/run/group` is a folder for one group, `/run/train.group` the file of one. */
static void find_by_path(const char *path, struct group_identity *group)
{
	size_t len;

	group->kind = GROUP_BY_PATH;
	snprintf(group->key, sizeof(group->key), "%s", FILE_IN_FOLDER);
	snprintf(group->folder, sizeof(group->folder), "%s", path);
	if (config_is_group_file(path)) {
		char *slash = strrchr(group->folder, '/');
		snprintf(group->key, sizeof(group->key), "%s", slash + 1);
		slash[slash == group->folder] = '\0'; /* the root folder keeps its slash */
	}
	group->key[strlen(group->key) - strlen(CONFIG_GROUP_SUFFIX)] = '\0';
	for (len = strlen(group->folder); len > 1 && group->folder[len - 1] == '/'; len--)
		group->folder[len - 1] = '\0';
	set_path(group);
}

void group_by_text(const char *text, struct group_identity *ret_group)
{
	*ret_group = (struct group_identity){.kind = GROUP_NONE};
	if (*text == '/')
		find_by_path(text, ret_group);
	else if (strcmp(text, CONFIG_NO_GROUP) != 0)
		find_by_name(text, ret_group);
}

/* Where root has a segment for this container, its workers that have changed their user belong to
 * it. A folder of that name that is not root's own does not count. */
static bool root_has_it(struct group_identity *group)
{
	struct group_reason reason;
	struct group_identity of_root = *group;
	struct stat info;

	folder_of_user(0, of_root.folder);
	set_path(&of_root);
	if (stat_at(AT_FDCWD, of_root.path, AT_SYMLINK_NOFOLLOW, &info) != 0)
		return false;
	if (!group_check(&of_root, &reason)) {
		log_at(LOG_DEBUG, "group", "not root's: %s", reason.text);
		return false;
	}
	*group = of_root;
	return true;
}

/* The device beside the inode number, so that keys of two kernels that see one folder differ. */
static void find_container(struct group_identity *group)
{
	struct stat info;

	if (!find_namespace("/proc/self/ns/pid", &info)) {
		log_at(LOG_DEBUG, "group", "alone: /proc does not tell the PID namespace");
		return;
	}
	if (info.st_ino == INITIAL_PID_NAMESPACE)
		return;
	group->kind = GROUP_OF_CONTAINER;
	snprintf(group->key, sizeof(group->key), "pidns-%llx-%llu", (unsigned long long)info.st_dev,
		(unsigned long long)info.st_ino);
	folder_of_user(geteuid(), group->folder);
	set_path(group);
	if (geteuid() != 0)
		(void)root_has_it(group);
}

void group_find(const struct config *config, struct group_identity *ret_group)
{
	const struct config_value *setting = config_chosen(config, CONFIG_GROUP);
	int saved_errno = errno;

	group_by_text(CONFIG_NO_GROUP, ret_group);
	if (config->is_disabled)
		return;
	if (setting != NULL)
		group_by_text(setting->text, ret_group);
	else
		find_container(ret_group);
	ret_group->setting = setting;
	errno = saved_errno;
}

/* In a user namespace owners from outside of it are shown as nobody; a folder that an orchestrator
 * has mounted may be such a one. */
static bool is_from_outside(uid_t owner)
{
	struct stat info;

	return owner == OVERFLOW_UID && find_namespace("/proc/self/ns/user", &info) &&
	       info.st_ino != INITIAL_USER_NAMESPACE;
}

static bool is_trusted_owner(const struct group_identity *group, uid_t owner)
{
	return owner == 0 || owner == geteuid() ||
	       (group->kind == GROUP_BY_PATH && is_from_outside(owner));
}

static bool check_folder(const struct group_identity *group, const struct stat *info,
	struct group_reason *ret_reason)
{
	unsigned mode = info->st_mode & MODE_BITS, owner = info->st_uid;

	if (!is_trusted_owner(group, owner))
		snprintf(ret_reason->text, sizeof(ret_reason->text),
			"%s belongs to user %u (mode %04o), not to root or to user %u, who runs "
			"this; name a directory of theirs by CUSLICE_GROUP",
			group->folder, owner, mode, (unsigned)geteuid());
	else if ((mode & (S_IWGRP | S_IWOTH)) != 0)
		snprintf(ret_reason->text, sizeof(ret_reason->text),
			"%s of user %u has mode %04o: others may write to it; `chmod go-w` it, or "
			"name another directory by CUSLICE_GROUP",
			group->folder, owner, mode);
	else
		return true;
	return false;
}

static bool fail(const struct group_identity *group, const char *what, int error,
	struct group_reason *ret_reason)
{
	snprintf(ret_reason->text, sizeof(ret_reason->text), "%s%s: %s", what, group->folder,
		error == ENOTDIR || error == ELOOP ? "no directory; links are not followed"
						   : strerror(error));
	return false;
}

/* Opens a folder that can be trusted, to get at its mode. Negative with a reason. */
static int open_folder(
	const struct group_identity *group, struct stat *ret_info, struct group_reason *ret_reason)
{
	int fd = open(group->folder, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 || stat_at(fd, "", AT_EMPTY_PATH, ret_info) != 0)
		(void)fail(group, "", errno, ret_reason);
	else if (check_folder(group, ret_info, ret_reason))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

/* The umask may have taken bits from it, or whoever made it was stopped before this. */
static bool settle_mode(const struct group_identity *group, int fd, const struct stat *info)
{
	mode_t wanted = geteuid() == 0 ? MODE_OF_ROOT : MODE_OF_USERS;

	if (group->kind == GROUP_BY_PATH || info->st_uid != geteuid() ||
		(info->st_mode & MODE_BITS) == wanted)
		return true;
	/* A folder that is opened by O_PATH alone has no fchmod(). */
	return fchmodat(fd, ".", wanted, 0) == 0;
}

static bool prepare(const struct group_identity *group, struct group_reason *ret_reason)
{
	struct stat info;

	if (group->kind != GROUP_BY_PATH && mkdir(group->folder, MODE_OF_USERS) != 0 &&
		errno != EEXIST)
		return fail(group, "cannot make ", errno, ret_reason);
	int fd = open_folder(group, &info, ret_reason);
	if (fd < 0)
		return false;
	bool is_good = settle_mode(group, fd, &info) ||
		       fail(group, "cannot set the mode of ", errno, ret_reason);
	close(fd);
	return is_good;
}

void group_device_folder(const struct group_identity *group, char ret_folder[GROUP_FOLDER_LEN])
{
	if (group->kind == GROUP_BY_PATH)
		snprintf(ret_folder, GROUP_FOLDER_LEN, "%s", group->folder);
	else
		folder_of_user(geteuid(), ret_folder);
}

bool group_find_device(const struct group_identity *group, const unsigned char uuid[16],
	char ret_path[GROUP_PATH_LEN], struct group_reason *ret_reason)
{
	struct group_identity place = {.kind = GROUP_BY_NAME};
	char name[sizeof("device-") + 32] = "device-";
	int saved_errno = errno;

	for (unsigned i = 0; i < 16; i++)
		snprintf(name + 7 + 2 * i, 3, "%02x", uuid[i]);
	if (group->kind == GROUP_BY_PATH) {
		place = *group;
	} else {
		folder_of_user(geteuid(), place.folder);
	}
	snprintf(ret_path, GROUP_PATH_LEN, "%s/%s", place.folder, name);
	bool is_good = prepare(&place, ret_reason);
	errno = saved_errno;
	return is_good;
}

bool group_check(const struct group_identity *group, struct group_reason *ret_reason)
{
	struct stat info;
	int saved_errno = errno;
	int fd = open_folder(group, &info, ret_reason);

	if (fd >= 0)
		close(fd);
	errno = saved_errno;
	return fd >= 0;
}

bool group_prepare(const struct group_identity *group, struct group_reason *ret_reason)
{
	int saved_errno = errno;
	bool is_good = prepare(group, ret_reason);

	errno = saved_errno;
	return is_good;
}
