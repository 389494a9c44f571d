/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Streams: order of work. A stream is no more than its last operation and what its next one has to
 * wait for; while it is captured its work goes to a graph instead.
 */
#ifndef SIMGPU_DRIVER_STREAM_H
#define SIMGPU_DRIVER_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include <cuda.h>

#include "handle.h"
#include "ops.h"

#define STREAM_ATTRIBUTES 17 /* ids of attributes are smaller */

struct capture;
struct thread;
struct work;

/* Nodes that the next captured one depends on. */
struct node_list {
	CUgraphNode *nodes;
	uint32_t count, room;
};

struct CUstream_st {
	struct handle handle;
	CUcontext ctx;
	unsigned flags;
	int priority;
	uint64_t id;
	uint64_t last;           /* operation */
	struct deps waits;       /* for events, besides `last` */
	struct capture *capture; /* or NULL */
	struct node_list tips;   /* of the capture */
	CUstream next_in_context;
	struct thread *owner; /* of a per-thread default stream, which is in its list */
	CUstream next_of_owner;
	bool is_orphan; /* its green context has ended, and it is nothing but a handle */
	CUstreamAttrValue attributes[STREAM_ATTRIBUTES]; /* as last set */
};

/* Which default stream a NULL handle stands for: the plain entry points', or that of _ptsz. */
enum stream_default { STREAM_LEGACY, STREAM_PER_THREAD };

/* These need the driver lock. */

/* Returns a new stream of `ctx`, or NULL when memory is out. */
CUstream stream_create_in(CUcontext ctx, unsigned flags, int priority);

/* Ends a stream; what it has under way goes on. */
void stream_destroy_in(CUstream stream);

/* Takes all from a stream whose green context ends, but its handle. */
void stream_orphan_in(CUstream stream);

/* Finds the stream behind a handle; default streams are those of the current context, and others
 * need none.
 * Returns  CUDA_ERROR_INVALID_HANDLE, also for the per-thread default stream of a green context,
 *          CUDA_ERROR_CONTEXT_IS_DESTROYED, or what context_current() says
 */
CUresult stream_resolve(CUstream handle, enum stream_default meaning, CUstream *ret_stream);

/* Returns whether `stream` waits for the legacy stream and that for it. */
bool stream_is_blocking(CUstream stream);

/* Adds what the next operation of `stream` has to wait for. Returns false when memory is out. */
bool stream_collect_deps(CUstream stream, struct deps *deps);

/* Makes `seq`, which waits for all of stream_collect_deps(), the stream's last operation. */
void stream_advance(CUstream stream, uint64_t seq);

/* Gives `work` to a resolved stream, captured or not.
 * ret_seq  the operation, or NULL; 0 when it was captured
 */
CUresult stream_submit(CUstream stream, struct work *work, uint64_t *ret_seq);

/* These take the driver lock themselves. */

/* Gives `work` to the stream behind `handle`.
 * work     its reference is consumed; NULL answers CUDA_ERROR_OUT_OF_MEMORY
 */
CUresult stream_put(CUstream handle, enum stream_default meaning, struct work *work);

/* The same, and waits until it has ended: refused while the stream is captured. */
CUresult stream_put_and_wait(CUstream handle, enum stream_default meaning, struct work *work);

/* The same for a copy, and waits if it touches pageable memory, was not staged and not captured. */
CUresult stream_put_copy(CUstream handle, enum stream_default meaning, struct work *work);

/* Ends the per-thread default streams of a thread that ends. */
void stream_abandon_thread(struct thread *thread);

#endif
