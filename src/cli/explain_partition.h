/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What `cuslice explain` says of the SMs that a share would become (mechanism sm or both) on the
 * devices that are here. Asks the driver, which makes no context for that, and only where a share
 * is to be kept so. It sets CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER for the process, to see all
 * devices in nvidia-smi's order.
 */
#ifndef CUSLICE_CLI_EXPLAIN_PARTITION_H
#define CUSLICE_CLI_EXPLAIN_PARTITION_H

#include "config/config.h"

void explain_partition_print(const struct config *config);
void explain_partition_json(const struct config *config);

#endif
