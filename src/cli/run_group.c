/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "cli/run_group.h"
#include "config/config_parse.h"
#include "group/group.h"
#include "group/segment_file.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAME_BYTES 16

/* `run-<pid>-<32 hexadecimal digits>`. The process that we become keeps our pid:
 * run_group_clean_up.c goes by it. Nobody guesses the rest, for root's segments are open to whoever
 * knows their name. */
static bool make_name(char name[CONFIG_GROUP_LEN + 1])
{
	uint8_t bytes[NAME_BYTES];

	/* By its number: glibc has getrandom() since 2.25 only. */
	if (syscall(SYS_getrandom, bytes, sizeof(bytes), 0) != (long)sizeof(bytes))
		return false;
	int len = snprintf(name, CONFIG_GROUP_LEN + 1, "run-%ld-", (long)getpid());
	for (unsigned i = 0; i < NAME_BYTES; i++)
		len += snprintf(name + len, 3, "%02x", bytes[i]);
	return true;
}

static int refuse(const char *what, const char *reason)
{
	fprintf(stderr, "cuslice: no group: %s%s%s; --group=none goes without\n", what,
		*what == '\0' ? "" : ": ", reason);
	return -1;
}

static int set_group(const char *value, bool is_dry)
{
	const char *name = config_options[CONFIG_GROUP].variable;

	if (is_dry)
		printf("%s=%s\n", name, value);
	if (setenv(name, value, 1) == 0)
		return 0;
	fprintf(stderr, "cuslice: the environment has no room\n");
	return -1;
}

/* Makes the segment, which a worker that has changed its user might not be allowed to. */
static int make_segment(const struct group_identity *group)
{
	struct group_reason reason;
	const char *text;
	int fd;

	if (!group_prepare(group, &reason))
		return refuse("", reason.text);
	if (group->kind == GROUP_BY_NAME)
		run_group_clean_up(group->folder);
	if (!segment_file_open(group->path, &segment_kind_group, &fd, &text))
		return refuse(group->path, text);
	close(fd);
	return 0;
}

/* By its full path, for a worker of another user has another folder. */
static int set_known(const char *text)
{
	struct group_identity group;

	group_by_text(text, &group);
	if (group.kind == GROUP_NONE)
		return set_group(text, false);
	return make_segment(&group) == 0 ? set_group(group.path, false) : -1;
}

static int set_fresh(void)
{
	char name[CONFIG_GROUP_LEN + 1];

	return make_name(name) ? set_known(name) : refuse("", "no random numbers are to be had");
}

static bool is_limited(const struct config *config)
{
	return config_limits_memory(config) || config_limits_compute(config);
}

/* What it belongs to stays: a group that a setting names, and a container that is limited. There
 * a group of its own would be another quota beside the container's. */
static bool has_group(const struct config *before)
{
	struct group_identity group;

	group_find(before, &group);
	return group.setting != NULL || (group.kind == GROUP_OF_CONTAINER && is_limited(before));
}

int run_group_set(const char *asked, const struct config *before, bool is_dry)
{
	static struct config config;
	const struct config_value *setting = config_chosen(before, CONFIG_GROUP);

	if (asked != NULL)
		/* Where the lines of a dry run may go, a name leads to another file. */
		return is_dry ? set_group(asked, true) : set_known(asked);
	if (is_dry || before->is_disabled)
		return 0;
	if (setting != NULL && setting->source != CONFIG_POLICY)
		return set_known(setting->text);
	config_read(environ, &config);
	if (has_group(before) || !is_limited(&config) || config_is_refused(&config))
		return 0;
	return set_fresh();
}
