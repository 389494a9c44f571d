/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The group of what `cuslice run` starts.
 */
#ifndef CUSLICE_CLI_RUN_GROUP_H
#define CUSLICE_CLI_RUN_GROUP_H

#include "config/config.h"

#include <stdbool.h>

/* Chooses the group and names it in the environment by its segment's full path, so that workers
 * find it who change their user later. Makes the segment, which those might not be allowed to.
 * asked   what --group says, understood before; NULL without it
 * before  the settings before the command's own options were added
 * is_dry  makes nothing, and says what would be set
 * Returns 0, or -1 with a message.
 */
int run_group_set(const char *asked, const struct config *before, bool is_dry);

/* Removes the segments in the user's folder that earlier runs and containers have left: of which
 * no process is a member, and none will be but by making it anew. Keeps what is used. */
void run_group_clean_up(const char *folder);

#endif
