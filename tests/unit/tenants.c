/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "tenants.h"
#include "unit.h"
#include "base/clock.h"
#include "governor/governor.h"
#include "slice/slice.h"
#include "slice/watch.h"

#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SLICE_NS NS_PER_MS

#define KEY 0x1000

struct driver driver;
_Atomic unsigned slice_device_count;
atomic_bool watch_has_news;

struct tenant tenants[TENANTS_MAX];
unsigned tenants_places;
uint64_t tenants_now_ns;

static struct token_segment segment;
static ucontext_t scheduler;
static struct tenant *current;
static unsigned tenant_count, active;
static uint64_t slice_left_ns, last_ready;

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
	ret_now->tv_sec = (time_t)(tenants_now_ns / NS_PER_S);
	ret_now->tv_nsec = (long)(tenants_now_ns % NS_PER_S);
	return 0;
}

static void sleep_for(uint64_t ns)
{
	current->wakes_at_ns = tenants_now_ns + ns + TENANTS_LATE_NS;
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

struct token_seat *token_joined(unsigned device)
{
	return &tenants[device].seat;
}

void token_agree(
	struct token_seat *seat, const struct token_entitlement *entitlement, uint64_t quantum_ns)
{
	(void)seat;
	(void)entitlement;
	(void)quantum_ns;
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
	if (tenants[slot].wakes_at_ns > tenants_now_ns + TENANTS_LATE_NS)
		tenants[slot].wakes_at_ns = tenants_now_ns + TENANTS_LATE_NS;
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

static CUresult stream_get_context(CUstream stream, CUcontext *ret_context)
{
	(void)stream;
	return ctx_get_current(ret_context);
}

static CUresult stream_get_contexts(CUstream stream, CUcontext *ret_context, CUgreenCtx *ret_green)
{
	(void)stream;
	*ret_green = NULL;
	return ctx_get_current(ret_context);
}

static CUresult stream_is_capturing(CUstream stream, CUstreamCaptureStatus *ret_status)
{
	(void)stream;
	*ret_status = CU_STREAM_CAPTURE_STATUS_NONE;
	return CUDA_SUCCESS;
}

/* Streams are called by their numbers. */
static struct stream *queue_of(CUstream stream)
{
	return &current->streams[(uintptr_t)stream];
}

static CUresult stream_query(CUstream stream)
{
	const struct stream *queue = queue_of(stream);

	return queue->first == queue->behind ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

static CUresult exchange_mode(CUstreamCaptureMode *mode)
{
	(void)mode;
	return CUDA_SUCCESS;
}

static CUresult event_create(CUevent *ret_event, unsigned int flags)
{
	(void)flags;
	*ret_event = current->spare_event;
	if (*ret_event != NULL) {
		current->spare_event = (*ret_event)->next_spare;
	} else {
		assert_true(current->event_count < TENANTS_MAX_EVENTS);
		*ret_event = &current->events[current->event_count++];
	}
	return CUDA_SUCCESS;
}

static CUresult event_destroy(CUevent event)
{
	event->next_spare = current->spare_event;
	current->spare_event = event;
	return CUDA_SUCCESS;
}

static struct operation *front_of(struct stream *stream)
{
	return stream->first == stream->behind ? NULL
					       : &stream->queue[stream->first % TENANTS_MAX_QUEUED];
}

/* Events take no time. */
static void reach_events(struct stream *stream)
{
	struct operation *next;

	while ((next = front_of(stream)) != NULL && next->event != NULL) {
		*next->event = (struct CUevent_st){.at_ns = tenants_now_ns, .is_reached = true};
		stream->first++;
	}
	if (next != NULL && next->ready == 0)
		next->ready = ++last_ready;
}

static void put(struct stream *stream, struct operation operation)
{
	assert_true(stream->behind - stream->first < TENANTS_MAX_QUEUED);
	stream->queue[stream->behind++ % TENANTS_MAX_QUEUED] = operation;
	reach_events(stream);
}

static CUresult event_record(CUevent event, CUstream stream)
{
	event->is_reached = false;
	put(queue_of(stream), (struct operation){.event = event});
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

static bool has_work(struct tenant *tenant)
{
	for (unsigned i = 0; i < tenant->stream_count; i++) {
		if (front_of(&tenant->streams[i]) != NULL)
			return true;
	}
	return false;
}

static void work(void)
{
	struct tenant *tenant = current;
	for (unsigned i = 0;; i++) {
		struct ticket ticket;
		CUstream stream = (CUstream)(uintptr_t)(i % tenant->stream_count);
		governor_admit(KEY + tenant->kernel_ns, stream, stream, &ticket);
		put(queue_of(stream), (struct operation){.length_ns = tenant->kernel_ns,
					      .waiting = tenant->blocks});
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
	if (tenants_now_ns < tenant->wakes_at_ns || (tenant->is_syncing && has_work(tenant)))
		return;
	tenant->is_syncing = false;
	current = tenant;
	swapcontext(&scheduler, &tenant->control);
}

/* Of those that wait for places the one that became ready first. */
static struct operation *next_to_place(struct tenant *tenant)
{
	struct operation *next = NULL;

	for (unsigned i = 0; i < tenant->stream_count; i++) {
		struct operation *kernel = front_of(&tenant->streams[i]);
		if (kernel != NULL && kernel->waiting > 0 &&
			(next == NULL || kernel->ready < next->ready))
			next = kernel;
	}
	return next;
}

static unsigned places_taken(struct tenant *tenant)
{
	unsigned taken = 0;

	for (unsigned i = 0; i < tenant->stream_count; i++) {
		const struct operation *kernel = front_of(&tenant->streams[i]);
		for (unsigned p = 0; kernel != NULL && p < kernel->part_count; p++)
			taken += kernel->parts[p].blocks;
	}
	return taken;
}

static void place_blocks(struct tenant *tenant)
{
	struct operation *kernel;
	unsigned left = tenants_places - places_taken(tenant);

	while (left > 0 && (kernel = next_to_place(tenant)) != NULL) {
		unsigned blocks = kernel->waiting < left ? kernel->waiting : left;
		assert_true(kernel->part_count < TENANTS_MAX_PARTS);
		kernel->parts[kernel->part_count++] = (struct part){blocks, kernel->length_ns};
		kernel->waiting -= blocks;
		left -= blocks;
	}
}

/* True where that was its end. */
static bool run_kernel(struct operation *kernel)
{
	unsigned count = 0;

	for (unsigned i = 0; i < kernel->part_count; i++) {
		struct part part = kernel->parts[i];
		part.left_ns -= TENANTS_STEP_NS;
		if (part.left_ns > 0)
			kernel->parts[count++] = part;
	}
	kernel->part_count = count;
	return count == 0 && kernel->waiting == 0;
}

/* One process has the device for a slice, or until it has nothing left. */
static void run_device(void)
{
	for (unsigned i = 0;
		i < tenant_count && (!has_work(&tenants[active]) || slice_left_ns == 0); i++) {
		active = (active + 1) % tenant_count;
		slice_left_ns = SLICE_NS;
	}
	struct tenant *tenant = &tenants[active];
	bool is_busy = has_work(tenant);
	place_blocks(tenant);
	tenants_now_ns += TENANTS_STEP_NS;
	if (!is_busy)
		return;
	slice_left_ns -= TENANTS_STEP_NS;
	tenant->used_ns += TENANTS_STEP_NS;
	for (unsigned i = 0; i < tenant->stream_count; i++) {
		struct operation *kernel = front_of(&tenant->streams[i]);
		if (kernel != NULL && run_kernel(kernel)) {
			tenant->streams[i].first++;
			reach_events(&tenant->streams[i]);
		}
	}
}

void tenants_run(uint64_t span_ns)
{
	for (uint64_t end_ns = tenants_now_ns + span_ns; tenants_now_ns < end_ns;) {
		for (unsigned i = 0; i < tenant_count; i++)
			run_tenant(&tenants[i]);
		run_device();
	}
}

void tenants_reset(void)
{
	memset(&segment, 0, sizeof(segment));
	memset(tenants, 0, sizeof(tenants));
	tenant_count = active = 0;
	tenants_places = 1;
	tenants_now_ns = 1000 * NS_PER_S;
	slice_left_ns = last_ready = 0;
	driver = (struct driver){
		.cuCtxGetDevice = ctx_get_device,
		.cuCtxGetCurrent = ctx_get_current,
		.cuStreamGetCtx = stream_get_context,
		.cuStreamGetCtx_v2 = stream_get_contexts,
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
}

struct tenant *tenants_add(unsigned percent, uint64_t kernel_ns)
{
	struct tenant *tenant = &tenants[tenant_count];
	struct token_entitlement entitlement = {percent * 10000, 100, TOKEN_BATCH, false};

	tenant->kernel_ns = kernel_ns;
	tenant->blocks = tenant->stream_count = 1;
	tenant->seat = (struct token_seat){
		.segment = &segment, .slot = tenant_count, .quantum_ns = TOKEN_QUANTUM_NS};
	getcontext(&tenant->control);
	tenant->control.uc_stack.ss_sp = tenant->stack;
	tenant->control.uc_stack.ss_size = TENANTS_STACK_BYTES;
	makecontext(&tenant->control, work, 0);
	governor_set_share(tenant_count, percent * 10000);
	tenant_count++;
	word_store(&segment.slots_used, tenant_count);
	token_enter(&tenant->seat, tenant_count, &entitlement);
	atomic_store(&slice_device_count, tenant_count);
	/* More than one, so that each launch asks which it is. */
	governor_set_device_count(TENANTS_MAX);
	return tenant;
}

unsigned tenants_queued(const struct tenant *tenant, uint64_t length_ns)
{
	unsigned queued = 0;

	for (unsigned s = 0; s < tenant->stream_count; s++) {
		const struct stream *stream = &tenant->streams[s];
		for (unsigned i = stream->first; i != stream->behind; i++) {
			const struct operation *each = &stream->queue[i % TENANTS_MAX_QUEUED];
			queued += each->event == NULL && each->length_ns >= length_ns;
		}
	}
	return queued;
}

void tenants_measure(uint64_t span_ns, double ret_percent[TENANTS_MAX])
{
	uint64_t before_ns[TENANTS_MAX];

	for (unsigned i = 0; i < tenant_count; i++)
		before_ns[i] = tenants[i].used_ns;
	tenants_run(span_ns);
	for (unsigned i = 0; i < tenant_count; i++)
		ret_percent[i] =
			100.0 * (double)(tenants[i].used_ns - before_ns[i]) / (double)span_ns;
}
