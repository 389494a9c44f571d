/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What `cuslice explain` says of the group: which one a program started from here would belong to,
 * who said so, and where its segment lies. It makes nothing.
 */
#ifndef CUSLICE_CLI_EXPLAIN_GROUP_H
#define CUSLICE_CLI_EXPLAIN_GROUP_H

#include "config/config.h"

void explain_group_print(const struct config *config);
void explain_group_json(const struct config *config);

#endif
