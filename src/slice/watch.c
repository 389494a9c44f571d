/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "slice/watch.h"
#include "base/clock.h"
#include "base/wipe.h"
#include "governor/governor.h"
#include "group/helper.h"
#include "group/segment.h"

#include <stdatomic.h>

/* A change is to act within 50 ms. */
#define PERIOD_NS (40 * NS_PER_MS)

/* Wiped at fork, with the thread. */
static struct watch {
	atomic_flag is_begun;
} * watch;

bool watch_init(void)
{
	watch = wipe_alloc(sizeof(*watch));
	return watch != NULL;
}

static uint64_t look(void *unused)
{
	(void)unused;
	governor_look_again();
	return PERIOD_NS;
}

static void begin(void *unused)
{
	helper_watch(look, unused);
}

void watch_begin(void)
{
	if (segment_is_used() && !atomic_flag_test_and_set(&watch->is_begun) && helper_init())
		helper_do(begin, NULL);
}
