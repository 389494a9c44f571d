/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Members of a group: real processes that share bytes, and die, stop, fork and execute.
 */
#include "unit.h"
#include "base/clock.h"
#include "group/segment.h"
#include "group/segment_layout.h"
#include "puppet.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Bytes of the dead are to be back within 100 ms; what a loaded machine or a sanitizer adds is not
 * ours to fail for. */
#define PATIENCE_NS (5 * NS_PER_S)
/* Longer than a patrol takes to come by. */
#define SOME_TIME_NS (300 * NS_PER_MS)

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

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

static uint64_t used(const struct puppet *puppet)
{
	return puppet_do(puppet, PUPPET_USED, 0, 0);
}

static uint64_t limit(const struct puppet *puppet)
{
	return puppet_do(puppet, PUPPET_LIMIT, 0, 0);
}

static bool take(const struct puppet *puppet, uint64_t units)
{
	return puppet_do(puppet, PUPPET_TAKE, 0, units) == 1;
}

/* Waits until the puppet sees that many units used. Returns how long it took. */
static uint64_t wait_for_used(const struct puppet *puppet, uint64_t units)
{
	uint64_t start_ns = clock_now_ns();

	while (used(puppet) != units) {
		if (clock_now_ns() - start_ns > PATIENCE_NS)
			fail_msg("%llu units are used", (unsigned long long)used(puppet));
		clock_sleep_ns(NS_PER_MS);
	}
	return clock_now_ns() - start_ns;
}

static void members_share_one_quota(void **state)
{
	(void)state;
	struct puppet a = puppet_member(path), b = puppet_member(path);

	puppet_do(&a, PUPPET_ALLOW, 0, 100);
	assert_true(take(&a, 60));
	assert_false(take(&b, 41));
	assert_int_equal(used(&b), 60);
	assert_true(take(&b, 40));
	assert_false(take(&a, 1));
	puppet_do(&a, PUPPET_GIVE, 0, 10);
	assert_true(take(&b, 10));
	assert_int_equal(used(&a), 100);
	puppet_kill(&a);
	puppet_kill(&b);
}

static void devices_are_the_same_by_uuid_not_by_number(void **state)
{
	(void)state;
	struct puppet a = puppet_member(path), b = puppet_start(path);

	assert_int_equal(puppet_do(&b, PUPPET_ATTACH, 0, 0), 1);
	assert_int_equal(puppet_do(&b, PUPPET_NAME, 0, 2), 1);
	assert_int_equal(puppet_do(&b, PUPPET_NAME, 63, 1), 1);
	assert_true(take(&a, 7));
	assert_int_equal(puppet_do(&b, PUPPET_USED, 63, 0), 7);
	assert_int_equal(puppet_do(&b, PUPPET_USED, 0, 0), 0);
	puppet_kill(&a);
	puppet_kill(&b);
}

static void a_65th_device_is_refused(void **state)
{
	(void)state;
	struct puppet a = puppet_start(path);

	assert_int_equal(puppet_do(&a, PUPPET_ATTACH, 0, 0), 1);
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(puppet_do(&a, PUPPET_NAME, 0, i), 1);
	assert_int_equal(puppet_do(&a, PUPPET_NAME, 1, 64), 0);
	assert_int_equal(puppet_do(&a, PUPPET_NAME, 1, 63), 1);
	puppet_kill(&a);
}

static void what_is_taken_anyway_denies_growth(void **state)
{
	(void)state;
	struct puppet a = puppet_member(path);

	puppet_do(&a, PUPPET_ALLOW, 0, 100);
	puppet_do(&a, PUPPET_ANYWAY, 0, 150);
	assert_int_equal(used(&a), 150);
	assert_false(take(&a, 1));
	puppet_do(&a, PUPPET_GIVE, 0, 51);
	assert_true(take(&a, 1));
	assert_false(take(&a, 1));
	puppet_kill(&a);
}

