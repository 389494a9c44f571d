/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Which processes belong together, and where the segment that they share lies.
 *
 * A setting (CUSLICE_GROUP) says it, else the container: processes in one PID namespace that is
 * not the machine's own. Everything else is alone. A container is never known by a path, for the
 * containers of one pod share /dev/shm.
 *
 * The segment's file lies in a folder that nobody else may write to. The folder's owner is
 * trusted; the file's is not looked at, because workers that change their user have to attach.
 */
#ifndef CUSLICE_GROUP_GROUP_H
#define CUSLICE_GROUP_GROUP_H

#include "base/compiler.h"
#include "config/config.h"

#include <stdbool.h>

/* Where the folders of users are made. Fixed when compiling (tests do, with another). */
#ifndef GROUP_BASE_DIR
#define GROUP_BASE_DIR "/dev/shm"
#endif

#define GROUP_KEY_LEN    80
#define GROUP_FOLDER_LEN 256
#define GROUP_PATH_LEN   384

enum group_kind {
	GROUP_NONE,    /* a process for itself */
	GROUP_BY_NAME, /* a name, in the user's own folder */
	GROUP_BY_PATH, /* a folder or file that a setting names; the folder is not ours to make */
	GROUP_OF_CONTAINER, /* by the PID namespace */
};

struct group_identity {
	enum group_kind kind;
	const struct config_value *setting; /* who said so; NULL where nobody did */
	char key[GROUP_KEY_LEN];            /* `train`, `pidns-4-4026532512`; "" for GROUP_NONE */
	char folder[GROUP_FOLDER_LEN];      /* full name, without a slash at its end */
	char path[GROUP_PATH_LEN];          /* of the segment's file, which may not exist */
};

/* Tells the group of this process. Looks at files, makes none.
 * ret_group  overwritten in full; points into `config`
 * Threads    any. Keeps errno.
 */
void group_find(const struct config *config, struct group_identity *ret_group);

/* The group that a setting of this text means for the effective user: a name, a full path or none,
 * as config_parse_value() has let through. Looks at nothing; setting is NULL. */
void group_by_text(const char *text, struct group_identity *ret_group);

/* Why something cannot be had, for people: what is wrong and what would be right. */
struct group_reason {
	char text[600];
};

/* Looks whether the group's folder can be trusted: a real folder, of root or of the effective user,
 * that nobody else may write to. Changes nothing.
 * Returns true, or false and sets *ret_reason. Not for GROUP_NONE. Threads: any. Keeps errno.
 */
bool group_check(const struct group_identity *group, struct group_reason *ret_reason) MUST_CHECK;

/* The same, and makes the folder where it is ours to make. */
bool group_prepare(const struct group_identity *group, struct group_reason *ret_reason) MUST_CHECK;

/* Makes the folder for what the processes at a device share (token/token.h): that of the group
 * where a setting names one, else the user's own. Not root's for others, as for groups: the name of
 * this file is no secret, and whoever may write to it can cut it, which ends all that have it
 * mapped. ret_path  of the file, which may not exist
 */
bool group_find_device(const struct group_identity *group, const unsigned char uuid[16],
	char ret_path[GROUP_PATH_LEN], struct group_reason *ret_reason) MUST_CHECK;

/* That folder, which may not exist. */
void group_device_folder(const struct group_identity *group, char ret_folder[GROUP_FOLDER_LEN]);

/* The same, and makes this process a member (group/segment.h). Not for GROUP_NONE. */
bool group_join(const struct group_identity *group, struct group_reason *ret_reason) MUST_CHECK;

#endif
