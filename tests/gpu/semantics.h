/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What libcuslice.so takes for granted about the driver, one check each. A check prints what it saw
 * and, as its last line, whether the assumption holds. Each runs in a process of its own.
 */
#ifndef GPU_SEMANTICS_H
#define GPU_SEMANTICS_H

#include "probe.h"

/* The claim of the check, as the last line. */
void semantics_holds(bool holds);

/* Milliseconds, as the driver gives them; ends the process where it gives none. */
float semantics_elapsed_ms(CUevent begin, CUevent end);

/* semantics_events.c: time as events tell it. */
void check_elapsed_negative(void); /* a second event that came earlier gives a negative time */
void check_elapsed_step(void);     /* lengths are off by at most 1 us, 5 s after the base */
void check_empty_elapsed(void);    /* events around an empty launch bill at most 20 us */
void check_event_cost(void);       /* what the calls of a sample cost the host */

/* semantics_capture.c: capture in progress is not disturbed. */
void check_capture_relaxed(void); /* event calls in relaxed mode do not spoil a global capture */
void check_capture_legacy(void);  /* asking the legacy stream does not either */

/* semantics_context.c: contexts, and the memory that lives in them. */
void check_stream_context(void);    /* a stream's context is told whatever is current */
void check_primary_state(void);     /* retain and release leave a primary context as it was */
void check_primary_reset(void);     /* a reset gives all memory back */
void check_free_async_linear(void); /* memory of cuMemAlloc may be freed in stream order */
void check_old_allocation(void);    /* what the 32-bit cuMemAlloc does today */

#endif
