/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The file of a segment: what is made, and what is not taken for one.
 */
#include "unit.h"
#include "group/segment_file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/dev/shm/cuslice-test-XXXXXX";
static char path[sizeof(folder) + 20];

static int setup(void **state)
{
	(void)state;
	strcpy(folder + strlen(folder) - 6, "XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/a.group", folder);
	return 0;
}

/* Also sees that nothing but the file has been left. */
static int teardown(void **state)
{
	(void)state;
	if (unlink(path) != 0)
		rmdir(path);
	return rmdir(folder);
}

static int opened(void)
{
	const char *reason = NULL;
	int fd = -1;

	if (!segment_file_open(path, &segment_kind_group, &fd, &reason))
		fail_msg("%s", reason);
	return fd;
}

static void must_be_refused(const char *text)
{
	const char *reason = NULL;
	int fd = 42;

	errno = 43;
	assert_false(segment_file_open(path, &segment_kind_group, &fd, &reason));
	assert_int_equal(fd, 42);
	assert_int_equal(errno, 43);
	assert_non_null(reason);
	if (strstr(reason, text) == NULL)
		fail_msg("%s", reason);
	assert_false(segment_file_peek(path, &segment_kind_group, &fd, &reason));
	assert_int_equal(fd, 42);
}

static void write_file(const void *bytes, size_t length)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, length), (ssize_t)length);
	close(fd);
}

static void open_makes_it_complete(void **state)
{
	struct stat status;

	(void)state;
	int fd = opened();
	assert_int_equal(fstat(fd, &status), 0);
	assert_int_equal(status.st_size, sizeof(struct segment));
	assert_true((uint64_t)status.st_blocks * 512 >= sizeof(struct segment));
	assert_int_equal(status.st_mode & 0777, geteuid() == 0 ? 0666 : 0600);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	struct segment *segment = segment_file_map(fd, &segment_kind_group, true);
	assert_non_null(segment);
	for (size_t i = sizeof(struct segment_header); i < sizeof(*segment); i++) {
		if (((const char *)segment)[i] != 0)
			fail_msg("byte %zu is not 0", i);
	}
	munmap(segment, sizeof(*segment));
	close(fd);
}

static void open_again_finds_the_same(void **state)
{
	struct segment_file_id id;

	(void)state;
	int first = opened(), second = opened();
	assert_true(segment_file_identify(first, &id));
	assert_true(segment_file_is(path, &id));
	int third = -1;
	assert_true(segment_file_reopen(path, &id, &third));
	close(first);
	close(second);
	close(third);
	unlink(path);
	assert_false(segment_file_is(path, &id));
	int other = opened();
	assert_false(segment_file_is(path, &id));
	assert_false(segment_file_reopen(path, &id, &third));
	close(other);
}

static void open_by_many_at_a_time_gives_all_the_same(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 50; round++) {
		int pipes[2];
		struct stat status, first = {0};
		unlink(path);
		assert_int_equal(pipe(pipes), 0);
		for (unsigned i = 0; i < 4; i++) {
			if (fork() != 0)
				continue;
			const char *reason;
			int fd;
			if (!segment_file_open(path, &segment_kind_group, &fd, &reason) ||
				fstat(fd, &status) != 0 ||
				write(pipes[1], &status, sizeof(status)) != sizeof(status))
				_exit(1);
			_exit(0);
		}
		for (unsigned i = 0; i < 4; i++) {
			int result;
			assert_true(wait(&result) > 0);
			assert_int_equal(result, 0);
			assert_int_equal(read(pipes[0], &status, sizeof(status)), sizeof(status));
			if (i == 0)
				first = status;
			assert_int_equal(status.st_ino, first.st_ino);
			assert_int_equal(status.st_size, sizeof(struct segment));
		}
		close(pipes[0]);
		close(pipes[1]);
	}
}

static void what_is_no_regular_file_is_refused(void **state)
{
	(void)state;
	assert_int_equal(mkfifo(path, 0600), 0);
	must_be_refused("no regular file");
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	must_be_refused("no regular file");
	rmdir(path);
	assert_int_equal(symlink("/dev/zero", path), 0);
	must_be_refused("no regular file");
	unlink(path);
	assert_int_equal(symlink("nowhere", path), 0);
	must_be_refused("no regular file");
}

static void what_is_too_short_is_refused(void **state)
{
	(void)state;
	write_file("", 0);
	must_be_refused("too short");
	write_file("cuslice\n", 8);
	must_be_refused("too short");
}

static void foreign_file_is_refused_and_left_alone(void **state)
{
	char text[200], after[200];

	(void)state;
	memset(text, 'x', sizeof(text));
	write_file(text, sizeof(text));
	must_be_refused("no segment of cuslice");
	int fd = open(path, O_RDONLY);
	assert_int_equal(read(fd, after, sizeof(after)), sizeof(after));
	assert_memory_equal(text, after, sizeof(text));
	close(fd);
}

static void change_header(size_t offset, uint32_t value)
{
	int fd = opened();

	assert_int_equal(pwrite(fd, &value, sizeof(value), (off_t)offset), sizeof(value));
	close(fd);
}

