/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Memory that a forked child sees as zeroes, and the parent keeps.
 */
#include "unit.h"
#include "base/wipe.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE    10000
#define REGIONS 32 /* the library has about twenty */

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

/* As kernels before 4.14 answer, and sandboxes that emulate one. */
static bool is_old_kernel;

int madvise(void *start, size_t size, int advice)
{
	if (is_old_kernel && advice == MADV_WIPEONFORK) {
		errno = EINVAL;
		return -1;
	}
	return (int)syscall(SYS_madvise, start, size, advice);
}

static bool all_are(const unsigned char *bytes, size_t size, unsigned char value)
{
	for (size_t i = 0; i < size; i++) {
		if (bytes[i] != value)
			return false;
	}
	return true;
}

/* 0 where the child, and its child, see `value` everywhere. */
static int look_in_child(const unsigned char *bytes, unsigned char value)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		if (!all_are(bytes, SIZE, value))
			_exit(1);
		pid_t grandchild = fork();
		if (grandchild == 0)
			_exit(all_are(bytes, SIZE, value) ? 0 : 2);
		waitpid(grandchild, &status, 0);
		_exit(WEXITSTATUS(status));
	}
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void wiped_memory_is_zero_at_first(void **state)
{
	unsigned char *bytes = wipe_alloc(SIZE);

	(void)state;
	assert_non_null(bytes);
	assert_true(all_are(bytes, SIZE, 0));
	assert_int_equal((uintptr_t)bytes % (uintptr_t)getpagesize(), 0);
}

static void wiped_memory_is_zero_in_a_child_and_kept_in_the_parent(void **state)
{
	unsigned char *bytes = wipe_alloc(SIZE);

	(void)state;
	assert_non_null(bytes);
	memset(bytes, 0x5a, SIZE);

	assert_int_equal(look_in_child(bytes, 0), 0);
	assert_true(all_are(bytes, SIZE, 0x5a));
}

static void all_wiped_memory_is_zero_in_a_child_on_an_old_kernel(void **state)
{
	unsigned char *bytes[REGIONS];

	(void)state;
	is_old_kernel = true;
	errno = 4711;
	for (unsigned i = 0; i < REGIONS; i++) {
		bytes[i] = wipe_alloc(SIZE);
		assert_non_null(bytes[i]);
		memset(bytes[i], 0x5a, SIZE);
	}
	is_old_kernel = false;
	assert_int_equal(errno, 4711);

	for (unsigned i = 0; i < REGIONS; i++) {
		assert_int_equal(look_in_child(bytes[i], 0), 0);
		assert_true(all_are(bytes[i], SIZE, 0x5a));
	}
}

static void wiped_memory_is_refused_where_it_cannot_be_wiped(void **state)
{
	void *last = NULL;

	(void)state;
	is_old_kernel = true;
	for (unsigned i = 0; i < 1000; i++)
		last = wipe_alloc(SIZE);
	is_old_kernel = false;
	assert_null(last);
}

static void plain_pages_pass_to_a_child(void **state)
{
	unsigned char *bytes = pages_alloc(SIZE);

	(void)state;
	assert_non_null(bytes);
	assert_true(all_are(bytes, SIZE, 0));
	memset(bytes, 0x5a, SIZE);

	assert_int_equal(look_in_child(bytes, 0x5a), 0);
	pages_free(bytes, SIZE);
}

static void alloc_of_too_much_is_null_and_keeps_errno(void **state)
{
	(void)state;
	errno = 4711;
	assert_null(wipe_alloc((size_t)1 << 62));
	assert_null(pages_alloc((size_t)1 << 62));
	assert_int_equal(errno, 4711);
}

static void free_of_nothing_is_nothing(void **state)
{
	(void)state;
	errno = 4711;
	pages_free(NULL, 0);
	assert_int_equal(errno, 4711);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wiped_memory_is_zero_at_first),
		cmocka_unit_test(wiped_memory_is_zero_in_a_child_and_kept_in_the_parent),
		cmocka_unit_test(all_wiped_memory_is_zero_in_a_child_on_an_old_kernel),
		cmocka_unit_test(plain_pages_pass_to_a_child),
		cmocka_unit_test(alloc_of_too_much_is_null_and_keeps_errno),
		cmocka_unit_test(free_of_nothing_is_nothing),
		cmocka_unit_test(wiped_memory_is_refused_where_it_cannot_be_wiped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
