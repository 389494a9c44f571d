/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "group/segment_patrol.h"
#include "base/clock.h"
#include "group/helper.h"
#include "group/segment_common.h"

#include <errno.h>
#include <unistd.h>

/* The bytes of a killed process are to be back within 100 ms: every member wakes once in a period,
 * and patrols if none has done so lately. One that is stopped lets its turn pass to the others. */
#define PERIOD_NS (40 * NS_PER_MS)
#define LATELY_NS (25 * NS_PER_MS)
/* After this long it is clear that no member has a thread. */
#define LATE_NS (200 * NS_PER_MS)

/* What the thread is told, and answers. */
struct order {
	const char *path;
	const char *reason; /* NULL: seat is taken */
	struct segment_seat seat;
};

/* What it watches. A forked child has no thread until it takes a seat of its own. */
static struct {
	const char *path;
	struct segment_seat seat;
	int fd;          /* negative where it is opened each time */
	bool is_watched; /* by the thread */
} watched;

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

	/* Who has the thread is never late. */
	if (!watched.is_watched && is_due(seat->segment, LATE_NS))
		reap_by_own_descriptor(path, seat);
	errno = saved_errno;
}

static uint64_t patrol(void *unused)
{
	(void)unused;
	/* What this member has taken over from a dead one is still that one's too. */
	bool has_taken_over = segment_common_tend();
	if (!has_taken_over && !is_due(watched.seat.segment, LATELY_NS))
		return PERIOD_NS;
	if (watched.fd >= 0)
		segment_seat_reap_dead(&watched.seat, watched.fd);
	else
		reap_by_own_descriptor(watched.path, &watched.seat);
	if (has_taken_over)
		segment_common_reaped();
	return PERIOD_NS;
}

static void take(void *data)
{
	struct order *order = data;

	if (!segment_seat_take(order->path, &order->seat, &order->reason))
		return;
	watched.path = order->path;
	watched.seat = order->seat;
	if (!helper_has_own_table() ||
		!segment_file_reopen(order->path, &order->seat.file, &watched.fd))
		watched.fd = -1;
	watched.is_watched = helper_watch(patrol, NULL);
}

bool segment_patrol_start(const char *path, struct segment_seat *ret_seat, const char **ret_reason)
{
	struct order order = {.path = path};

	if (!helper_init()) {
		*ret_reason = "no memory for a thread";
		return false;
	}
	helper_do(take, &order);
	if (order.reason != NULL)
		*ret_reason = order.reason;
	else
		*ret_seat = order.seat;
	return order.reason == NULL;
}
