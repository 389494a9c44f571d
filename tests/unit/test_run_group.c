/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Segments that are removed at the very moment when processes join: nobody is left behind in a
 * group that others do not find. The processes are real ones; those that remove do not wait until
 * a segment has grown old.
 */
#include "unit.h"
#include "base/clock.h"
#include "cli/run_group.h"
#include "group/segment.h"
#include "group/segment_file.h"
#include "test_config_tree.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MEMBERS  3
#define REMOVERS 2
#define ROUNDS   100
#define LONGEST  (2 * NS_PER_S) /* on a slow machine there are fewer rounds */

/* Shared by all processes of a round. */
static struct round {
	atomic_uint joined, refused;
	atomic_uint seen[MEMBERS]; /* units of the group, as each member sees them */
	atomic_bool is_over;
} * common;

static char path[600];

static void be_member(unsigned number)
{
	static const unsigned char uuid[16] = {1};
	const char *reason;

	if (!segment_attach(path, &reason) || !segment_name_device(0, uuid, &reason)) {
		fprintf(stderr, "%s\n", reason);
		atomic_fetch_add(&common->refused, 1);
		_exit(1);
	}
	segment_take_anyway(0, 1);
	atomic_fetch_add(&common->joined, 1);
	while (common->joined < MEMBERS && common->refused == 0)
		poll(NULL, 0, 1);
	common->seen[number] = (unsigned)segment_used(0);
	/* Nobody leaves before all have looked. */
	atomic_fetch_add(&common->joined, 1);
	while (common->joined < 2 * MEMBERS && common->refused == 0)
		poll(NULL, 0, 1);
	_exit(0);
}

static void be_remover(void)
{
	/* A test that fails does not come to its end. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
		_exit(1);
	while (!common->is_over)
		run_group_clean_up(tree_path(""));
	_exit(0);
}

static void play_round(void)
{
	pid_t members[MEMBERS];

	common->joined = common->refused = 0;
	for (unsigned i = 0; i < MEMBERS; i++) {
		members[i] = fork();
		if (members[i] == 0)
			be_member(i);
	}
	for (unsigned i = 0; i < MEMBERS; i++)
		assert_int_equal(waitpid(members[i], NULL, 0), members[i]);
	assert_int_equal(common->refused, 0);
	for (unsigned i = 0; i < MEMBERS; i++)
		assert_int_equal(common->seen[i], MEMBERS);
}

static void members_are_together_while_others_remove(void **state)
{
	unsigned removed_count = 0, round_count = 0;
	pid_t removers[REMOVERS];

	(void)state;
	/* No process has this number: the run is over. */
	snprintf(path, sizeof(path), "%s", tree_path("run-999999999-00.group"));
	common->is_over = false;
	for (unsigned i = 0; i < REMOVERS; i++) {
		removers[i] = fork();
		if (removers[i] == 0)
			be_remover();
	}
	uint64_t end_ns = clock_now_ns() + LONGEST;
	while (round_count < ROUNDS && (clock_now_ns() < end_ns || removed_count == 0)) {
		play_round();
		round_count++;
		removed_count += access(path, F_OK) != 0;
	}
	common->is_over = true;
	for (unsigned i = 0; i < REMOVERS; i++)
		assert_int_equal(waitpid(removers[i], NULL, 0), removers[i]);
	print_message("removed at the end of %u rounds of %u\n", removed_count, round_count);
	assert_true(removed_count > 0);
}

static void a_new_one_stays_until_its_maker_closes_it(void **state)
{
	const char *reason;
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s", tree_path("run-999999999-00.group"));
	assert_true(segment_file_open(path, &segment_kind_group, &fd, &reason));
	run_group_clean_up(tree_path(""));
	assert_int_equal(access(path, F_OK), 0);
	close(fd);
	run_group_clean_up(tree_path(""));
	assert_int_equal(access(path, F_OK), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_new_one_stays_until_its_maker_closes_it, tree_make, tree_remove),
		cmocka_unit_test_setup_teardown(
			members_are_together_while_others_remove, tree_make, tree_remove),
	};

	common = mmap(
		NULL, sizeof(*common), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return common == MAP_FAILED ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
