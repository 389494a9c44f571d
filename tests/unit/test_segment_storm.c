/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Many members that take and give as fast as they can while they are killed, stopped and replaced
 * at random: never over the quota, and in the end not one unit too many or too few. TESTS_FULL=1
 * makes it longer and larger.
 */
#include "unit.h"
#include "base/clock.h"
#include "group/segment.h"
#include "puppet.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_MEMBERS 64
#define QUOTA       1000u

static char folder[] = "/dev/shm/cuslice-test-XXXXXX";
static char path[sizeof(folder) + 20];
static struct puppet members[MAX_MEMBERS];

static bool is_full(void)
{
	return getenv("TESTS_FULL") != NULL;
}

static int setup(void **state)
{
	(void)state;
	strcpy(folder + strlen(folder) - 6, "XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/a.group", folder);
	puppet_set_stage();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

static struct puppet hammering_member(enum puppet_order order)
{
	struct puppet puppet = puppet_member(path);

	puppet_do(&puppet, PUPPET_ALLOW, 0, QUOTA);
	puppet_tell(&puppet, order, 0, 40);
	return puppet;
}

static void must_be_within_quota(void)
{
	struct segment_view view;
	const char *reason;

	if (!segment_peek(path, &view, &reason))
		fail_msg("%s", reason);
	assert_true(view.device_count == 1);
	if (view.devices[0].used_bytes > QUOTA * SEGMENT_UNIT)
		fail_msg("%llu bytes are used", (unsigned long long)view.devices[0].used_bytes);
	assert_int_equal(view.devices[0].quota_bytes, QUOTA * SEGMENT_UNIT);
}

static void wait_for_used(const struct puppet *puppet, uint64_t units)
{
	uint64_t start_ns = clock_now_ns(), used;

	while ((used = puppet_do(puppet, PUPPET_USED, 0, 0)) != units) {
		if (clock_now_ns() - start_ns > 5 * NS_PER_S)
			fail_msg("%llu units are used, %llu are held", (unsigned long long)used,
				(unsigned long long)units);
		clock_sleep_ns(NS_PER_MS);
	}
}

/* Replaces those that have died by themselves. Returns how many. */
static unsigned replace_dead(unsigned first, unsigned count)
{
	unsigned replaced = 0;

	for (unsigned i = first; i < count; i++) {
		if (waitpid(members[i].pid, NULL, WNOHANG) != members[i].pid)
			continue;
		close(members[i].fd);
		members[i] = hammering_member(PUPPET_HAMMER_AND_DIE);
		replaced++;
	}
	return replaced;
}

/* The first quarter of them are stopped at times, and killed; the others die by themselves. On a
 * slow or busy computer it takes longer until enough of them have. */
static unsigned rage(unsigned count, uint64_t span_ns, unsigned least_deaths)
{
	uint64_t random = 42, start_ns = clock_now_ns(), past_ns = 0;
	unsigned deaths = 0;

	while (past_ns < span_ns || (deaths < least_deaths && past_ns < 10 * span_ns)) {
		past_ns = clock_now_ns() - start_ns;
		unsigned i = (unsigned)random_between(&random, 0, count / 4 - 1);
		unsigned what = (unsigned)random_between(&random, 0, 3);
		must_be_within_quota();
		if (what == 0) {
			puppet_kill(&members[i]);
			members[i] = hammering_member(PUPPET_HAMMER);
			deaths++;
		}
		kill(members[i].pid, what == 1 ? SIGSTOP : SIGCONT);
		deaths += replace_dead(count / 4, count);
	}
	return deaths;
}

/* What those hold that are still there, by their own account. */
static uint64_t calm_down(unsigned count)
{
	uint64_t held = 0, answer;

	atomic_store(&puppet_stage->is_over, true);
	for (unsigned i = 0; i < count; i++) {
		kill(members[i].pid, SIGCONT);
		if (puppet_has_answered(&members[i], &answer))
			held += answer;
	}
	return held;
}

static void storm(unsigned count, uint64_t span_ns, unsigned least_deaths)
{
	for (unsigned i = 0; i < count; i++)
		members[i] =
			hammering_member(i < count / 4 ? PUPPET_HAMMER : PUPPET_HAMMER_AND_DIE);
	unsigned deaths = rage(count, span_ns, least_deaths);
	uint64_t held = calm_down(count);
	printf("%u members, %u deaths, %llu units held\n", count, deaths, (unsigned long long)held);
	assert_true(deaths >= least_deaths);
	wait_for_used(&members[0], held);
	for (unsigned i = 0; i < count; i++)
		puppet_kill(&members[i]);
	members[0] = puppet_member(path);
	wait_for_used(&members[0], 0);
	puppet_kill(&members[0]);
}

static void members_killed_and_stopped_at_random_lose_no_unit(void **state)
{
	(void)state;
	storm(16, (is_full() ? 60 : 2) * NS_PER_S, 5);
}

static void many_members_lose_no_unit(void **state)
{
	(void)state;
	if (!is_full())
		skip();
	storm(MAX_MEMBERS, 60 * NS_PER_S, 1000);
}

static void last_unit_is_granted_to_exactly_one_of_two(void **state)
{
	uint64_t rounds = is_full() ? 100000 : 3000;

	(void)state;
	struct puppet a = puppet_member(path), b = puppet_member(path);
	puppet_do(&a, PUPPET_ALLOW, 0, 1);
	puppet_tell(&a, PUPPET_RACE, 0, rounds);
	puppet_tell(&b, PUPPET_RACE, 0, rounds);
	assert_int_equal(puppet_hear(&a), 0);
	assert_int_equal(puppet_hear(&b), 0);
	wait_for_used(&a, 0);
	puppet_kill(&a);
	puppet_kill(&b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(members_killed_and_stopped_at_random_lose_no_unit),
		TEST(many_members_lose_no_unit),
		TEST(last_unit_is_granted_to_exactly_one_of_two),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
