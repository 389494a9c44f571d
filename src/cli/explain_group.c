/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "cli/explain_group.h"
#include "cli/json.h"
#include "group/group.h"

#include <stdio.h>
#include <sys/stat.h>

static const char *const kind_names[] = {
	[GROUP_NONE] = "none",
	[GROUP_BY_NAME] = "name",
	[GROUP_BY_PATH] = "path",
	[GROUP_OF_CONTAINER] = "container",
};

/* Who said which group it is. */
static struct config_origin origin_of(
	const struct config *config, const struct group_identity *group)
{
	struct config_origin origin;

	if (group->setting != NULL)
		return config_value_origin(config, group->setting);
	snprintf(origin.text, sizeof(origin.text), "%s",
		group->kind == GROUP_OF_CONTAINER ? "the PID namespace"
		: config->is_disabled             ? "everything is off"
						  : "no container");
	return origin;
}

/* A container in which nothing is limited has a group that nobody joins. */
static bool is_used(const struct config *config, const struct group_identity *group)
{
	return group->kind != GROUP_NONE &&
	       (group->setting != NULL || config_limits_memory(config) ||
		       config_limits_compute(config));
}

static bool is_there(const char *path)
{
	struct stat info;

	return lstat(path, &info) == 0;
}

/* Why it could not be joined, NULL where it could. A folder that is ours to make may be absent. */
static const char *problem_of(const struct group_identity *group, struct group_reason *reason)
{
	bool is_to_be_made = group->kind != GROUP_BY_PATH && !is_there(group->folder);

	if (group->kind == GROUP_NONE || is_to_be_made || group_check(group, reason))
		return NULL;
	return reason->text;
}

void explain_group_print(const struct config *config)
{
	struct group_identity group;
	struct group_reason reason;

	group_find(config, &group);
	const char *problem = problem_of(&group, &reason);
	printf("group\n");
	printf("  %-9s %-12s %s\n", "key", group.kind == GROUP_NONE ? "none" : group.key,
		origin_of(config, &group).text);
	if (group.kind == GROUP_NONE)
		return;
	printf("  %-9s %s%s\n", "segment", group.path,
		is_there(group.path) ? "" : ", not there yet");
	if (!is_used(config, &group))
		printf("  not used: nothing is limited\n");
	else if (problem != NULL)
		printf("  cannot be joined: %s\n", problem);
}

void explain_group_json(const struct config *config)
{
	struct group_identity group;
	struct group_reason reason;

	group_find(config, &group);
	const char *problem = problem_of(&group, &reason);
	json_begin("group", '{');
	json_string("kind", kind_names[group.kind]);
	json_string("origin", origin_of(config, &group).text);
	if (group.kind != GROUP_NONE) {
		json_string("key", group.key);
		json_string("segment", group.path);
		json_bool("exists", is_there(group.path));
		json_bool("used", is_used(config, &group));
		if (problem != NULL)
			json_string("problem", problem);
	}
	json_end('}');
}