static void strictest_limit_of_the_living_holds(void **state)
{
	(void)state;
	struct puppet a = puppet_member(path), b = puppet_member(path), c = puppet_member(path);

	assert_int_equal(limit(&c), SEGMENT_NO_LIMIT);
	puppet_do(&a, PUPPET_ALLOW, 0, 50);
	puppet_do(&b, PUPPET_ALLOW, 0, 80);
	assert_int_equal(limit(&c), 50);
	assert_false(take(&c, 51));
	puppet_kill(&a);
	wait_for_used(&c, 0);
	for (uint64_t start_ns = clock_now_ns(); limit(&c) == 50;) {
		if (clock_now_ns() - start_ns > PATIENCE_NS)
			fail_msg("a stale limit");
	}
	assert_int_equal(limit(&c), 80);
	puppet_kill(&b);
	puppet_kill(&c);
}

static void killed_member_s_bytes_come_back_though_nobody_allocates(void **state)
{
	uint64_t longest_ns = 0;

	(void)state;
	struct puppet a = puppet_member(path);
	for (unsigned round = 0; round < 10; round++) {
		struct puppet b = puppet_member(path);
		assert_true(take(&b, 1000));
		assert_int_equal(used(&a), 1000);
		puppet_kill(&b);
		uint64_t ns = wait_for_used(&a, 0);
		longest_ns = ns > longest_ns ? ns : longest_ns;
		assert_int_equal(puppet_do(&a, PUPPET_EXPECTS, 0, 0), 1);
	}
	printf("back after %llu ms at most\n", (unsigned long long)(longest_ns / NS_PER_MS));
	clock_sleep_ns(SOME_TIME_NS);
	assert_int_equal(puppet_do(&a, PUPPET_EXPECTS, 0, 0), 0);
	puppet_kill(&a);
}

static void newcomer_finds_the_bytes_of_the_dead_back(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 10; round++) {
		struct puppet a = puppet_member(path), b = puppet_member(path);
		assert_true(take(&a, 10));
		assert_true(take(&b, 20));
		puppet_kill(&a);
		puppet_kill(&b);
		struct puppet c = puppet_member(path);
		assert_int_equal(used(&c), 0);
		puppet_kill(&c);
	}
}

static void stopped_members_keep_what_they_hold_and_hang_nobody(void **state)
{
	(void)state;
	struct puppet stopped[4];

	puppet_set_stage();
	struct puppet dead = puppet_member(path);

	for (unsigned i = 0; i < 4; i++) {
		stopped[i] = puppet_member(path);
		assert_true(take(&stopped[i], 10));
	}
	assert_true(take(&dead, 1000));
	puppet_do(&dead, PUPPET_ALLOW, 0, 1500);
	for (unsigned i = 0; i < 4; i++)
		puppet_tell(&stopped[i], PUPPET_HAMMER, 0, 5);
	clock_sleep_ns(20 * NS_PER_MS);
	for (unsigned i = 0; i < 4; i++)
		kill(stopped[i].pid, SIGSTOP);
	struct puppet a = puppet_member(path);
	puppet_kill(&dead);
	clock_sleep_ns(SOME_TIME_NS);
	uint64_t of_stopped = used(&a);
	assert_true(of_stopped < 1000);
	assert_true(of_stopped >= 40);
	for (unsigned i = 0; i < 1000; i++) {
		assert_true(take(&a, 1));
		puppet_do(&a, PUPPET_GIVE, 0, 1);
	}
	assert_int_equal(used(&a), of_stopped);
	for (unsigned i = 0; i < 4; i++)
		puppet_kill(&stopped[i]);
	wait_for_used(&a, 0);
	puppet_kill(&a);
}

