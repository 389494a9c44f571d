/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "group/segment_patrol.h"
#include "base/clock.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Weak: programs of glibc before 2.34 may have been started without libpthread. */
#pragma weak pthread_create
#pragma weak pthread_attr_init
#pragma weak pthread_attr_setstacksize
#pragma weak pthread_attr_setdetachstate
#pragma weak pthread_attr_destroy

/* Linux 5.9. */
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE (1u << 1)
#endif

/* The bytes of a killed process are to be back within 100 ms: every member wakes once in a period,
 * and patrols if none has done so lately. One that is stopped lets its turn pass to the others. */
#define PERIOD_NS (40 * NS_PER_MS)
#define LATELY_NS (25 * NS_PER_MS)
/* After this long it is clear that no member has a thread. */
#define LATE_NS (200 * NS_PER_MS)

#define STACK_BYTES (256 * 1024)

/* What the thread is told, and answers. The caller waits for the answer, so it may lie there. */
struct order {
	const char *path;
	const char *reason; /* NULL: seat is taken */
	struct segment_seat seat;
	_Atomic uint32_t is_answered;
};

/* A time that lies ahead was written under another clock (a time namespace), and says nothing. */
static bool is_older(uint64_t at_ns, uint64_t now_ns, uint64_t span_ns)
{
	return now_ns - at_ns >= span_ns;
}

/* Claims a patrol if the last one began so long ago. */
static bool is_due(struct segment *segment, uint64_t span_ns)
{
	uint64_t at_ns = word_load(&segment->patrolled_at_ns);
	uint64_t now_ns = clock_now_ns();

	return is_older(at_ns, now_ns, span_ns) &&
	       word_swap(&segment->patrolled_at_ns, at_ns, now_ns);
}

static void reap_by_own_descriptor(const char *path, const struct segment_seat *seat)
{
	int fd;

	if (!segment_file_reopen(path, &seat->file, &fd))
		return;
	segment_seat_reap_dead(seat, fd);
	close(fd);
}

void segment_patrol_if_late(const char *path, const struct segment_seat *seat)
{
	int saved_errno = errno;

	if (is_due(seat->segment, LATE_NS))
		reap_by_own_descriptor(path, seat);
	errno = saved_errno;
}

static void answer(struct order *order, const char *reason, const struct segment_seat *seat)
{
	order->reason = reason;
	order->seat = *seat;
	/* release: pairs with the acquire in wait_for_answer() */
	atomic_store_explicit(&order->is_answered, 1, memory_order_release);
	/* By now the caller may have gone on, and the word with it: a wake that nobody waits for
	 * does no harm, wherever it goes. */
	syscall(SYS_futex, &order->is_answered, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void wait_for_answer(struct order *order)
{
	while (atomic_load_explicit(&order->is_answered, memory_order_acquire) == 0)
		syscall(SYS_futex, &order->is_answered, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}

static void patrol_for_ever(const char *path, const struct segment_seat *seat, int fd)
{
	for (;;) {
		clock_sleep_ns(PERIOD_NS);
		if (!is_due(seat->segment, LATELY_NS))
			continue;
		if (fd >= 0)
			segment_seat_reap_dead(seat, fd);
		else
			reap_by_own_descriptor(path, seat);
	}
}

/* With a table of descriptors of its own, where the kernel gives one (5.9), and an empty one: the
 * program neither sees what is opened here, nor can it close it, nor does a child that is forked
 * meanwhile inherit it (and with it the lock of our slot); and nothing that the program closes
 * stays open because of us. It can write no log. Otherwise each descriptor is there for a moment,
 * with CLOEXEC; a child that is forked in that moment by another thread, and executes nothing,
 * keeps the slot of its parent taken. */
static void *run(void *data)
{
	struct order *order = data;
	const char *path = order->path, *reason = NULL;
	struct segment_seat seat = {0};
	int fd = -1;

	prctl(PR_SET_NAME, "cuslice");
	bool has_own_table = syscall(SYS_close_range, 0u, ~0u, CLOSE_RANGE_UNSHARE) == 0;
	bool is_taken = segment_seat_take(path, &seat, &reason);
	answer(order, reason, &seat);
	if (!is_taken)
		return NULL;
	if (has_own_table && !segment_file_reopen(path, &seat.file, &fd))
		fd = -1;
	patrol_for_ever(path, &seat, fd);
	return NULL;
}

/* Small, for it is there in every member; the C library takes room for the program's thread-local
 * variables from it too, and refuses where that is too small. */
static bool create(bool is_small, struct order *order)
{
	pthread_attr_t attributes;
	pthread_t thread;

	if (pthread_attr_init(&attributes) != 0)
		return false;
	bool is_set = pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) == 0 &&
		      (!is_small || pthread_attr_setstacksize(&attributes, STACK_BYTES) == 0);
	bool is_made = is_set && pthread_create(&thread, &attributes, run, order) == 0;
	pthread_attr_destroy(&attributes);
	return is_made;
}

/* Signals are the program's: none of its handlers runs in our thread. */
static bool create_without_signals(struct order *order)
{
	sigset_t all, before;

	if (&pthread_create == NULL || &pthread_attr_init == NULL ||
		&pthread_attr_setstacksize == NULL || &pthread_attr_setdetachstate == NULL ||
		&pthread_attr_destroy == NULL)
		return false;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	bool is_made = create(true, order) || create(false, order);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return is_made;
}

bool segment_patrol_start(const char *path, struct segment_seat *ret_seat, const char **ret_reason)
{
	int saved_errno = errno;
	struct order order = {.path = path};

	if (!create_without_signals(&order)) {
		errno = saved_errno;
		return segment_seat_take(path, ret_seat, ret_reason);
	}
	wait_for_answer(&order);
	errno = saved_errno;
	if (order.reason != NULL)
		*ret_reason = order.reason;
	else
		*ret_seat = order.seat;
	return order.reason == NULL;
}
