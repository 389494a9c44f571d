/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Thread-local state, made when a thread first needs it and ended with the thread.
 */
#include "thread.h"

#include <pthread.h>
#include <stdlib.h>

#include "entry.h"
#include "null.h"
#include "stream.h"

static pthread_key_t key;
/* The key is slow to read and exists for its destructor alone. */
static _Thread_local struct thread *self __attribute__((tls_model("initial-exec")));

static void end_thread(void *ptr)
{
	struct thread *thread = ptr;

	self = NULL;
	/* In the child of a fork the locks may be held for ever. */
	if (atomic_load_explicit(&entry.mode, memory_order_relaxed) == ENTRY_FORKED)
		return;
	stream_abandon_thread(thread);
	null_memory_abandon(thread->null_memory);
	free(thread);
}

bool thread_init(void)
{
	return pthread_key_create(&key, end_thread) == 0;
}

struct thread *thread_self(void)
{
	if (__builtin_expect(self != NULL, 1))
		return self;
	struct thread *thread = calloc(1, sizeof(*thread));

	if (!thread)
		return NULL;
	if (pthread_setspecific(key, thread) != 0) {
		free(thread);
		return NULL;
	}
	thread->capture_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
	self = thread;
	return thread;
}