static void forked_child_holds_nothing_and_keeps_nothing_alive(void **state)
{
	(void)state;
	struct puppet a = puppet_member(path), b = puppet_member(path);

	puppet_do(&b, PUPPET_ALLOW, 0, 100);
	assert_true(take(&b, 60));
	pid_t sleeper = (pid_t)puppet_do(&b, PUPPET_FORK, 0, 0);
	assert_int_equal(puppet_do(&b, PUPPET_FORK_TAKE, 0, 41), 0);
	assert_int_equal(puppet_do(&b, PUPPET_FORK_TAKE, 0, 40), 1);
	wait_for_used(&a, 60);
	puppet_kill(&b);
	wait_for_used(&a, 0);
	assert_int_equal(kill(sleeper, SIGKILL), 0);
	puppet_kill(&a);
}

static void closing_all_descriptors_loses_no_slot(void **state)
{
	(void)state;
	struct puppet a = puppet_member(path), b = puppet_member(path);

	assert_true(take(&b, 60));
	assert_int_equal(puppet_do(&b, PUPPET_CLOSE_ALL, 0, 0), 1);
	clock_sleep_ns(SOME_TIME_NS);
	assert_int_equal(used(&a), 60);
	assert_true(take(&b, 1));
	/* It still patrols: a's bytes come back though all that is open was closed. */
	assert_true(take(&a, 5));
	puppet_kill(&a);
	wait_for_used(&b, 61);
	puppet_kill(&b);
}

static void program_sees_no_descriptor(void **state)
{
	(void)state;
	struct puppet a = puppet_start(path);

	uint64_t before = puppet_do(&a, PUPPET_DESCRIPTORS, 0, 0);
	assert_int_equal(puppet_do(&a, PUPPET_ATTACH, 0, 0), 1);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(puppet_do(&a, PUPPET_DESCRIPTORS, 0, 0), before);
	puppet_kill(&a);
}

/* A member for which some system calls do not exist. False where that cannot be arranged. */
static bool start_without(struct puppet *ret_puppet, const long calls[], unsigned count)
{
	*ret_puppet = puppet_start(path);
	for (unsigned i = 0; i < count; i++) {
		if (puppet_do(ret_puppet, PUPPET_DENY, 0, (uint64_t)calls[i]) != 1) {
			puppet_kill(ret_puppet);
			return false;
		}
	}
	assert_int_equal(puppet_do(ret_puppet, PUPPET_ATTACH, 0, 0), 1);
	assert_int_equal(puppet_do(ret_puppet, PUPPET_NAME, 0, 1), 1);
	return true;
}

static void old_kernel_gives_no_table_of_its_own_and_all_works(void **state)
{
	static const long calls[] = {436}; /* close_range */
	struct puppet a;

	(void)state;
	if (!start_without(&a, calls, 1))
		skip();
	struct puppet b = puppet_member(path);
	assert_true(take(&b, 60));
	assert_true(take(&a, 1));
	puppet_kill(&b);
	wait_for_used(&a, 1);
	assert_int_equal(puppet_do(&a, PUPPET_CLOSE_ALL, 0, 0), 1);
	b = puppet_member(path);
	assert_true(take(&b, 60));
	clock_sleep_ns(SOME_TIME_NS);
	assert_int_equal(used(&b), 61);
	puppet_kill(&a);
	wait_for_used(&b, 60);
	puppet_kill(&b);
}

static void without_threads_refusals_look_after_the_dead(void **state)
{
	static const long calls[] = {SYS_clone, SYS_clone3};
	struct puppet a, b;

	(void)state;
	if (!start_without(&a, calls, 2) || !start_without(&b, calls, 2))
		skip();
	assert_true(take(&b, 60));
	assert_true(take(&a, 1));
	puppet_kill(&b);
	clock_sleep_ns(SOME_TIME_NS);
	assert_int_equal(used(&a), 61);
	puppet_do(&a, PUPPET_LOOK_AFTER, 0, 0);
	assert_int_equal(used(&a), 1);
	puppet_kill(&a);
}

