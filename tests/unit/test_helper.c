/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The thread's own table of descriptors: nothing of the program's, and nothing where messages go.
 */
#include "unit.h"
#include "group/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define FILES 6

static struct {
	bool has_own_table, sees_ours;
	ssize_t written;
	int written_errno;
	int opened[FILES];
} seen;

static void look_around(void *data)
{
	const int *ours = data;

	seen.has_own_table = helper_has_own_table();
	seen.sees_ours = fcntl(*ours, F_GETFD) != -1;
	for (unsigned i = 0; i < FILES; i++)
		seen.opened[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
	seen.written = write(STDERR_FILENO, "message\n", 8);
	seen.written_errno = errno;
	for (unsigned i = 0; i < FILES; i++)
		close(seen.opened[i]);
}

static void messages_meet_no_file(void **state)
{
	int ours = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 1000);

	(void)state;
	assert_true(ours >= 1000 && helper_init());
	helper_do(look_around, &ours);
	if (!seen.has_own_table)
		skip(); /* Linux before 5.9 */
	assert_false(seen.sees_ours);
	for (unsigned i = 0; i < FILES; i++) {
		assert_true(seen.opened[i] >= 0);
		assert_int_not_equal(seen.opened[i], STDERR_FILENO);
	}
	assert_int_equal(seen.written, -1);
	assert_int_equal(seen.written_errno, EINVAL);
	close(ours);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_meet_no_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
