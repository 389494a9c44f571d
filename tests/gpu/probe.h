/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What the probe programs share: a context to work in, two kernels, and how they say what they saw.
 * A program prints lines `key=value` on stdout; a driver call that has to work and does not ends it
 * with status 3 and the reason on stderr. All work on device 0 and in one thread, if nothing else
 * is said.
 */
#ifndef GPU_PROBE_H
#define GPU_PROBE_H

#include <cuda.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Status of a process whose machine answered other than it has to. */
#define PROBE_BROKEN 3

/* Ends the process unless the driver call succeeds. */
#define MUST(call) probe_must((call), #call)
void probe_must(CUresult result, const char *call);

/* cuInit, then the primary context of device 0, retained and current. */
CUcontext probe_open(void);

/* A kernel of the current context: "gpu_empty" without parameters, or "gpu_spin", which takes a
 * time in nanoseconds (uint64_t) and keeps one thread busy for it. */
CUfunction probe_kernel(const char *name);

/* Launches one thread of either. */
void probe_launch_empty(CUfunction empty, CUstream stream);
void probe_launch_spin(CUfunction spin, CUstream stream, uint64_t duration_ns);

/* What cuMemGetInfo calls free in the current context, after all work has ended. */
size_t probe_free_bytes(void);

/* CLOCK_MONOTONIC. */
uint64_t probe_now_ns(void);

/* Sorts `values`; returns the one in the middle. `count` is at least 1. */
double probe_median(double *values, size_t count);

/* One line of output. */
void probe_say(const char *key, const char *format, ...) __attribute__((format(printf, 2, 3)));
void probe_say_result(const char *key, CUresult result); /* as CUDA_ERROR_OUT_OF_MEMORY */

#endif
