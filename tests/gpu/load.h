/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The workloads of gpu-load: what keeps a GPU busy in a known way, and how much of it was had.
 */
#ifndef GPU_LOAD_H
#define GPU_LOAD_H

#include "probe.h"

/* What one run did after its lead-in. Times are CLOCK_MONOTONIC if nothing else is said. */
struct load_result {
	uint64_t done;    /* launches, or replays of a graph, that ended */
	uint64_t wall_ns; /* from the end of the lead-in to the end of the last of them */
	uint64_t busy_ns; /* sum of first begin to last end of each, by the GPU's own clock; 0 where
			   * the kernels did not write it (a simulated GPU) */
	double most_per_s, least_per_s; /* in any window of one second; 0 where there is none */
	uint64_t gap_ns;                /* the longest without the end of a batch */
};

extern const char kernels_ptx[]; /* kernels.ptx */

/* Loads the kernels and makes what the workloads work on, in the current context. */
void load_prepare(void);

/* From now on works on part `index` (from 0) of the device's parts of at least `sms` SMs, in a
 * green context. Returns how many it has; 0: the driver does not split it so, and nothing has
 * changed. */
unsigned int load_confine(unsigned int sms, unsigned int index);

/* Whether there is a workload `name`. */
bool load_knows(const char *name);

/* Works for `lead_ns`, prints the line "begun", works for `time_ns` more, waits for the end and
 * prints "ended". */
struct load_result load_run(const char *name, uint64_t lead_ns, uint64_t time_ns);

/* Requests of about 1 ms of work (workload "burn") that come at fixed times and are waited for. */
struct load_requests {
	uint64_t count;
	uint64_t p50_ns, p99_ns; /* from when one was due to its end */
	uint64_t busy_ns;        /* as in load_result */
};

/* One each `period_ns`, for `time_ns` (0 is no time). */
struct load_requests load_request(uint64_t period_ns, uint64_t time_ns);

/* The smallest step of the GPU's own clock, in ns; 0 on a simulated GPU. */
uint64_t load_clock_step(void);

/* What a launch of an empty kernel costs the host, while the GPU is mostly idle. */
struct load_cost {
	double batch_ns;       /* median of the batches' means */
	double p50_ns, p99_ns; /* of single calls; one reading of the clock is in each */
	double measured_ns;    /* median of such on two streams in turns, where a share has each one
				* measured by a pair of events */
};

struct load_cost load_measure_launch(int batches);

/* How two clocks of the GPU go beside CLOCK_MONOTONIC. */
struct load_clocks {
	double events_ppm, timer_ppm; /* too fast by; the time of events, and %globaltimer */
	double error_ppm;             /* how far either may be off */
	double event_step_ns;         /* the smallest difference of 1024 events */
};

struct load_clocks load_compare_clocks(uint64_t time_ns);

#endif
