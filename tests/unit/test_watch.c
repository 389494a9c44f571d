/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What the thread has found, told by threads of the program that come by at the same time.
 */
#include "unit.h"
#include "base/log.h"
#include "entry/entry.h"
#include "governor/governor.h"
#include "group/helper.h"
#include "group/segment.h"
#include "ledger/ledger.h"
#include "slice/share.h"
#include "slice/slice.h"
#include "slice/watch.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS 4
#define ROUNDS  30000

_Atomic unsigned slice_device_count = 1;
atomic_bool segment_has_attached;

static const struct config config;
static uint64_t (*look)(void *data);
static atomic_bool is_over;

const struct config *entry_config(void)
{
	return &config;
}

bool helper_init(void)
{
	return true;
}

void helper_do(void (*work)(void *data), void *data)
{
	work(data);
}

bool helper_watch(uint64_t (*look_there)(void *data), void *data)
{
	(void)data;
	look = look_there;
	return true;
}

void governor_look_again(void)
{
}

void ledger_look_again(unsigned device)
{
	(void)device;
}

bool share_looks_again(void)
{
	return true;
}

/* Somebody comes or goes at each look. */
bool share_look_again(unsigned device)
{
	(void)device;
	return true;
}

bool share_is_beside_others(unsigned device)
{
	(void)device;
	return true;
}

bool slice_exists_unknown(CUdevice device)
{
	(void)device;
	return false;
}

unsigned slice_apply_again(const struct config *policy, bool may_loosen)
{
	(void)policy;
	(void)may_loosen;
	return 0;
}

bool slice_knows_numbers(void)
{
	return true;
}

static void *come_by(void *unused)
{
	while (!atomic_load(&is_over)) {
		watch_tell();
		sched_yield();
	}
	return unused;
}

static unsigned count_lines(int fd)
{
	static char text[ROUNDS * 100];
	ssize_t size = pread(fd, text, sizeof(text) - 1, 0);
	unsigned count = 0;

	assert_in_range(size, 1, sizeof(text) - 2);
	for (char *at = text; (at = strchr(at, '\n')) != NULL; at++)
		count++;
	return count;
}

/* Each is told, once. */
static void what_many_threads_tell_is_told_once(void **state)
{
	char name[] = "/tmp/cuslice-test-XXXXXX";
	int fd = mkstemp(name), before = dup(STDERR_FILENO);
	pthread_t threads[THREADS];

	(void)state;
	assert_true(fd >= 0 && unlink(name) == 0 && fcntl(fd, F_SETFL, O_APPEND) == 0);
	dup2(fd, STDERR_FILENO);
	log_set_level(LOG_INFO);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, come_by, NULL), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		(void)look(NULL);
		while (atomic_load(&watch_has_news))
			sched_yield();
	}
	atomic_store(&is_over, true);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	dup2(before, STDERR_FILENO);
	assert_int_equal(count_lines(fd), ROUNDS);
	close(before);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_many_threads_tell_is_told_once),
	};

	if (!watch_init())
		return 1;
	watch_begin();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
