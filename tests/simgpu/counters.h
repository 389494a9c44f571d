/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What a simulated driver counts for whoever measures what stands in front of it: the table that
 * its cuGetExportTable gives for this uuid, as long as the process lives. Real drivers have none.
 */
#ifndef SIMGPU_COUNTERS_H
#define SIMGPU_COUNTERS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define SIMGPU_COUNTERS_UUID "simgpu-counters0" /* 16 bytes */

struct simgpu_counters {
	size_t size;                    /* of this structure */
	_Atomic uint64_t event_records; /* calls that record an event, by whom ever */
};

#endif
