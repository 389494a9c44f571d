/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * gpu-load: a process that does on a GPU what it is told on stdin, one command a line, so that the
 * report can start several and let them work in turns or side by side. It answers each command by
 * lines `key=value` and a line "." behind them; it ends at the end of its input.
 *
 *	hello                       who it is, and the step of the GPU's own clock
 *	run WORKLOAD LEAD_MS MS     works (load.h); the line "begun" comes when the lead-in is over
 *	requests PERIOD_MS MS       1 ms of work again and again; how long that took
 *	confine SMS INDEX           works in a green context from now on (load.h); on how many SMs
 *	sms                         how many SMs the device has
 *	half                        half of the device's SMs, as partitions go
 *	launch BATCHES              what a launch costs
 *	clocks MS                   how the GPU's clocks go beside the host's
 *	take BYTES                  allocates and keeps; says how that ended
 *	give                        frees what it took last
 *	info                        free, total, and what the ledger charges
 *	wait BYTES MS               tries to allocate until it is granted; says when it was
 *	watch BYTES MS              the same, but only until so much is free
 */
#include "cuslice/cuslice.h"
#include "green.h"
#include "load.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MS       1000000ull
#define MAX_HELD 4096

typedef int read_slice(int device, struct cuslice_slice *ret_slice, size_t size);

static read_slice *read_ledger; /* NULL: bare */
static CUdeviceptr held[MAX_HELD];
static size_t held_count;

static struct cuslice_slice slice_now(void)
{
	struct cuslice_slice slice = {0};

	if (read_ledger != NULL)
		(void)read_ledger(0, &slice, sizeof(slice));
	return slice;
}

static void say_uuid(void)
{
	char text[33];
	CUdevice device;
	CUuuid uuid;

	MUST(cuCtxGetDevice(&device));
	MUST(cuDeviceGetUuid(&uuid, device));
	for (int i = 0; i < 16; i++)
		snprintf(text + 2 * i, 3, "%02x", (unsigned char)uuid.bytes[i]);
	probe_say("uuid", "GPU-%.8s-%.4s-%.4s-%.4s-%s", text, text + 8, text + 12, text + 16,
		text + 20);
}

static void hello(void)
{
	say_uuid();
	probe_say("pid", "%d", (int)getpid());
	probe_say("is_sliced", "%s", read_ledger != NULL ? "yes" : "no");
	probe_say("clock_step_ns", "%llu", (unsigned long long)load_clock_step());
}

static void run(const char *name, unsigned long long lead_ms, unsigned long long time_ms)
{
	struct cuslice_slice before = slice_now();
	struct load_result result = load_run(name, lead_ms * MS, time_ms * MS);

	probe_say("done", "%llu", (unsigned long long)result.done);
	probe_say("wall_ns", "%llu", (unsigned long long)result.wall_ns);
	probe_say("busy_ns", "%llu", (unsigned long long)result.busy_ns);
	probe_say("most_per_s", "%.3f", result.most_per_s);
	probe_say("least_per_s", "%.3f", result.least_per_s);
	probe_say("gap_ns", "%llu", (unsigned long long)result.gap_ns);
	probe_say("billed_ns", "%llu", /* lead-in included */
		(unsigned long long)(slice_now().gpu_time_ns - before.gpu_time_ns));
}

static void request(unsigned long long period_ms, unsigned long long time_ms)
{
	struct load_requests found = load_request(period_ms * MS, time_ms * MS);

	probe_say("requests", "%llu", (unsigned long long)found.count);
	probe_say("p50_ns", "%llu", (unsigned long long)found.p50_ns);
	probe_say("p99_ns", "%llu", (unsigned long long)found.p99_ns);
	probe_say("busy_ns", "%llu", (unsigned long long)found.busy_ns);
}

static void launch(int batches)
{
	struct load_cost cost = load_measure_launch(batches);

	probe_say("batch_ns", "%.1f", cost.batch_ns);
	probe_say("p50_ns", "%.0f", cost.p50_ns);
	probe_say("p99_ns", "%.0f", cost.p99_ns);
	probe_say("measured_ns", "%.0f", cost.measured_ns);
}

