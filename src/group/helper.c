/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "group/helper.h"
#include "base/cancel.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/wait.h"
#include "base/wipe.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
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

#define STACK_BYTES (256 * 1024)
/* A group, a policy and every device. */
#define MAX_WATCHED 80
/* No thread looks more often, whatever it is told. */
#define SHORTEST_NS NS_PER_MS
#define LONGEST_NS  NS_PER_S

/* Wiped at fork, for the thread does not pass to children. */
static struct helper {
	struct lock lock; /* of who has it work, for as long as it does */
	bool is_started;
	void (*work)(void *data);
	void *data;
	_Atomic uint32_t asked, answered; /* how often it was asked to work, and has */

	/* The thread's own. */
	bool has_own_table, is_thread_working;
	unsigned watched_count;
	struct {
		uint64_t (*look)(void *data);
		void *data;
		uint64_t due_ns;
	} watched[MAX_WATCHED];
} * helper;

bool helper_init(void)
{
	if (helper == NULL)
		helper = wipe_alloc(sizeof(*helper));
	return helper != NULL;
}

bool helper_has_own_table(void)
{
	return helper->is_thread_working && helper->has_own_table;
}

bool helper_watch(uint64_t (*look)(void *data), void *data)
{
	if (!helper->is_thread_working || helper->watched_count == MAX_WATCHED)
		return false;
	helper->watched[helper->watched_count].look = look;
	helper->watched[helper->watched_count].data = data;
	helper->watched[helper->watched_count].due_ns = 0;
	helper->watched_count++;
	return true;
}

/* Returns in how many ns the next is due. */
static uint64_t look_at_all(void)
{
	uint64_t next_ns = LONGEST_NS;

	for (unsigned i = 0; i < helper->watched_count; i++) {
		uint64_t now_ns = clock_now_ns();
		if (now_ns >= helper->watched[i].due_ns)
			helper->watched[i].due_ns =
				now_ns + helper->watched[i].look(helper->watched[i].data);
		uint64_t due_ns = helper->watched[i].due_ns;
		uint64_t left_ns = due_ns > now_ns ? due_ns - now_ns : 0;
		next_ns = left_ns < next_ns ? left_ns : next_ns;
	}
	return next_ns > SHORTEST_NS ? next_ns : SHORTEST_NS;
}

/* ThreadSanitizer knows of one table only, and would take our use of a number for a race with the
 * program's file of that number: ours begin beyond, and it does not see how. */
#ifdef __SANITIZE_THREAD__
#define OCCUPIED 0, 255
#else
#define OCCUPIED STDERR_FILENO, STDERR_FILENO
#endif

/* Messages go to standard error, and must not meet a segment that got this number: to what is there
 * then nothing can be written. */
static void occupy(int first, int last)
{
	int fd = (int)syscall(SYS_epoll_create1, EPOLL_CLOEXEC);
	bool is_kept = first <= fd && fd <= last;

	for (int number = first; fd >= 0 && number <= last; number++) {
		if (number != fd)
			syscall(SYS_dup3, fd, number, O_CLOEXEC);
	}
	if (fd >= 0 && !is_kept)
		syscall(SYS_close, fd);
}

/* Where there is no own table each descriptor is there for a moment, with CLOEXEC; a child that is
 * forked in that moment by another thread, and executes nothing, keeps it. */
static void *run(void *unused)
{
	uint32_t done = 0;

	(void)unused;
	prctl(PR_SET_NAME, "cuslice");
	helper->has_own_table = syscall(SYS_close_range, 0u, ~0u, CLOSE_RANGE_UNSHARE) == 0;
	if (helper->has_own_table)
		occupy(OCCUPIED);
	for (;;) {
		/* acquire: pairs with the wake in ask() */
		uint32_t asked = atomic_load_explicit(&helper->asked, memory_order_acquire);
		helper->is_thread_working = true;
		if (asked != done) {
			helper->work(helper->data);
			done = asked;
			wait_wake_all(&helper->answered);
			continue;
		}
		uint64_t next_ns = look_at_all();
		wait_at_most(&helper->asked, asked, next_ns);
	}
	return NULL;
}

/* Small, for it is there in every member; the C library takes room for the program's thread-local
 * variables from it too, and refuses where that is too small. */
static bool create(bool is_small)
{
	pthread_attr_t attributes;
	pthread_t thread;

	if (pthread_attr_init(&attributes) != 0)
		return false;
	bool is_set = pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) == 0 &&
		      (!is_small || pthread_attr_setstacksize(&attributes, STACK_BYTES) == 0);
	bool is_made = is_set && pthread_create(&thread, &attributes, run, NULL) == 0;
	pthread_attr_destroy(&attributes);
	return is_made;
}

/* Signals are the program's: none of its handlers runs in our thread. */
static bool create_without_signals(void)
{
	sigset_t all, before;

	if (&pthread_create == NULL || &pthread_attr_init == NULL ||
		&pthread_attr_setstacksize == NULL || &pthread_attr_setdetachstate == NULL ||
		&pthread_attr_destroy == NULL)
		return false;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	bool is_made = create(true) || create(false);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return is_made;
}

/* With the lock held. */
static void ask(void (*work)(void *data), void *data)
{
	uint32_t before = atomic_load_explicit(&helper->answered, memory_order_relaxed);

	helper->work = work;
	helper->data = data;
	wait_wake_all(&helper->asked);
	/* acquire: pairs with the wake in run() */
	while (atomic_load_explicit(&helper->answered, memory_order_acquire) == before)
		wait_at_most(&helper->answered, before, NS_PER_S);
}

void helper_do(void (*work)(void *data), void *data)
{
	int saved_errno = errno, cancel_state = cancel_hold();

	lock_take(&helper->lock);
	if (!helper->is_started)
		helper->is_started = create_without_signals();
	if (helper->is_started)
		ask(work, data);
	else
		work(data);
	lock_drop(&helper->lock);
	cancel_restore(cancel_state);
	errno = saved_errno;
}
