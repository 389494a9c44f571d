/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What `cuslice explain` says of how a share would be kept by a program started from here, as far
 * as that can be known without a driver.
 */
#ifndef CUSLICE_CLI_EXPLAIN_MECHANISM_H
#define CUSLICE_CLI_EXPLAIN_MECHANISM_H

#include "config/config.h"
#include "partition/mechanism.h"

#include <stdbool.h>

struct explained_mechanism {
	const char *name; /* as in the setting, but never auto; NULL: no share is to be kept */
	enum mechanism mechanism;
	char reason[420];
};

/* Looks whether MPS is there. */
struct explained_mechanism explain_mechanism(
	const struct config *config, const struct config_device *device);

#endif
