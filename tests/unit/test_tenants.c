/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Tenants with the real governor and the real token in virtual time, over a device that gives each
 * process time slices. Each tenant is a device of the one governor and a thread of control of its
 * own, which runs until it sleeps; in place of the files of token/token.c there is memory.
 */
#include "unit.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "driver/driver.h"
#include "governor/governor.h"
#include "slice/slice.h"
#include "slice/watch.h"
#include "token/token.h"

#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define STEP_NS     (10 * NS_PER_US)
#define SLICE_NS    NS_PER_MS
#define LATE_NS     (50 * NS_PER_US) /* by which each sleep ends too late, as real ones do */
#define MAX_TENANTS 4
#define MAX_QUEUED  4096u
#define MAX_EVENTS  1024u
#define STACK_BYTES (256 * 1024)
#define WARM_UP_NS  (2 * NS_PER_S)
#define KEY         0x1000

struct CUevent_st {
	uint64_t at_ns;
	bool is_reached;
};

/* On a stream: a kernel, or where `event` is not NULL, that. */
struct operation {
	CUevent event;
	uint64_t left_ns;
};

static struct tenant {
	/* What it is. */
	uint64_t kernel_ns;
	uint64_t think_ns; /* after each kernel that it has waited for */
	bool syncs;        /* waits for each of its kernels */

	/* What it does. */
	struct token_seat seat;
	ucontext_t control;
	uint64_t wakes_at_ns;
	bool is_syncing;
	struct operation queue[MAX_QUEUED];
	unsigned first, behind;
	struct CUevent_st events[MAX_EVENTS];
	unsigned event_count;
	char stack[STACK_BYTES];
	uint64_t used_ns;
} tenants[MAX_TENANTS];

struct driver driver;
_Atomic unsigned slice_device_count;
atomic_bool watch_has_news;

static struct token_segment segment;
static ucontext_t scheduler;
static struct tenant *current;
static unsigned tenant_count, active;
static uint64_t now_ns, slice_left_ns;

void watch_tell_news(void)
{
}

bool slice_exists_unknown(CUdevice device)
{
	return device >= 0 && (unsigned)device < tenant_count;
}

/* The clock of the whole test program, as in fake_driver.c. */
int clock_gettime(clockid_t clock, struct timespec *ret_now)
{
	(void)clock;
	ret_now->tv_sec = (time_t)(now_ns / NS_PER_S);
	ret_now->tv_nsec = (long)(now_ns % NS_PER_S);
	return 0;
}

static void sleep_for(uint64_t ns)
{
	current->wakes_at_ns = now_ns + ns + LATE_NS;
	swapcontext(&current->control, &scheduler);
}

/* Sleeps of a tenant that is alone; nobody is ever woken by these. */
long syscall(long number, ...)
{
	const struct timespec *span;
	va_list args;

	va_start(args, number);
	va_arg(args, void *);
	int operation = va_arg(args, int);
	va_arg(args, unsigned);
	span = va_arg(args, const struct timespec *);
	va_end(args);
	if (number == SYS_futex && operation == FUTEX_WAIT_PRIVATE)
		sleep_for((uint64_t)span->tv_sec * NS_PER_S + (uint64_t)span->tv_nsec);
	return 0;
}

struct token_seat *token_join(unsigned device)
{
	return &tenants[device].seat;
}

void token_set_guarantee(struct token_seat *seat, uint32_t guarantee_ppm)
{
	(void)seat;
	(void)guarantee_ppm;
}

_Atomic int64_t *token_credit(struct token_seat *seat)
{
	return &segment.slots[seat->slot].credit_ns;
}

uint32_t token_bell(const struct token_seat *seat)
{
	return atomic_load(&segment.slots[seat->slot].bell);
}

void token_sleep(struct token_seat *seat, uint32_t seen, uint64_t ns)
{
	if (token_bell(seat) == seen)
		sleep_for(ns);
}

void token_ring(struct token_seat *seat, unsigned slot)
{
	(void)seat;
	if (slot >= tenant_count)
		return;
	atomic_fetch_add(&segment.slots[slot].bell, 1);
	if (tenants[slot].wakes_at_ns > now_ns + LATE_NS)
		tenants[slot].wakes_at_ns = now_ns + LATE_NS;
}

static CUresult ctx_get_device(CUdevice *ret_device)
{
	*ret_device = (CUdevice)(current - tenants);
	return CUDA_SUCCESS;
}

