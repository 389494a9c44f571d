/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The window of operations under way, and the thread that follows the completion ring.
 */
#include "ops.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "entry.h"
#include "thread.h"
#include "work.h"

#define WINDOW_START   1024u /* a power of two */
#define ALIVE_CHECK_NS 200000000

struct op_slot {
	struct work *work;
	bool has_ended;
};

/* slots[seq % room] holds every operation from `oldest` up to `next` - 1; those before `oldest`
 * have all ended. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t progress;
	struct op_slot *slots;
	uint64_t room;
	uint64_t oldest, next;
	unsigned waiters;
	bool is_lost;
} window = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.progress = PTHREAD_COND_INITIALIZER,
	.oldest = 1,
	.next = 1,
};

static struct op_slot *slot_of(uint64_t seq)
{
	return &window.slots[seq & (window.room - 1)];
}

static bool grow_window(void)
{
	const uint64_t room = window.room ? 2 * window.room : WINDOW_START;
	struct op_slot *slots = calloc(room, sizeof(*slots));

	if (!slots)
		return false;
	for (uint64_t seq = window.oldest; seq < window.next; seq++)
		slots[seq & (room - 1)] = *slot_of(seq);
	free(window.slots);
	window.slots = slots;
	window.room = room;
	return true;
}

static bool has_ended_locked(uint64_t seq)
{
	return seq < window.oldest || (seq < window.next && slot_of(seq)->has_ended);
}

bool ops_has_ended(uint64_t seq)
{
	pthread_mutex_lock(&window.lock);
	const bool has_ended = has_ended_locked(seq);

	pthread_mutex_unlock(&window.lock);
	return has_ended;
}

CUresult ops_wait(uint64_t seq)
{
	pthread_mutex_lock(&window.lock);
	window.waiters++;
	while (!has_ended_locked(seq) && !window.is_lost)
		pthread_cond_wait(&window.progress, &window.lock);
	window.waiters--;
	const bool has_ended = has_ended_locked(seq);

	pthread_mutex_unlock(&window.lock);
	return has_ended ? CUDA_SUCCESS : CUDA_ERROR_DEVICE_UNAVAILABLE;
}

CUresult ops_wait_all(const struct deps *deps)
{
	for (uint32_t i = 0; i < deps->count; i++) {
		const CUresult result = ops_wait(deps->seqs[i]);

		if (result != CUDA_SUCCESS)
			return result;
	}
	return CUDA_SUCCESS;
}

/* Long-lived lists, as of events waited for by an idle stream, must not grow for ever. */
static void prune(struct deps *deps)
{
	uint32_t kept = 0;

	pthread_mutex_lock(&window.lock);
	for (uint32_t i = 0; i < deps->count; i++) {
		if (!has_ended_locked(deps->seqs[i]))
			deps->seqs[kept++] = deps->seqs[i];
	}
	pthread_mutex_unlock(&window.lock);
	deps->count = kept;
}

bool deps_add(struct deps *deps, uint64_t seq)
{
	for (uint32_t i = 0; i < deps->count; i++) {
		if (deps->seqs[i] == seq)
			return true;
	}
	if (ops_has_ended(seq))
		return true;
	if (deps->count == deps->room)
		prune(deps);
	if (deps->count == deps->room) {
		const uint32_t room = deps->room ? 2 * deps->room : 8;
		uint64_t *seqs = realloc(deps->seqs, room * sizeof(*seqs));

		if (!seqs)
			return false;
		deps->seqs = seqs;
		deps->room = room;
	}
	deps->seqs[deps->count++] = seq;
	return true;
}

bool deps_add_all(struct deps *deps, const struct deps *from)
{
	for (uint32_t i = 0; i < from->count; i++) {
		if (!deps_add(deps, from->seqs[i]))
			return false;
	}
	return true;
}

void deps_clear(struct deps *deps)
{
	free(deps->seqs);
	*deps = (struct deps){0};
}

/* Gives the next number to an operation that will end with `work`. */
static uint64_t open_slot(struct work *work)
{
	uint64_t seq = 0;

	pthread_mutex_lock(&window.lock);
	if (!window.is_lost && (window.next - window.oldest < window.room || grow_window())) {
		seq = window.next++;
		*slot_of(seq) = (struct op_slot){.work = work};
	}
	pthread_mutex_unlock(&window.lock);
	if (seq && work)
		work_ref(work);
	return seq;
}

static void lose_connection(void)
{
	pthread_mutex_lock(&window.lock);
	window.is_lost = true;
	pthread_cond_broadcast(&window.progress);
	pthread_mutex_unlock(&window.lock);
}