static void compare_clocks(unsigned long long time_ms)
{
	struct load_clocks clocks = load_compare_clocks(time_ms * MS);

	probe_say("events_ppm", "%.1f", clocks.events_ppm);
	probe_say("timer_ppm", "%.1f", clocks.timer_ppm);
	probe_say("error_ppm", "%.1f", clocks.error_ppm);
	probe_say("event_step_ns", "%.1f", clocks.event_step_ns);
	probe_say("clock_step_ns", "%llu", (unsigned long long)load_clock_step());
}

static CUresult take(unsigned long long bytes)
{
	CUresult res = held_count == MAX_HELD ? CUDA_ERROR_OUT_OF_MEMORY
					      : cuMemAlloc(&held[held_count], bytes);

	if (res == CUDA_SUCCESS)
		held_count++;
	return res;
}

static bool is_free(unsigned long long bytes)
{
	size_t free_bytes, total_bytes;

	MUST(cuMemGetInfo(&free_bytes, &total_bytes));
	return free_bytes >= bytes;
}

/* The time that is told is CLOCK_MONOTONIC, which is the same in all processes. */
static void wait_for(unsigned long long bytes, unsigned long long time_ms, bool only_looks)
{
	uint64_t start_ns = probe_now_ns();
	bool is_there;

	do {
		is_there = only_looks ? is_free(bytes) : take(bytes) == CUDA_SUCCESS;
	} while (!is_there && probe_now_ns() - start_ns < time_ms * MS);
	probe_say("came", "%s", is_there ? "yes" : "no");
	probe_say("at_ns", "%llu", (unsigned long long)probe_now_ns());
}

static void info(void)
{
	size_t free_bytes, total_bytes;

	MUST(cuMemGetInfo(&free_bytes, &total_bytes));
	probe_say("free_bytes", "%zu", free_bytes);
	probe_say("total_bytes", "%zu", total_bytes);
	probe_say("charged_bytes", "%llu", (unsigned long long)slice_now().used_bytes);
}

static void obey(const char *line)
{
	unsigned long long first, second;
	char name[32];

	if (strcmp(line, "hello\n") == 0) {
		hello();
	} else if (sscanf(line, "run %31s %llu %llu", name, &first, &second) == 3 &&
		   load_knows(name)) {
		run(name, first, second);
	} else if (sscanf(line, "requests %llu %llu", &first, &second) == 2 && first > 0 &&
		   second > 0) {
		request(first, second);
	} else if (sscanf(line, "confine %llu %llu", &first, &second) == 2) {
		probe_say("sms", "%u", load_confine((unsigned)first, (unsigned)second));
	} else if (strcmp(line, "sms\n") == 0) {
		probe_say("sms", "%u", green_sms_of_device());
	} else if (strcmp(line, "half\n") == 0) {
		probe_say("sms", "%u", green_half());
	} else if (sscanf(line, "launch %llu", &first) == 1) {
		launch((int)first);
	} else if (sscanf(line, "clocks %llu", &first) == 1) {
		compare_clocks(first);
	} else if (sscanf(line, "take %llu", &first) == 1) {
		probe_say_result("result", take(first));
	} else if (strcmp(line, "give\n") == 0 && held_count > 0) {
		probe_say_result("result", cuMemFree(held[--held_count]));
	} else if (sscanf(line, "wait %llu %llu", &first, &second) == 2) {
		wait_for(first, second, false);
	} else if (sscanf(line, "watch %llu %llu", &first, &second) == 2) {
		wait_for(first, second, true);
	} else if (strcmp(line, "info\n") == 0) {
		info();
	} else {
		fprintf(stderr, "not understood: %s", line);
		exit(2);
	}
	puts(".");
	fflush(stdout);
}

int main(void)
{
	char line[128];

	probe_open();
	read_ledger = (read_slice *)dlsym(RTLD_DEFAULT, "cuslice_read");
	load_prepare();
	while (fgets(line, sizeof(line), stdin) != NULL)
		obey(line);
	return 0;
}
