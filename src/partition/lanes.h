/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Streams of a program as streams of its device's partition. A stream that the program makes is one
 * of the partition from the start. The default streams, which nobody makes, are substituted at each
 * call. Streams of partitions never wait for a default stream by themselves, so the order that
 * programs know, in which the legacy stream and those that block on it wait for one another, is
 * made here: before a call, with events, and only where something has happened in between.
 *
 *   legacy   the substitute of the legacy default stream
 *   whole    the driver's own one, on all SMs: what takes no stream (cuMemcpyHtoD) runs there
 *   lane     a stream that blocks on the legacy one: made without CU_STREAM_NON_BLOCKING, or the
 *            substitute of a thread's default stream
 */
#ifndef CUSLICE_PARTITION_LANES_H
#define CUSLICE_PARTITION_LANES_H

#include "base/compiler.h"
#include "base/lock.h"
#include "driver/driver.h"
#include "partition/nodes.h"

#include <stdbool.h>
#include <stdint.h>

#define LANES_MAX      16384u /* blocking streams and threads' default streams of one device */
#define LANES_ROW_BITS 12     /* two to the power of so many rows, by which they are found */

/* One stream that blocks on the legacy stream. */
struct lane {
	CUstream stream;    /* NULL: the place is free */
	const void *thread; /* whose default stream it is; NULL: one that the program made */
	CUevent event;
	uint16_t next;           /* of its row: a place and 1; 0: the last */
	uint64_t has_waited_for; /* work of the legacy stream */
	bool has_work;           /* for which the legacy stream has not waited */
	bool is_behind;          /* the thread's own default stream has had work since */
};

/* Of one device. Zero is a device without a partition. */
struct lanes {
	struct lock lock;
	CUcontext primary; /* the context in which the partition's streams are used */
	CUgreenCtx green;
	CUcontext green_context; /* what the driver calls the partition's context */
	CUstream legacy;
	CUevent legacy_event, whole_event;
	uint64_t legacy_work, whole_work; /* calls so far */
	uint64_t legacy_waited_for;       /* work of the whole stream */
	uint64_t whole_waited_for; /* work of the legacy stream, with all it has waited for */
	struct lane *lanes;        /* LANES_MAX places; stays when the partition goes */
	uint16_t rows[1u << LANES_ROW_BITS]; /* the first lane of each, by the stream; as `next` */
	_Atomic unsigned lane_count;         /* places from here on have never been used */
	unsigned working;                    /* lanes that have work */
	_Atomic uint64_t life;               /* of its lanes; no other has or had the same number */
	bool is_refused;                     /* the driver did not do what makes the order */
	struct nodes nodes;
};

/* Makes the legacy stream of a partition, whose context is current. False where the driver refuses;
 * nothing is left then. */
bool lanes_open(struct lanes *lanes, CUcontext primary, CUgreenCtx green) MUST_CHECK;

/* Destroys all lanes. Before the program has any. */
void lanes_clear(struct lanes *lanes);

/* Destroys what lanes_open() and others have made. The partition's context is left. */
void lanes_close(struct lanes *lanes);

/* The same where all of it has gone with the partition's context. */
void lanes_drop(struct lanes *lanes);

/* A stream of the partition. `flags` and what is returned as cuStreamCreateWithPriority() has them;
 * CUDA_ERROR_OUT_OF_MEMORY where there are LANES_MAX that block. */
CUresult lanes_create(struct lanes *lanes, CUstream *ret_stream, unsigned flags, int priority);

/* Before the driver is asked to destroy a stream: what ran on it still comes before later work of
 * the legacy stream. */
void lanes_forget(struct lanes *lanes, CUstream stream);

/* True for a lane. */
bool lanes_blocks(struct lanes *lanes, CUstream stream);

/* What the calling thread's default stream is; made at its first use. NULL where it cannot be. */
CUstream lanes_of_thread(struct lanes *lanes);

/* The next call submits work to the legacy stream, to `stream`, or to the whole stream: the
 * driver's own legacy stream, or the calling thread's own default stream. */
void lanes_order_legacy(struct lanes *lanes);
void lanes_order(struct lanes *lanes, CUstream stream);
void lanes_order_whole(struct lanes *lanes);
void lanes_order_whole_thread(struct lanes *lanes);

/* What the calling thread's own default stream has had is counted to its lane. */
void lanes_catch_up(struct lanes *lanes, CUstream stream);

/* True while a lane is captured, when nobody may use the legacy stream. As the driver does, that
 * spoils the capture where `is_used`. */
bool lanes_are_captured(struct lanes *lanes, bool is_used);

/* What cuStreamQuery() answers for the streams whose work counts to that of `stream`, beside it. */
CUresult lanes_query_others(struct lanes *lanes, CUstream stream);

/* That call has returned. A thread that came in between may have waited before the work was there,
 * so the work counts from here too. `stream` is the one that the driver was given. */
void lanes_done(struct lanes *lanes, CUstream stream);
void lanes_done_whole(struct lanes *lanes);
void lanes_done_whole_thread(struct lanes *lanes);

#endif
