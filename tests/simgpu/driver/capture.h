/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Stream capture: which streams are captured to which graph, how capture spreads by events, and
 * what is refused meanwhile.
 */
#ifndef SIMGPU_DRIVER_CAPTURE_H
#define SIMGPU_DRIVER_CAPTURE_H

#include <stdbool.h>
#include <stdint.h>

#include <cuda.h>

struct graph_memory;
struct thread;
struct work;

struct capture {
	uint64_t id; /* from 1; never used again */
	CUstreamCaptureMode mode;
	CUgraph graph;
	uint32_t first_node; /* of the graph that the capture added */
	bool owns_graph;     /* it was made for the capture */
	bool is_invalid;
	CUstream origin; /* NULL once that is destroyed */
	const struct thread *thread;
	struct capture *next;
};

/* Answers whether a call that may depend on other streams' work is allowed now for the calling
 * thread, by the mode of the captures in progress. If not, those are invalidated and
 * CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED is returned. Takes the driver lock. */
CUresult capture_check_unsafe(void);

/* The same for questions about memory, which are unsafe on machines with strict_capture only. */
CUresult capture_check_question(void);

/* Refuses and invalidates if a stream of `ctx` is being captured. Takes the driver lock. */
CUresult capture_refuse_context(CUcontext ctx);

/* These need the driver lock. */

/* Begins to capture `stream` to `graph`.
 * graph  NULL: to a new one
 * deps   of the graph: what the first captured nodes depend on
 */
CUresult capture_begin(CUstream stream, CUgraph graph, const CUgraphNode *deps, size_t dep_count,
	CUstreamCaptureMode mode);

/* Ends the capture that began in `stream`.
 * ret_graph  what was captured; NULL on failure
 */
CUresult capture_end(CUstream stream, CUgraph *ret_graph);

/* Returns whether a stream of `ctx` that waits for its legacy stream is being captured. */
bool capture_blocks_legacy(CUcontext ctx);

/* Refuses and invalidates if `stream` is being captured: for what cannot be. */
CUresult capture_refuse_stream(CUstream stream);

/* A launch into `stream` was refused. If that is being captured, machines with strict_capture
 * invalidate the capture, and the graph takes no more nodes. */
void capture_spoil(CUstream stream);

/* Refuses the use of the legacy stream of `ctx` while a stream that waits for it is captured. */
CUresult capture_refuse_legacy(CUcontext ctx);

/* Adds `work` to the graph that `stream`, which is being captured, builds. */
CUresult capture_add_work(CUstream stream, struct work *work);

/* Adds a node that allocates or frees `memory`, of which it takes a reference. */
CUresult capture_add_memory(CUstream stream, CUgraphNodeType type, struct graph_memory *memory);

/* Records `event` in a stream that is being captured.
 * is_external  the graph is to record it when it runs
 */
CUresult capture_record(CUstream stream, CUevent event, bool is_external);

/* Makes `stream` wait for `event`; one of them at least is captured.
 * is_external  the graph is to wait when it runs
 */
CUresult capture_wait(CUstream stream, CUevent event, bool is_external);

/* Refuses and invalidates if `event` was last recorded in a capture. */
CUresult capture_refuse_event(CUevent event);

/* Forgets a stream that ends; its capture is invalid then. */
void capture_forget_stream(CUstream stream);

#endif
