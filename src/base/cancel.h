/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Cancellation of the calling thread, held off while it has something that others wait for: one
 * that pthread_cancel() ends within open() or read() would never give it back.
 */
#ifndef CUSLICE_BASE_CANCEL_H
#define CUSLICE_BASE_CANCEL_H

/* Holds cancellation off and returns what to hand to cancel_restore(). The two nest. Nothing in a
 * process whose C library has no cancellation. Threads: any, each for itself. */
int cancel_hold(void);
void cancel_restore(int state);

#endif