static void executing_another_program_gives_all_back(void **state)
{
	(void)state;
	struct puppet a = puppet_member(path), b = puppet_member(path);

	assert_true(take(&b, 60));
	puppet_tell(&b, PUPPET_EXECUTE, 0, 0);
	wait_for_used(&a, 0);
	assert_int_equal(kill(b.pid, 0), 0);
	puppet_kill(&b);
	puppet_kill(&a);
}

static void member_that_becomes_another_user_stays_one(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	chmod(folder, 0711);
	struct puppet a = puppet_member(path), b = puppet_member(path), c = puppet_start(path);

	assert_int_equal(puppet_do(&b, PUPPET_SET_USER, 0, 65534), 1);
	assert_int_equal(puppet_do(&c, PUPPET_SET_USER, 0, 65534), 1);
	assert_int_equal(puppet_do(&c, PUPPET_ATTACH, 0, 0), 1);
	assert_int_equal(puppet_do(&c, PUPPET_NAME, 0, 1), 1);
	assert_true(take(&a, 1));
	assert_true(take(&b, 2));
	assert_true(take(&c, 3));
	puppet_kill(&a);
	wait_for_used(&b, 5);
	puppet_kill(&c);
	wait_for_used(&b, 2);
	puppet_kill(&b);
}

static void a_257th_member_is_refused_until_one_has_died(void **state)
{
	static struct puppet puppets[256];

	(void)state;
	for (unsigned i = 0; i < 256; i++)
		puppets[i] = puppet_member(path);
	struct puppet last = puppet_start(path);
	assert_int_equal(puppet_do(&last, PUPPET_ATTACH, 0, 0), 0);
	for (unsigned i = 0; i < 256; i++)
		assert_true(take(&puppets[i], i + 1));
	assert_int_equal(used(&puppets[0]), 256 * 257 / 2);
	puppet_kill(&puppets[100]);
	assert_int_equal(puppet_do(&last, PUPPET_ATTACH, 0, 0), 1);
	assert_int_equal(puppet_do(&last, PUPPET_NAME, 0, 1), 1);
	wait_for_used(&last, 256 * 257 / 2 - 101);
	for (unsigned i = 0; i < 256; i++) {
		if (i != 100)
			puppet_kill(&puppets[i]);
	}
	wait_for_used(&last, 0);
	puppet_kill(&last);
}

static void units_in_flight_are_summed_and_go_with_their_process(void **state)
{
	(void)state;
	struct puppet a = puppet_member(path), b = puppet_member(path);

	assert_true(puppet_do(&a, PUPPET_FLY, 0, 3));
	assert_true(puppet_do(&b, PUPPET_FLY, 0, 4));
	assert_int_equal(puppet_do(&a, PUPPET_IN_FLIGHT, 0, 0), 7);
	struct puppet c = puppet_member(path);
	assert_true(puppet_do(&c, PUPPET_FLY, 0, 5));
	assert_int_equal(puppet_do(&a, PUPPET_IN_FLIGHT, 0, 0), 12);
	puppet_kill(&c);
	for (uint64_t start_ns = clock_now_ns(); puppet_do(&a, PUPPET_IN_FLIGHT, 0, 0) != 7;)
		assert_true(clock_now_ns() - start_ns < PATIENCE_NS);
	assert_true(take(&b, 1));
	puppet_kill(&b);
	wait_for_used(&a, 3);
	for (uint64_t start_ns = clock_now_ns(); puppet_do(&a, PUPPET_IN_FLIGHT, 0, 0) != 3;)
		assert_true(clock_now_ns() - start_ns < PATIENCE_NS);
	puppet_kill(&a);
}

static void damage(size_t offset, uint64_t value)
{
	int fd = open(path, O_RDWR);

	assert_int_equal(pwrite(fd, &value, sizeof(value), (off_t)offset), sizeof(value));
	close(fd);
}

