/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * How a device is shared with others: what the settings say becomes what is asked for at the
 * device's segment (token/).
 */
#ifndef CUSLICE_SLICE_TURNS_H
#define CUSLICE_SLICE_TURNS_H

#include "config/config.h"

/* Before the first launch, and when the share is set. Where others at the device cannot be seen it
 * is said at info, and the share is kept as a cap alone. */
void turns_set(unsigned device, const struct config_device *identity);

#endif
