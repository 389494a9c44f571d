/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A driver for the governor and its meter, inside the test program and in virtual time: the
 * clock stands still but for sleeps and what the host is said to take, and a kernel takes the time
 * that it is launched with. Streams run beside each other, or in turn. It notes whatever a real
 * driver would punish: events used after their end or their context's, and event calls that would
 * spoil a capture.
 */
#ifndef CUSLICE_TESTS_UNIT_FAKE_DRIVER_H
#define CUSLICE_TESTS_UNIT_FAKE_DRIVER_H

#include "driver/driver.h"

#include <stdbool.h>
#include <stdint.h>

#define FAKE_STREAMS  8
#define FAKE_CONTEXTS 80

struct fake {
	uint64_t now_ns;
	uint64_t slept_ns;      /* in all sleeps together */
	uint64_t late_ns;       /* by which each sleep ends too late, as real ones do */
	uint64_t host_ns;       /* what a launch takes after its kernel has begun */
	bool is_serial;         /* kernels fill the device: they run in the order of their launch */
	void (*on_sleep)(void); /* what others do meanwhile; may be NULL */
	void (*on_query)(void); /* the same while an event is asked for */
	CUdevice device;
	CUcontext context; /* the current one; NULL is none */
	CUcontext home;    /* of all streams but the default one; NULL is the current one */

	/* What the next calls answer. */
	CUstreamCaptureStatus capturing;
	CUresult is_capturing_result, create_result, record_result, query_result;
	CUstreamCaptureMode capture_mode; /* of the thread */

	/* What has been seen. */
	unsigned event_calls; /* of any kind */
	int events_alive;
	unsigned violations;
	uint64_t run_ns;     /* sum of all kernels' lengths */
	uint64_t covered_ns; /* time in which at least one ran */
	uint64_t idle_ns;    /* the longest in which none did; a test may set it to 0 */
};
extern struct fake fake;

/* A fresh driver with one device and one context, at a moment that is not zero. */
void fake_reset(void);

/* Handles 0 .. FAKE_STREAMS-1 (0 is the default stream) and 0 .. FAKE_CONTEXTS-1. */
CUstream fake_stream(unsigned i);
CUcontext fake_context(unsigned i);

/* Puts a kernel of that length on the stream. */
void fake_launch(CUstream stream, uint64_t length_ns);

/* Sleeps until all work on the stream has ended, as a program that synchronises does. */
void fake_synchronize(CUstream stream);

/* Sleeps until at most `ns` of work is left on the stream, as a full queue does. */
void fake_wait_for_backlog(CUstream stream, uint64_t ns);

/* Lets time pass without the governor. */
void fake_pass(uint64_t ns);

/* From now on whoever touches an event of the context violates. */
void fake_destroy_context(CUcontext context);

#endif
