/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What stands between the hooks and the driver's functions that take a stream (streams.def).
 * Internal to the partition.
 */
#ifndef CUSLICE_PARTITION_STREAMS_H
#define CUSLICE_PARTITION_STREAMS_H

#include "partition/lanes.h"

/* The partition of the current context, made where it is wished for and was not tried. NULL where
 * it has none. */
struct lanes *partition_current(void);

/* The partition that there is of the primary context `context`, NULL: of the current one. None is
 * made. */
struct lanes *partition_of(CUcontext context);

/* Work has got out of the partition, or is about to: `reason` goes on from "for", and time keeps
 * the share from now on. Before the self-test has ended this is noted in nodes.get_out instead. */
void partition_refuse(struct lanes *lanes, const char *reason);

/* The same where it is one of them, and nobody knows which. */
void partition_refuse_all(const char *reason);

/* The same by the device; nothing where none was wished for. */
void partition_give_up(unsigned device, const char *reason);

/* Those that there are: at places below partition_places(), NULL where there is none. */
unsigned partition_places(void);
struct lanes *partition_at(unsigned place);

/* Called from streams_thunks.S, each in place of what it is given. For functions that
 *   work      submit work to the stream
 *   batch     the same, but the driver takes no legacy stream for it
 *   handle    ask or set something of it
 *   question  answer for the legacy stream as if there were no partition
 *   captured  the same, where the question is whether it is captured
 *   whole     take no stream: these run on the driver's own default stream
 * The _ptsz ones are for functions to which NULL means the thread's stream. One that answers
 * STREAMS_REFUSED has the call answered with CUDA_ERROR_STREAM_CAPTURE_IMPLICIT: a stream is
 * captured for which the legacy one would have to wait.
 */
CUstream streams_work(CUstream stream);
CUstream streams_work_ptsz(CUstream stream);
CUstream streams_batch(CUstream stream);
CUstream streams_batch_ptsz(CUstream stream);
CUstream streams_handle(CUstream stream);
CUstream streams_handle_ptsz(CUstream stream);
CUstream streams_question(CUstream stream);
CUstream streams_question_ptsz(CUstream stream);
CUstream streams_captured(CUstream stream);
CUstream streams_captured_ptsz(CUstream stream);
CUstream streams_whole(void);
CUstream streams_whole_ptsz(void);

extern const char streams_refused[] __attribute__((visibility("hidden")));
#define STREAMS_REFUSED ((CUstream)(uintptr_t)streams_refused)
#define STREAMS_REFUSAL CUDA_ERROR_STREAM_CAPTURE_IMPLICIT

/* True while streams of this process are captured, or may be. */
bool streams_has_captures(void);

static inline bool streams_is_legacy(CUstream stream)
{
	return stream == NULL || stream == CU_STREAM_LEGACY;
}

/* What a stream means to a _ptsz function. */
static inline CUstream streams_of_thread(CUstream stream)
{
	return stream == NULL ? CU_STREAM_PER_THREAD : stream;
}

/* When the driver has returned, with the stream that it was given. */
void streams_work_done(CUstream stream);
void streams_work_ptsz_done(CUstream stream);
void streams_batch_done(CUstream stream);
void streams_batch_ptsz_done(CUstream stream);
void streams_whole_done(void);
void streams_whole_ptsz_done(void);

/* What stands before the driver, and what it leads to. */
enum streams_row {
#define STREAM(symbol, position, kind) STREAM_##symbol,
#define STREAM_IN_C(symbol)            STREAM_##symbol,
#include "partition/streams.def"
#undef STREAM
#undef STREAM_IN_C
	STREAMS_COUNT
};
#define STREAM(symbol, position, kind) __typeof__(symbol) beneath_##symbol;
#define STREAM_IN_C(symbol)            __typeof__(symbol) beneath_##symbol;
#include "partition/streams.def"
#undef STREAM
#undef STREAM_IN_C
extern void *streams_beneath[STREAMS_COUNT] __attribute__((visibility("hidden")));

#endif
