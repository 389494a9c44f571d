/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "cli/explain_tenants.h"
#include "base/units.h"
#include "cli/json.h"
#include "group/group.h"
#include "token/token_view.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static struct token_view view;

static void for_each_device(const char *folder, void (*show)(const char *path))
{
	char path[2 * GROUP_FOLDER_LEN + 110];
	const struct dirent *entry;

	DIR *dir = opendir(folder);
	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		if (strncmp(entry->d_name, "device-", 7) != 0)
			continue;
		snprintf(path, sizeof(path), "%s/%.100s", folder, entry->d_name);
		show(path);
	}
	if (dir != NULL)
		closedir(dir);
}

static void print_tenant(const struct token_tenant *tenant)
{
	const struct token_entitlement *has = &tenant->entitlement;

	printf("    %3u %-9s ", tenant->processes,
		tenant->processes == 1 ? "process:" : "processes:");
	if (has->guarantee_ppm != 0)
		printf("%g %% guaranteed", has->guarantee_ppm * 100.0 / PPM_WHOLE);
	else
		printf("weight %u of what guarantees leave", has->weight);
	printf("%s%s%s\n", has->may_borrow ? ", may borrow" : "",
		has->class == TOKEN_LATENCY ? ", class latency" : "",
		tenant->has_token ? "; has the token" : "");
}

static void print_device(const char *path)
{
	const char *reason;

	if (!token_peek(path, &view, &reason)) {
		printf("  %s: %s\n", path, reason);
		return;
	}
	if (view.count == 0)
		return;
	printf("  %s, %u %s\n", path, view.count, view.count == 1 ? "tenant" : "tenants");
	for (unsigned i = 0; i < view.count; i++)
		print_tenant(&view.tenants[i]);
}

void explain_tenants_print(const struct config *config)
{
	char folder[GROUP_FOLDER_LEN];
	struct group_identity group;

	group_find(config, &group);
	group_device_folder(&group, folder);
	printf("tenants\n");
	for_each_device(folder, print_device);
	printf("  programs with a share take turns with those that they see, by device-<uuid> in\n"
	       "  %s; beside any others each only keeps to its cap\n",
		folder);
}

static void json_device(const char *path)
{
	const char *reason;

	json_begin(NULL, '{');
	json_string("segment", path);
	if (!token_peek(path, &view, &reason)) {
		json_string("objection", reason);
		view.count = 0;
	}
	json_begin("tenants", '[');
	for (unsigned i = 0; i < view.count; i++) {
		const struct token_tenant *tenant = &view.tenants[i];
		json_begin(NULL, '{');
		json_number("processes", tenant->processes);
		json_number("guarantee_ppm", tenant->entitlement.guarantee_ppm);
		json_number("weight", tenant->entitlement.weight);
		json_string(
			"class", tenant->entitlement.class == TOKEN_LATENCY ? "latency" : "batch");
		json_bool("borrow", tenant->entitlement.may_borrow);
		json_number("used_ns", tenant->used_ns);
		json_bool("has_token", tenant->has_token);
		json_end('}');
	}
	json_end(']');
	json_end('}');
}

void explain_tenants_json(const struct config *config)
{
	char folder[GROUP_FOLDER_LEN];
	struct group_identity group;

	group_find(config, &group);
	group_device_folder(&group, folder);
	json_begin("gpus", '[');
	for_each_device(folder, json_device);
	json_end(']');
}
