/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "cli/explain_group.h"
#include "base/units.h"
#include "cli/json.h"
#include "group/group.h"
#include "group/segment.h"

#include <inttypes.h>
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

/* What the segment itself says. */
struct contents {
	bool is_there;
	const char *objection; /* why it is not understood; NULL where it is */
	struct segment_view view;
};

static void look(const struct group_identity *group, struct contents *ret_contents)
{
	*ret_contents = (struct contents){.is_there = is_there(group->path)};
	if (ret_contents->is_there &&
		!segment_peek(group->path, &ret_contents->view, &ret_contents->objection))
		ret_contents->view = (struct segment_view){0};
	else
		ret_contents->objection = NULL;
}

static void print_contents(const char *path, const struct contents *contents)
{
	const struct segment_view *view = &contents->view;

	if (!contents->is_there)
		printf("  %-9s %s, not there yet\n", "segment", path);
	else if (contents->objection != NULL)
		printf("  %-9s %s: %s\n", "segment", path, contents->objection);
	else
		printf("  %-9s %s, %u %s\n", "segment", path, view->member_count,
			view->member_count == 1 ? "member" : "members");
	for (unsigned i = 0; i < view->device_count; i++) {
		uint64_t quota = view->devices[i].quota_bytes;
		printf("  %-9s %-12s of %s, GPU %016" PRIx64 "\n", i == 0 ? "used" : "",
			units_format_bytes(view->devices[i].used_bytes).text,
			quota == UINT64_MAX ? "what it has" : units_format_bytes(quota).text,
			view->devices[i].identity);
		if (view->devices[i].share_ppm < PPM_WHOLE)
			printf("  %-9s %g %% of the compute, for all members together\n", "",
				view->devices[i].share_ppm * 100.0 / PPM_WHOLE);
	}
}

void explain_group_print(const struct config *config)
{
	static struct contents contents;
	struct group_identity group;
	struct group_reason reason;

	group_find(config, &group);
	const char *problem = problem_of(&group, &reason);
	printf("group\n");
	printf("  %-9s %-12s %s\n", "key", group.kind == GROUP_NONE ? "none" : group.key,
		origin_of(config, &group).text);
	if (group.kind == GROUP_NONE)
		return;
	look(&group, &contents);
	print_contents(group.path, &contents);
	if (!is_used(config, &group))
		printf("  not used: nothing is limited\n");
	else if (problem != NULL)
		printf("  cannot be joined: %s\n", problem);
}

static void json_devices(const struct segment_view *view)
{
	char identity[20];

	json_number("members", view->member_count);
	json_begin("devices", '[');
	for (unsigned i = 0; i < view->device_count; i++) {
		snprintf(identity, sizeof(identity), "%016" PRIx64, view->devices[i].identity);
		json_begin(NULL, '{');
		json_string("identity", identity);
		json_number("used_bytes", view->devices[i].used_bytes);
		if (view->devices[i].quota_bytes != UINT64_MAX)
			json_number("quota_bytes", view->devices[i].quota_bytes);
		if (view->devices[i].share_ppm < PPM_WHOLE)
			json_number("share_ppm", view->devices[i].share_ppm);
		json_end('}');
	}
	json_end(']');
}

static void json_contents(const struct group_identity *group)
{
	static struct contents contents;

	look(group, &contents);
	json_bool("exists", contents.is_there);
	if (contents.objection != NULL)
		json_string("objection", contents.objection);
	else if (contents.is_there)
		json_devices(&contents.view);
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
		json_contents(&group);
		json_bool("used", is_used(config, &group));
		if (problem != NULL)
			json_string("problem", problem);
	}
	json_end('}');
}
