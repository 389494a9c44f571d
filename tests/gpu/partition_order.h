/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Order of streams: chains of steps, each of which writes a number that the next has to find. Steps
 * come by kernels in default streams, in streams that block on them and in others, by synchronous
 * copies and by fills, from 16 threads that hand their chains round. A step waits by an event where
 * CUDA does not order it behind the one before, and else by nothing.
 *
 *	plain   in the primary context, as programs do; to be run in a slice, too
 *	forget  the same without the events: steps must be found out of order, or nothing is tested
 *	green   a green context of half of the SMs is current in all threads. NVIDIA says that it
 *can be current in one thread at a time inside  the same from the start: memory, modules and events
 *are made in it
 */
#ifndef GPU_PARTITION_ORDER_H
#define GPU_PARTITION_ORDER_H

#include "probe.h"

/* Works for `time_ms`, and says how many steps that were, how many came out of order (`wrong`, and
 * `wrong_on_host` by copies to the host), and on how many SMs.
 * Returns the process's exit status */
int order_run(CUcontext primary, unsigned long long time_ms, const char *variant);

#endif
