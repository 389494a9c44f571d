/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What the driver knows about the calling thread.
 */
#ifndef SIMGPU_DRIVER_THREAD_H
#define SIMGPU_DRIVER_THREAD_H

#include <stdbool.h>

#include <cuda.h>

#define THREAD_CONTEXTS 64

struct null_memory;

struct thread {
	CUcontext contexts[THREAD_CONTEXTS]; /* the current one is the last */
	int context_count;
	CUstreamCaptureMode capture_mode;
	bool is_effects_thread;          /* runs callbacks, which must not call CUDA */
	struct CUstream_st *streams;     /* per-thread default streams, one for a context */
	struct null_memory *null_memory; /* see null.c */
};

/* Makes thread_self() work; call once, from cuInit. Returns false when the system refuses. */
bool thread_init(void);

/* Returns the calling thread's state, made at its first call; NULL when memory is out. */
struct thread *thread_self(void);

#endif
