/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Events: a point in a stream, and the simulated time at which it was reached.
 */
#ifndef SIMGPU_DRIVER_EVENT_H
#define SIMGPU_DRIVER_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include <cuda.h>

#include "../counters.h"
#include "handle.h"
#include "stream.h"

struct CUevent_st {
	struct handle handle;
	_Atomic uint32_t refs; /* the program's, and those of work under way */
	CUcontext ctx;
	unsigned flags;
	uint64_t seq;                       /* of the last record; 0: never recorded */
	uint64_t capture_id;                /* of the capture it was last recorded in; 0: in none */
	struct node_list nodes;             /* what it stands for in that capture */
	_Atomic uint64_t time_seq, time_ns; /* of the last record that was reached */
};

/* Shown by cuGetExportTable. */
extern struct simgpu_counters event_counters;

void event_ref(CUevent event);
void event_unref(CUevent event);

/* Notes that the record `seq` was reached at `time_ns`. In the effects thread. */
void event_happened(CUevent event, uint64_t seq, uint64_t time_ns);

/* Records `event` in a resolved stream; the driver lock is held.
 * is_external  in a capture: the graph is to record it when it runs
 */
CUresult event_record_in(CUevent event, CUstream stream, bool is_external);

#endif
