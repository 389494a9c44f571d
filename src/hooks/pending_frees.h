/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Linear memory that was freed in stream order: the device has it until the stream gets there, and
 * so long its bytes stay charged. An event behind each free tells; it is asked when somebody wants
 * to know, for nobody waits for it. What cannot be followed (no event is to be had, no memory to
 * remember it in) is given back at once: the program goes on, and for a while may hold more than
 * its quota.
 */
#ifndef CUSLICE_HOOKS_PENDING_FREES_H
#define CUSLICE_HOOKS_PENDING_FREES_H

#include "driver/cuda_api.h"
#include "ledger/ledger.h"

/* Makes the list, empty; a forked child finds its own empty. At the start, once. False without
 * memory. */
bool pending_frees_init(void) MUST_CHECK;

/* The driver has taken the free of what was taken out of the ledger.
 * stream  with CU_STREAM_PER_THREAD in place of a per-thread default stream
 * Threads: any, as for all that follow. None waits for the device. */
void pending_frees_add(const struct holding *holding, CUstream stream);

/* Gives back what has been reached, on all devices. Returns the bytes still pending on `device`. */
uint64_t pending_frees_collect(unsigned device);

/* Around a call that may end the context: while it is held, its events are not touched. It is
 * resumed where it lives on, and dropped, which gives all its bytes back, where it does not. */
void pending_frees_hold_context(CUcontext context);
void pending_frees_resume_context(CUcontext context);
void pending_frees_drop_context(CUcontext context);

#endif