/* dep_count  at most WIRE_MAX_DEPS */
static uint64_t send_op(
	const struct wire_op *op, const uint64_t *seqs, uint32_t dep_count, struct work *work)
{
	struct wire_request request;

	request.kind = WIRE_SUBMIT;
	request.device = 0;
	request.bytes = 0;
	request.pid = 0;
	memcpy(&request.op, op, offsetof(struct wire_op, deps));
	request.op.dep_count = dep_count;
	if (dep_count)
		memcpy(request.op.deps, seqs, dep_count * sizeof(*seqs));
	request.op.seq = open_slot(work);
	if (request.op.seq == 0)
		return 0;
	const size_t bytes =
		offsetof(struct wire_request, op.deps) + dep_count * sizeof(request.op.deps[0]);

	if (client_send(&request, bytes))
		return request.op.seq;
	lose_connection();
	return 0;
}

/* Replaces `deps` by markers that join WIRE_MAX_DEPS of them each, until few are left. */
static bool join_deps(const struct wire_op *op, struct deps *deps)
{
	struct wire_op marker = {
		.kind = WIRE_OP_MARKER, .context = op->context, .priority = op->priority};

	while (deps->count > WIRE_MAX_DEPS) {
		uint32_t joined = 0;

		for (uint32_t i = 0; i < deps->count; i += WIRE_MAX_DEPS) {
			const uint32_t rest = deps->count - i;
			const uint32_t count = rest < WIRE_MAX_DEPS ? rest : WIRE_MAX_DEPS;
			const uint64_t seq = send_op(&marker, &deps->seqs[i], count, NULL);

			if (seq == 0)
				return false;
			deps->seqs[joined++] = seq;
		}
		deps->count = joined;
	}
	return true;
}

uint64_t ops_submit(const struct wire_op *op, const struct deps *deps, struct work *work)
{
	struct deps few = {0};

	if (entry_is_null())
		return 0;
	if (deps->count <= WIRE_MAX_DEPS)
		return send_op(op, deps->seqs, deps->count, work);
	uint64_t seq = 0;

	if (deps_add_all(&few, deps) && join_deps(op, &few))
		seq = send_op(op, few.seqs, few.count, work);
	deps_clear(&few);
	return seq;
}

static struct work *work_of(uint64_t seq)
{
	pthread_mutex_lock(&window.lock);
	struct work *work = slot_of(seq)->work;

	pthread_mutex_unlock(&window.lock);
	return work;
}

static void mark_ended(uint64_t seq)
{
	pthread_mutex_lock(&window.lock);
	slot_of(seq)->work = NULL;
	slot_of(seq)->has_ended = true;
	while (window.oldest < window.next && slot_of(window.oldest)->has_ended)
		window.oldest++;
	if (window.waiters)
		pthread_cond_broadcast(&window.progress);
	pthread_mutex_unlock(&window.lock);
}

static void retire(const struct wire_ring *ring, uint32_t slot)
{
	const struct wire_ring_entry *completion = &ring->entries[slot];
	struct work *work = work_of(completion->seq);

	if (work)
		work_apply(work, completion, &ring->sms[(size_t)slot * client_machine()->sm_words]);
	mark_ended(completion->seq);
	if (work)
		work_unref(work);
}

static void wait_for_more(struct wire_ring *ring, uint32_t seen)
{
	const struct timespec patience = {.tv_nsec = ALIVE_CHECK_NS};

	syscall(SYS_futex, &ring->published, FUTEX_WAIT, seen, &patience, NULL, 0);
}

static void *follow_ring(void *unused)
{
	struct wire_ring *ring = client_ring();
	struct thread *self = thread_self();
	uint32_t retired = 0;

	(void)unused;
	if (self)
		self->is_effects_thread = true;
	for (;;) {
		/* Pairs with the server's release after it has written the entries. */
		const uint32_t published =
			atomic_load_explicit(&ring->published, memory_order_acquire);

		if (published == retired) {
			wait_for_more(ring, published);
			if (published == atomic_load(&ring->published) && !client_is_alive()) {
				lose_connection();
				return NULL;
			}
			continue;
		}
		while (retired != published) {
			retire(ring, retired % WIRE_RING_ENTRIES);
			/* Pairs with the server's acquire before it reuses the entry. */
			atomic_store_explicit(&ring->retired, ++retired, memory_order_release);
		}
		syscall(SYS_futex, &ring->retired, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	}
}

bool ops_start(void)
{
	pthread_t thread;
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	const bool started = pthread_create(&thread, NULL, follow_ring, NULL) == 0;

	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (started)
		pthread_detach(thread);
	return started;
}
