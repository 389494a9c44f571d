/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#ifndef CUSLICE_PARTITION_RULES_H
#define CUSLICE_PARTITION_RULES_H

#include "driver/cuda_api.h"
#include "partition/choose.h"

/* CUDA 12.5 is the first with streams of green contexts. */
#define PARTITION_OLDEST_DRIVER 12050

/* The driver's functions that say in which sizes a device can be partitioned. */
struct partition_oracle {
	__typeof__(cuDeviceGetAttribute) *get_attribute;
	__typeof__(cuDeviceGetDevResource) *get_resource; /* NULL: an older driver's */
};

/* Of a device with `sms` SMs. The driver is believed before the documents. After cuInit. Threads:
 * any. */
struct partition_rules partition_rules_ask(
	const struct partition_oracle *oracle, CUdevice device, unsigned sms);

#endif
