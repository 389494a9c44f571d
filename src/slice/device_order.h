/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * nvidia-smi's number of a device that CUDA shows. The two count differently: CUDA puts the fastest
 * first and leaves out what CUDA_VISIBLE_DEVICES leaves out.
 */
#ifndef CUSLICE_SLICE_DEVICE_ORDER_H
#define CUSLICE_SLICE_DEVICE_ORDER_H

#include "base/compiler.h"
#include "driver/cuda_api.h"

#include <stdbool.h>

/* Fills ret_index[0 .. count-1] with the NVML index of each CUDA device, by UUID. Where NVML is
 * not to be had and CUDA_VISIBLE_DEVICES is unset, by PCI address, which is NVML's order.
 * Returns NULL, or a reason (static text) and leaves ret_index unspecified.
 * Threads: any, and several at a time; holding no lock, for it asks the loader for
 * libnvidia-ml.so.1, which stays loaded. Costs milliseconds.
 */
const char *device_order_read(unsigned count, unsigned ret_index[]) MUST_CHECK;

#endif