static void damaged_header_is_refused(void **state)
{
	static const struct {
		size_t offset;
		const char *reason;
	} fields[] = {
		{offsetof(struct segment_header, magic), "no segment of cuslice"},
		{offsetof(struct segment_header, version), "another version"},
		{offsetof(struct segment_header, size), "damaged"},
		{offsetof(struct segment_header, slot_count), "damaged"},
		{offsetof(struct segment_header, device_count), "damaged"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		change_header(fields[i].offset, 77);
		must_be_refused(fields[i].reason);
		unlink(path);
	}
}

static void cut_file_is_refused(void **state)
{
	(void)state;
	close(opened());
	assert_int_equal(truncate(path, sizeof(struct segment) - 1), 0);
	must_be_refused("has been cut");
	assert_int_equal(truncate(path, sizeof(struct segment_header)), 0);
	must_be_refused("has been cut");
}

static void impossible_names_are_refused(void **state)
{
	static char longest[5000];
	const char *reason = NULL;
	int fd;

	(void)state;
	memset(longest, '/', sizeof(longest) - 1);
	assert_false(segment_file_open(longest, &segment_kind_group, &fd, &reason));
	assert_string_equal(reason, "its name is not absolute, or too long");
	assert_false(segment_file_open("a.group", &segment_kind_group, &fd, &reason));
	assert_false(segment_file_open("", &segment_kind_group, &fd, &reason));
	assert_false(segment_file_open("/nowhere/at/all.group", &segment_kind_group, &fd, &reason));
	assert_string_equal(reason, "its directory does not exist");
	close(opened()); /* what teardown removes */
}

/* The kernel ends who goes beyond, by a signal: a program must not die of our file. */
static void limit_of_file_sizes_is_a_reason_and_no_death(void **state)
{
	int status;

	(void)state;
	pid_t child = fork();
	if (child == 0) {
		struct rlimit limit = {1000, 1000};
		const char *reason = "";
		int fd;
		setrlimit(RLIMIT_FSIZE, &limit);
		bool is_open = segment_file_open(path, &segment_kind_group, &fd, &reason);
		_exit(!is_open && strstr(reason, "RLIMIT_FSIZE") != NULL ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(access(path, F_OK), -1);
	close(opened());
}

static void permissions_are_a_reason(void **state)
{
	int status;

	(void)state;
	if (geteuid() != 0)
		skip();
	close(opened());
	chmod(path, 0600);
	chmod(folder, 0711);
	pid_t child = fork();
	if (child == 0) {
		const char *reason = "";
		int fd;
		if (setgid(65534) != 0 || setuid(65534) != 0)
			_exit(2);
		_exit(!segment_file_open(path, &segment_kind_group, &fd, &reason) &&
					strcmp(reason, "permission denied") == 0
				? 0
				: 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void full_file_system_is_a_reason_and_leaves_nothing(void **state)
{
	char inside[sizeof(path) + 20];
	const char *reason = "";
	int fd;

	(void)state;
	close(opened());
	if (mount("none", folder, "tmpfs", 0, "size=512k") != 0)
		skip();
	snprintf(inside, sizeof(inside), "%s/b.group", folder);
	assert_false(segment_file_open(inside, &segment_kind_group, &fd, &reason));
	assert_non_null(strstr(reason, "no room"));
	assert_int_equal(rmdir(inside), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(mount("none", folder, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
	assert_false(segment_file_open(inside, &segment_kind_group, &fd, &reason));
	assert_non_null(strstr(reason, "read-only"));
	assert_int_equal(umount(folder), 0);
}

static void locks_are_seen_by_others_and_go_with_the_mapping(void **state)
{
	struct segment_file_id id;
	int other;

	(void)state;
	int fd = opened();
	assert_true(segment_file_identify(fd, &id));
	assert_true(segment_file_reopen(path, &id, &other));
	assert_true(segment_file_is_free(other, 255));
	assert_true(segment_file_lock(fd, 255));
	assert_false(segment_file_is_free(other, 255));
	assert_true(segment_file_is_free(other, 254));
	assert_false(segment_file_lock(other, 255));
	struct segment *segment = segment_file_map(fd, &segment_kind_group, true);
	close(fd);
	assert_false(segment_file_is_free(other, 255));
	munmap(segment, sizeof(*segment));
	assert_true(segment_file_is_free(other, 255));
	assert_true(segment_file_lock(other, 255));
	segment_file_unlock(other, 255);
	close(other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(open_makes_it_complete),
		TEST(open_again_finds_the_same),
		TEST(open_by_many_at_a_time_gives_all_the_same),
		TEST(what_is_no_regular_file_is_refused),
		TEST(what_is_too_short_is_refused),
		TEST(foreign_file_is_refused_and_left_alone),
		TEST(damaged_header_is_refused),
		TEST(cut_file_is_refused),
		TEST(impossible_names_are_refused),
		TEST(limit_of_file_sizes_is_a_reason_and_no_death),
		TEST(permissions_are_a_reason),
		TEST(full_file_system_is_a_reason_and_leaves_nothing),
		TEST(locks_are_seen_by_others_and_go_with_the_mapping),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
