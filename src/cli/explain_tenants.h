/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What `cuslice explain` says of the others at each GPU: which of them a program started from here
 * would take turns with. It makes nothing.
 */
#ifndef CUSLICE_CLI_EXPLAIN_TENANTS_H
#define CUSLICE_CLI_EXPLAIN_TENANTS_H

#include "config/config.h"

void explain_tenants_print(const struct config *config);
void explain_tenants_json(const struct config *config);

#endif