static void damage_denies_growth_and_ends_nobody(void **state)
{
	(void)state;
	struct puppet a = puppet_member(path), b = puppet_member(path);

	assert_true(take(&a, 10));
	damage(offsetof(struct segment, devices) + offsetof(struct segment_device, word), 0);
	puppet_do(&a, PUPPET_GIVE, 0, 10);
	assert_false(take(&a, 1));
	assert_false(take(&b, 1));
	puppet_kill(&a);
	clock_sleep_ns(SOME_TIME_NS);
	assert_false(take(&b, 1));
	puppet_kill(&b);
}

static void garbage_in_all_of_it_ends_nobody(void **state)
{
	uint64_t random = 1;

	(void)state;
	struct puppet a = puppet_member(path), b = puppet_member(path);
	int fd = open(path, O_RDWR);
	for (size_t i = sizeof(struct segment_header); i < sizeof(struct segment); i += 8) {
		uint64_t value = random_next(&random);
		assert_int_equal(pwrite(fd, &value, 8, (off_t)i), 8);
	}
	close(fd);
	for (unsigned i = 0; i < 100; i++) {
		(void)take(&a, 1);
		(void)limit(&a);
		(void)used(&a);
		puppet_do(&a, PUPPET_GIVE, 0, 1);
		puppet_do(&a, PUPPET_ALLOW, 0, 1000 - i);
		(void)puppet_do(&a, PUPPET_EXPECTS, 0, 0);
	}
	puppet_kill(&b);
	clock_sleep_ns(SOME_TIME_NS);
	(void)take(&a, 1);
	puppet_kill(&a);
}

static void peek_tells_members_and_bytes(void **state)
{
	struct segment_view view;
	const char *reason = NULL;
	unsigned char uuid[16];

	(void)state;
	assert_false(segment_peek(path, &view, &reason));
	assert_string_equal(reason, "it does not exist");
	struct puppet a = puppet_member(path), b = puppet_member(path);
	puppet_do(&a, PUPPET_ALLOW, 0, 100);
	assert_true(take(&b, 10));
	assert_true(segment_peek(path, &view, &reason));
	memset(uuid, 1, sizeof(uuid));
	assert_int_equal(view.member_count, 2);
	assert_int_equal(view.device_count, 1);
	assert_int_equal(view.devices[0].identity, segment_identity(uuid));
	assert_int_equal(view.devices[0].used_bytes, 10 * 512);
	assert_int_equal(view.devices[0].quota_bytes, 100 * 512);
	puppet_kill(&a);
	puppet_kill(&b);
}

static void attach_to_another_group_is_refused(void **state)
{
	int status;

	(void)state;
	pid_t child = fork();
	if (child == 0) {
		const char *reason = "";
		if (segment_is_used() || !segment_attach(path, &reason) || !segment_is_used() ||
			!segment_attach(path, &reason))
			_exit(1);
		_exit(segment_attach("/other", &reason) || strstr(reason, "another") == NULL);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(members_share_one_quota),
		TEST(devices_are_the_same_by_uuid_not_by_number),
		TEST(a_65th_device_is_refused),
		TEST(what_is_taken_anyway_denies_growth),
		TEST(strictest_limit_of_the_living_holds),
		TEST(killed_member_s_bytes_come_back_though_nobody_allocates),
		TEST(newcomer_finds_the_bytes_of_the_dead_back),
		TEST(stopped_members_keep_what_they_hold_and_hang_nobody),
		TEST(forked_child_holds_nothing_and_keeps_nothing_alive),
		TEST(closing_all_descriptors_loses_no_slot),
		TEST(program_sees_no_descriptor),
		TEST(old_kernel_gives_no_table_of_its_own_and_all_works),
		TEST(without_threads_refusals_look_after_the_dead),
		TEST(executing_another_program_gives_all_back),
		TEST(member_that_becomes_another_user_stays_one),
		TEST(a_257th_member_is_refused_until_one_has_died),
		TEST(units_in_flight_are_summed_and_go_with_their_process),
		TEST(damage_denies_growth_and_ends_nobody),
		TEST(garbage_in_all_of_it_ends_nobody),
		TEST(peek_tells_members_and_bytes),
		TEST(attach_to_another_group_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