static CUresult ctx_get_current(CUcontext *ret_context)
{
	*ret_context = (CUcontext)current;
	return CUDA_SUCCESS;
}

static CUresult stream_is_capturing(CUstream stream, CUstreamCaptureStatus *ret_status)
{
	(void)stream;
	*ret_status = CU_STREAM_CAPTURE_STATUS_NONE;
	return CUDA_SUCCESS;
}

static CUresult stream_query(CUstream stream)
{
	(void)stream;
	return current->first == current->behind ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

static CUresult exchange_mode(CUstreamCaptureMode *mode)
{
	(void)mode;
	return CUDA_SUCCESS;
}

static CUresult event_create(CUevent *ret_event, unsigned int flags)
{
	(void)flags;
	assert_true(current->event_count < MAX_EVENTS);
	*ret_event = &current->events[current->event_count++];
	return CUDA_SUCCESS;
}

static CUresult event_destroy(CUevent event)
{
	(void)event;
	return CUDA_SUCCESS;
}

static void put(struct tenant *tenant, CUevent event, uint64_t length_ns)
{
	assert_true(tenant->behind - tenant->first < MAX_QUEUED);
	tenant->queue[tenant->behind++ % MAX_QUEUED] = (struct operation){event, length_ns};
}

static struct operation *front_of(struct tenant *tenant)
{
	return tenant->first == tenant->behind ? NULL : &tenant->queue[tenant->first % MAX_QUEUED];
}

/* Events take no time. */
static void reach_events(struct tenant *tenant)
{
	for (struct operation *next; (next = front_of(tenant)) != NULL && next->event != NULL;) {
		*next->event = (struct CUevent_st){now_ns, true};
		tenant->first++;
	}
}

static CUresult event_record(CUevent event, CUstream stream)
{
	(void)stream;
	event->is_reached = false;
	put(current, event, 0);
	reach_events(current);
	return CUDA_SUCCESS;
}

static CUresult event_query(CUevent event)
{
	return event->is_reached ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

static CUresult event_elapsed(float *ret_ms, CUevent from, CUevent to)
{
	*ret_ms = (float)((double)((int64_t)to->at_ns - (int64_t)from->at_ns) / 1e6);
	return CUDA_SUCCESS;
}

static void work(void)
{
	struct tenant *tenant = current;
	for (;;) {
		struct ticket ticket;
		governor_admit(KEY + tenant->kernel_ns, NULL, NULL, &ticket);
		put(tenant, NULL, tenant->kernel_ns);
		governor_submitted(&ticket, CUDA_SUCCESS);
		if (!tenant->syncs)
			continue;
		tenant->is_syncing = true;
		swapcontext(&tenant->control, &scheduler);
		sleep_for(tenant->think_ns);
	}
}

static void run_tenant(struct tenant *tenant)
{
	if (now_ns < tenant->wakes_at_ns || (tenant->is_syncing && front_of(tenant) != NULL))
		return;
	tenant->is_syncing = false;
	current = tenant;
	swapcontext(&scheduler, &tenant->control);
}

/* One process has the device for a slice, or until it has nothing left. */
static void run_device(void)
{
	for (unsigned i = 0;
		i < tenant_count && (front_of(&tenants[active]) == NULL || slice_left_ns == 0);
		i++) {
		active = (active + 1) % tenant_count;
		slice_left_ns = SLICE_NS;
	}
	struct tenant *tenant = &tenants[active];
	struct operation *kernel = front_of(tenant);
	now_ns += STEP_NS;
	if (kernel == NULL)
		return;
	kernel->left_ns -= STEP_NS;
	slice_left_ns -= STEP_NS;
	tenant->used_ns += STEP_NS;
	if (kernel->left_ns == 0) {
		tenant->first++;
		reach_events(tenant);
	}
}

static void run(uint64_t span_ns)
{
	for (uint64_t end_ns = now_ns + span_ns; now_ns < end_ns;) {
		for (unsigned i = 0; i < tenant_count; i++)
			run_tenant(&tenants[i]);
		run_device();
	}
}

static int setup(void **state)
{
	(void)state;
	memset(&segment, 0, sizeof(segment));
	memset(tenants, 0, sizeof(tenants));
	tenant_count = active = 0;
	now_ns = 1000 * NS_PER_S;
	slice_left_ns = 0;
	driver = (struct driver){
		.cuCtxGetDevice = ctx_get_device,
		.cuCtxGetCurrent = ctx_get_current,
		.cuStreamIsCapturing = stream_is_capturing,
		.cuStreamQuery = stream_query,
		.cuThreadExchangeStreamCaptureMode = exchange_mode,
		.cuEventCreate = event_create,
		.cuEventDestroy_v2 = event_destroy,
		.cuEventRecord = event_record,
		.cuEventQuery = event_query,
		.cuEventElapsedTime = event_elapsed,
	};
	assert_true(governor_init());
	return 0;
}

static struct tenant *add(unsigned percent, uint64_t kernel_ns)
{
	struct tenant *tenant = &tenants[tenant_count];
	struct token_entitlement entitlement = {percent * 10000, 100, TOKEN_BATCH, false};

	tenant->kernel_ns = kernel_ns;
	tenant->seat = (struct token_seat){
		.segment = &segment, .slot = tenant_count, .quantum_ns = TOKEN_QUANTUM_NS};
	getcontext(&tenant->control);
	tenant->control.uc_stack.ss_sp = tenant->stack;
	tenant->control.uc_stack.ss_size = STACK_BYTES;
	makecontext(&tenant->control, work, 0);
	governor_set_share(tenant_count, percent * 10000);
	tenant_count++;
	word_store(&segment.slots_used, tenant_count);
	token_enter(&tenant->seat, tenant_count, &entitlement);
	atomic_store(&slice_device_count, tenant_count);
	/* More than one, so that each launch asks which it is. */
	governor_set_device_count(MAX_TENANTS);
	return tenant;
}

static void assert_near(double value, double wanted, double within)
{
	if (value < wanted - within || value > wanted + within)
		print_error("%.2f, not %.2f within %.2f\n", value, wanted, within);
	assert_true(value >= wanted - within && value <= wanted + within);
}

/* What each used, in percent of the span, after they have found their places. */
static void measure(uint64_t span_ns, double ret_percent[MAX_TENANTS])
{
	uint64_t before_ns[MAX_TENANTS];

	run(WARM_UP_NS);
	for (unsigned i = 0; i < tenant_count; i++)
		before_ns[i] = tenants[i].used_ns;
	run(span_ns);
	for (unsigned i = 0; i < tenant_count; i++)
		ret_percent[i] =
			100.0 * (double)(tenants[i].used_ns - before_ns[i]) / (double)span_ns;
}

/* Nobody knows yet how long the long ones are: of those that are let go one by one, as if the first
 * had stalled, few enough run that they are made up for within 3 s. */
static void long_kernels_beside_short_ones_lose_nothing(void **state)
{
	double used[MAX_TENANTS];

	(void)state;
	add(50, 200 * NS_PER_MS);
	add(50, 100 * NS_PER_US);
	run(NS_PER_S);
	measure(5 * NS_PER_S, used);
	assert_near(used[0], 50, 3);
	assert_near(used[1], 50, 3);
	measure(10 * NS_PER_S, used);
	assert_true(used[0] + used[1] >= 98);
	assert_near(used[0], 50, 1);
}

/* Nobody knows how long it takes, and its process does not sleep: it asks for room again and again,
 * tells others that it is late, and lets a few more go past it. */
static void others_run_on_when_a_kernel_hangs(void **state)
{
	for (uint64_t at_ns = 0; at_ns < 20 * NS_PER_MS; at_ns += 370 * NS_PER_US) {
		setup(state);
		add(50, NS_PER_MS / 10);
		add(50, NS_PER_MS / 10);
		run(100 * NS_PER_MS + at_ns);
		tenants[0].kernel_ns = 5 * NS_PER_S;
		for (unsigned queued = 0; queued == 0;) {
			run(STEP_NS);
			for (unsigned i = tenants[0].first; i != tenants[0].behind; i++)
				queued += tenants[0].queue[i % MAX_QUEUED].left_ns > NS_PER_S;
		}
		uint64_t used_ns = tenants[1].used_ns, begun_at_ns = now_ns;
		while (tenants[1].used_ns < used_ns + 2 * NS_PER_MS)
			run(STEP_NS);
		assert_in_range(now_ns - begun_at_ns, 0, 100 * NS_PER_MS);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(long_kernels_beside_short_ones_lose_nothing, setup),
		cmocka_unit_test_setup(others_run_on_when_a_kernel_hangs, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
