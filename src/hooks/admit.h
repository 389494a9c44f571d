/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * How hooks ask the governor before they submit something.
 */
#ifndef CUSLICE_HOOKS_ADMIT_H
#define CUSLICE_HOOKS_ADMIT_H

#include "driver/driver.h"
#include "governor/governor.h"

#include <pthread.h>

static inline void admit(uint64_t key, CUstream stream, struct ticket *ret_ticket)
{
	const void *lane = stream;

	/* One handle for all threads, and another stream in each. */
	if (unlikely(stream == CU_STREAM_PER_THREAD))
		lane = (const void *)pthread_self();
	governor_admit(key, stream, lane, ret_ticket);
}

static inline uint64_t graph_key(CUgraphExec graph)
{
	return (uint64_t)(uintptr_t)graph;
}

/* The same for what fills or copies bytes; of none nothing is submitted. */
static inline void admit_bytes(
	enum costs_kind kind, uint64_t bytes, CUstream stream, struct ticket *ret_ticket)
{
	if (bytes == 0)
		*ret_ticket = (struct ticket){0};
	else
		admit(costs_bytes_key(kind, bytes), stream, ret_ticket);
}

/* In the _ptsz and _ptds functions NULL means the calling thread's stream. */
static inline CUstream per_thread(CUstream stream)
{
	return stream == NULL ? CU_STREAM_PER_THREAD : stream;
}

/* The body of a function that fills or copies `bytes`, if it is to be billed, on `stream`. */
#define BYTES_HOOK(symbol, params, args, kind, bytes, stream)           \
	CUresult CUDAAPI hook_##symbol params                           \
	{                                                               \
		struct ticket ticket;                                   \
                                                                        \
		admit_bytes(kind, bytes, stream, &ticket);              \
		return governor_submitted(&ticket, driver.symbol args); \
	}

#endif
