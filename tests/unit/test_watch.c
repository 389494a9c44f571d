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

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS 4
#define ROUNDS  30000

_Atomic unsigned slice_device_count = 1;
atomic_bool segment_has_attached;

static struct config config;
static char folder[] = "/tmp/cuslice-test-XXXXXX";
static char away[sizeof(folder) + 10];
static bool somebody_comes_or_goes;
static unsigned applied, applied_values;
static void (*on_open)(void); /* what happens while the policy is read; may be NULL */
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
	return somebody_comes_or_goes;
}

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
	(void)may_loosen;
	applied++;
	applied_values = policy->value_count;
	return SLICE_CHANGED;
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

/* In place of the C library's. */
DIR *opendir(const char *name)
{
	if (on_open != NULL)
		on_open();
	int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? NULL : fdopendir(fd);
}

/* Where messages go; *ret_before where they went. */
static int catch_messages(int *ret_before)
{
	char name[] = "/tmp/cuslice-test-XXXXXX";
	int fd = mkstemp(name);

	*ret_before = dup(STDERR_FILENO);
	assert_true(fd >= 0 && unlink(name) == 0 && fcntl(fd, F_SETFL, O_APPEND) == 0);
	dup2(fd, STDERR_FILENO);
	return fd;
}

/* Each is told, once. */
static void what_many_threads_tell_is_told_once(void **state)
{
	int before, fd = catch_messages(&before);
	pthread_t threads[THREADS];

	(void)state;
	somebody_comes_or_goes = true;
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
	somebody_comes_or_goes = false;
}

/* Until what has changed has been dealt with. */
static void look_often(void)
{
	for (unsigned i = 0; i < 4; i++)
		(void)look(NULL);
}

static void write_policy(const char *text)
{
	char path[sizeof(folder) + 20], new_path[sizeof(folder) + 20];

	snprintf(path, sizeof(path), "%s/site.ini", folder);
	snprintf(new_path, sizeof(new_path), "%s/new", folder);
	FILE *file = fopen(new_path, "w");
	assert_true(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
	assert_int_equal(rename(new_path, path), 0);
}

/* Replaces the policy, and looks until that has been dealt with. */
static void set_policy(const char *text)
{
	write_policy(text);
	look_often();
}

/* What is told now, of all that was found. */
static void assert_told(int fd, const char *expected)
{
	char text[1000] = "";
	off_t end = lseek(fd, 0, SEEK_END);

	watch_tell();
	assert_true(pread(fd, text, sizeof(text) - 1, end) >= 0);
	if (*expected == '\0')
		assert_string_equal(text, "");
	else
		assert_non_null(strstr(text, expected));
}

static void mistake_is_told_once_and_not_when_it_is_mended(void **state)
{
	static const char wrong[] = "[slice]\nmemory = 4O\n", right[] = "[slice]\nmemory = 4GiB\n";
	int before, fd = catch_messages(&before);

	(void)state;
	log_set_level(LOG_WARN);
	set_policy(right);
	assert_told(fd, "");
	set_policy(wrong);
	assert_told(fd, "the limits stay as they are");
	set_policy("[slice]\n\nmemory = 4GiB\nmemory = 4GiB\n");
	assert_told(fd, "set already, in line 3");
	set_policy(wrong);
	set_policy(right);
	assert_told(fd, "");
	set_policy(wrong);
	assert_told(fd, "the limits stay as they are");
	set_policy("[slice]\nmemory = 4O\n\n");
	assert_told(fd, "");

	log_set_level(LOG_INFO);
	set_policy(right);
	assert_told(fd, "the policy has changed, and acts");
	set_policy(wrong);
	set_policy(right);
	assert_told(fd, "the policy has changed, and acts");
	dup2(before, STDERR_FILENO);
	close(before);
	close(fd);
}

/* By two renames, as `mv` does it, between which there is none. */
static void take_folder_away(void)
{
	on_open = NULL;
	assert_int_equal(rename(folder, away), 0);
}

static void policy_that_goes_while_it_is_read_is_not_taken_for_none(void **state)
{
	(void)state;
	log_set_level(LOG_WARN);
	set_policy("[slice]\nmemory = 4GiB\n");
	applied = 0;
	on_open = take_folder_away;
	write_policy("[slice]\nmemory = 5GiB\n");
	for (unsigned i = 0; i < 4 && on_open != NULL; i++)
		(void)look(NULL);
	assert_null(on_open);
	assert_int_equal(applied, 0);

	assert_int_equal(rename(away, folder), 0);
	look_often();
	assert_in_range(applied, 1, 2);
	assert_int_equal(applied_values, 1);
}

/* One that stays away is none. */
static void policy_that_stays_away_is_none(void **state)
{
	(void)state;
	set_policy("[slice]\nmemory = 4GiB\n");
	applied = 0;
	take_folder_away();
	look_often();
	assert_in_range(applied, 1, 2);
	assert_int_equal(applied_values, 0);
	assert_int_equal(rename(away, folder), 0);
	look_often();
}

static int remove_folder(void **state)
{
	char path[sizeof(folder) + 20];

	(void)state;
	snprintf(path, sizeof(path), "%s/site.ini", folder);
	unlink(path);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mistake_is_told_once_and_not_when_it_is_mended),
		cmocka_unit_test(policy_that_goes_while_it_is_read_is_not_taken_for_none),
		cmocka_unit_test(policy_that_stays_away_is_none),
		cmocka_unit_test(what_many_threads_tell_is_told_once),
	};

	if (!watch_init() || mkdtemp(folder) == NULL)
		return 1;
	snprintf(away, sizeof(away), "%s.away", folder);
	config.has_policy = true;
	config.policy_dir = folder;
	watch_begin();
	return cmocka_run_group_tests(tests, NULL, remove_folder);
}
