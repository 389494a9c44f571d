/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "base/cancel.h"

#include <pthread.h>
#include <stddef.h>

/* Weak: the library loads into every process, whatever its C library has. */
#pragma weak pthread_setcancelstate

int cancel_hold(void)
{
	int state = PTHREAD_CANCEL_ENABLE;

	if (&pthread_setcancelstate != NULL)
		(void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	return state;
}

void cancel_restore(int state)
{
	int unused;

	if (&pthread_setcancelstate != NULL)
		(void)pthread_setcancelstate(state, &unused);
}
