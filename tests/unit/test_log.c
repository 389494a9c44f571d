/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Lines on stderr: form, level, length, and that errno is the program's.
 */
#include "unit.h"
#include "base/log.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int pipe_fds[2], real_stderr;

static int setup(void **state)
{
	(void)state;
	log_set_level(LOG_WARN);
	if (pipe(pipe_fds) != 0)
		return -1;
	real_stderr = dup(STDERR_FILENO);
	return dup2(pipe_fds[1], STDERR_FILENO) < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	return 0;
}

/* What was written so far. */
static void read_written(char *text, size_t size)
{
	ssize_t len;

	dup2(real_stderr, STDERR_FILENO);
	close(pipe_fds[1]);
	pipe_fds[1] = dup(real_stderr);
	len = read(pipe_fds[0], text, size - 1);
	text[len > 0 ? len : 0] = '\0';
}

static void write_is_one_line_with_pid_and_module(void **state)
{
	char wanted[100], text[200];

	(void)state;
	log_write("ledger", "refused %d of %s", 3, "4 GiB");

	read_written(text, sizeof(text));
	snprintf(wanted, sizeof(wanted), "cuslice[%ld] ledger: refused 3 of 4 GiB\n",
		(long)getpid());
	assert_string_equal(text, wanted);
}

static void write_too_long_is_cut_and_ends_with_a_newline(void **state)
{
	char long_text[3000], text[4000];

	(void)state;
	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	log_write("config", "%s", long_text);

	read_written(text, sizeof(text));
	size_t len = strlen(text);
	assert_in_range(len, 900, 1000);
	assert_int_equal(text[len - 1], '\n');
	assert_ptr_equal(strchr(text, '\n'), text + len - 1);
	assert_int_equal(text[len - 2], 'x');
}

/* The longest that fits, and one more: every byte around the end. */
static void write_around_the_limit_keeps_every_byte_that_fits(void **state)
{
	char long_text[1000], text[2000];

	(void)state;
	memset(long_text, 'y', sizeof(long_text));
	int head = snprintf(text, sizeof(text), "cuslice[%ld] m: ", (long)getpid());
	long_text[998 - head] = '\0';
	log_write("m", "%s", long_text);

	read_written(text, sizeof(text));
	assert_int_equal(strlen(text), 999);
	assert_int_equal(text[997], 'y');
}

static void write_keeps_errno(void **state)
{
	(void)state;
	errno = 4711;
	log_write("m", "text");
	assert_int_equal(errno, 4711);
}

static void write_to_a_closed_stderr_keeps_errno(void **state)
{
	(void)state;
	close(STDERR_FILENO);
	errno = 4711;
	log_write("m", "text");
	int seen = errno;
	dup2(real_stderr, STDERR_FILENO);
	assert_int_equal(seen, 4711);
}

static unsigned evaluations;

static const char *counted(void)
{
	evaluations++;
	return "x";
}

/* The default action of SIGPIPE would end this program. */
static void write_to_a_broken_pipe_raises_no_signal(void **state)
{
	sigset_t pending;

	(void)state;
	close(pipe_fds[0]);
	errno = ENOTTY;
	log_write("test", "nobody reads this");

	assert_int_equal(errno, ENOTTY);
	assert_int_equal(sigpending(&pending), 0);
	assert_int_equal(sigismember(&pending, SIGPIPE), 0);
	pipe_fds[0] = dup(real_stderr);
}

static void at_below_the_level_evaluates_and_writes_nothing(void **state)
{
	char text[100];

	(void)state;
	evaluations = 0;
	log_at(LOG_INFO, "m", "%s", counted());
	log_at(LOG_DEBUG, "m", "%s", counted());

	read_written(text, sizeof(text));
	assert_string_equal(text, "");
	assert_int_equal(evaluations, 0);
}

static void at_or_above_the_level_writes(void **state)
{
	char text[200];

	(void)state;
	evaluations = 0;
	log_set_level(LOG_INFO);
	log_at(LOG_ERROR, "m", "%s", counted());
	log_at(LOG_INFO, "m", "%s", counted());
	log_at(LOG_DEBUG, "m", "%s", counted());

	read_written(text, sizeof(text));
	assert_int_equal(evaluations, 2);
	assert_non_null(strchr(strchr(text, '\n') + 1, '\n'));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			write_is_one_line_with_pid_and_module, setup, teardown),
		cmocka_unit_test_setup_teardown(
			write_too_long_is_cut_and_ends_with_a_newline, setup, teardown),
		cmocka_unit_test_setup_teardown(
			write_around_the_limit_keeps_every_byte_that_fits, setup, teardown),
		cmocka_unit_test_setup_teardown(write_keeps_errno, setup, teardown),
		cmocka_unit_test_setup_teardown(
			write_to_a_closed_stderr_keeps_errno, setup, teardown),
		cmocka_unit_test_setup_teardown(
			write_to_a_broken_pipe_raises_no_signal, setup, teardown),
		cmocka_unit_test_setup_teardown(
			at_below_the_level_evaluates_and_writes_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(at_or_above_the_level_writes, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
