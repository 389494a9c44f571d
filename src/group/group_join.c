/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "base/log.h"
#include "group/group.h"
#include "group/segment.h"

#include <stdio.h>

bool group_join(const struct group_identity *group, struct group_reason *ret_reason)
{
	const char *text;

	if (!group_prepare(group, ret_reason))
		return false;
	if (!segment_attach(group->path, &text)) {
		snprintf(ret_reason->text, sizeof(ret_reason->text), "%s: %s", group->path, text);
		return false;
	}
	log_at(LOG_DEBUG, "group", "a member of %s", group->path);
	return true;
}
