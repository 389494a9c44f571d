/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The ledger of a member of a group, beside another process that is one.
 */
#include "unit.h"
#include "group/segment.h"
#include "ledger/ledger.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/dev/shm/cuslice-test-XXXXXX";
static char path[sizeof(folder) + 20];

/* Another process, which runs `there` when it is told to. */
static struct other {
	pid_t pid;
	int to[2], from[2];
} other;

static bool become_member(void)
{
	static const unsigned char uuid[16] = {7};
	const char *reason;

	return segment_attach(path, &reason) && segment_name_device(0, uuid, &reason) &&
	       ledger_init();
}

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

static void start_other(bool (*there)(void))
{
	char byte = 0;

	assert_int_equal(pipe(other.to), 0);
	assert_int_equal(pipe(other.from), 0);
	other.pid = fork();
	if (other.pid == 0) {
		close(other.to[1]);
		close(other.from[0]);
		if (!become_member())
			_exit(1);
		while (read(other.to[0], &byte, 1) == 1) {
			byte = there() ? 1 : 0;
			if (write(other.from[1], &byte, 1) != 1)
				break;
		}
		_exit(0);
	}
}

static bool ask_other(void)
{
	char byte = 0;

	return write(other.to[1], &byte, 1) == 1 && read(other.from[0], &byte, 1) == 1 && byte != 0;
}

/* Runs the test in a process of its own: who has been a member stays one. */
static void run_here(bool (*here)(void))
{
	int status;
	pid_t child = fork();

	if (child == 0)
		_exit(become_member() && here() ? 0 : 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	for (unsigned i = 0; i < 2; i++) {
		close(other.to[i]);
		close(other.from[i]);
	}
	waitpid(other.pid, NULL, 0);
	assert_int_equal(status, 0);
}

#define MUST(condition)                                                \
	do {                                                           \
		if (!(condition)) {                                    \
			printf("line %d: %s\n", __LINE__, #condition); \
			return false;                                  \
		}                                                      \
	} while (0)

static bool take_1024(void)
{
	struct reservation reservation;

	return ledger_reserve(0, LEDGER_ARRAY, 1024, &reservation);
}

static bool tighten_to_2000(void)
{
	ledger_tighten_quota(0, 2000);
	return true;
}

static bool fly_512(void)
{
	struct reservation reservation = {.device = 0, .kind = LEDGER_ARRAY};
	uint64_t flying_bytes = 0;

	return ledger_extend_in_flight(&reservation, 512, &flying_bytes) && flying_bytes == 512;
}

static bool bytes_of_others_count(void)
{
	struct reservation reservation;

	ledger_tighten_quota(0, 4096);
	MUST(ask_other());
	MUST(ledger_used(0) == 1024);
	MUST(ledger_used_here(0) == 0);
	MUST(ledger_used_for(0, LEDGER_ARRAY) == 0);
	MUST(!ledger_reserve(0, LEDGER_LINEAR, 3073, &reservation));
	MUST(ledger_reserve(0, LEDGER_LINEAR, 3072, &reservation));
	MUST(!ask_other());
	MUST(ledger_used(0) == 4096);
	MUST(ledger_used_here(0) == 3072);
	MUST(ledger_used_for(0, LEDGER_LINEAR) == 3072);
	MUST(ledger_give_backs(0) == 0);
	ledger_shrink(&reservation, 2048);
	MUST(ledger_give_backs(0) == 1);
	MUST(ask_other());
	MUST(!ledger_extend(&reservation, 2049));
	ledger_settle(&reservation, 4096);
	MUST(ledger_used(0) == 6144);
	MUST(!ask_other());
	ledger_settle(&reservation, 512);
	MUST(ledger_used(0) == 2560);
	MUST(ledger_commit(&reservation, 77, NULL));
	struct holding holding;
	MUST(ledger_take_out(77, &holding));
	ledger_give_back(&holding);
	MUST(ledger_used(0) == 2048);
	MUST(ledger_used_here(0) == 0);
	return true;
}

static bool strictest_quota_holds(void)
{
	struct reservation reservation;

	MUST(ledger_quota(0) == LEDGER_UNLIMITED);
	ledger_tighten_quota(0, 4100);
	MUST(ledger_quota(0) == 4100);
	MUST(ask_other());
	MUST(ledger_quota(0) == 1536); /* what fits of 2000, in what the driver takes */
	MUST(!ledger_reserve(0, LEDGER_LINEAR, 1537, &reservation));
	MUST(ledger_reserve(0, LEDGER_LINEAR, 1536, &reservation));
	ledger_tighten_quota(0, 1000);
	MUST(ledger_quota(0) == 1000);
	return true;
}

/* Whatever sizes come, what was taken is given back. */
static bool odd_sizes_add_up(void)
{
	uint64_t random = 5;

	for (unsigned i = 0; i < 2000; i++) {
		struct reservation reservation;
		MUST(ledger_reserve(
			0, LEDGER_LINEAR, random_between(&random, 0, 3000), &reservation));
		MUST(ledger_extend(&reservation, random_between(&random, 0, 5000)));
		ledger_shrink(&reservation, random_between(&random, 0, 5000));
		ledger_settle(&reservation, random_between(&random, 0, 5000));
		MUST(ledger_used(0) - reservation.bytes < 512);
		ledger_cancel(&reservation);
		MUST(ledger_used(0) == 0);
		MUST(ledger_used_here(0) == 0);
	}
	return true;
}

static bool too_much_is_refused(void)
{
	struct reservation reservation;

	MUST(!ledger_reserve(0, LEDGER_LINEAR, UINT64_MAX, &reservation));
	MUST(!ledger_reserve(0, LEDGER_LINEAR, UINT64_MAX - 511, &reservation));
	MUST(ledger_reserve(0, LEDGER_LINEAR, 512, &reservation));
	MUST(!ledger_extend(&reservation, UINT64_MAX));
	MUST(ledger_used(0) == 512);
	return true;
}

static bool bytes_in_flight_are_everybody_s(void)
{
	struct reservation reservation = {.device = 0, .kind = LEDGER_ARRAY};
	uint64_t flying_bytes = 0;

	ledger_tighten_quota(0, 2048);
	MUST(ask_other());
	MUST(ledger_extend_in_flight(&reservation, 1024, &flying_bytes) && flying_bytes == 1024);
	MUST(ledger_in_flight(0) == 1536 && ledger_in_flight_here(0) == 1024);
	/* What is refused is not told any more. */
	MUST(!ledger_extend_in_flight(&reservation, 2048, &flying_bytes) && flying_bytes == 1024);
	MUST(!ledger_extend_in_flight(&reservation, 4096, &flying_bytes) && flying_bytes == 1024);
	MUST(ledger_in_flight(0) == 1536 && ledger_used(0) == 1536);
	MUST(ledger_extend_in_flight(&reservation, 1536, &flying_bytes) && flying_bytes == 1536);
	ledger_end_flight(0, 1536);
	MUST(ledger_in_flight(0) == 512);
	return true;
}

static bool child_holds_nothing_and_obeys(void)
{
	int status;
	struct reservation reservation;

	ledger_tighten_quota(0, 4096);
	MUST(ledger_reserve(0, LEDGER_LINEAR, 3072, &reservation));
	pid_t child = fork();
	if (child == 0) {
		bool is_right = ledger_used_here(0) == 0 && ledger_used(0) == 3072 &&
				ledger_quota(0) == 4096 &&
				!ledger_reserve(0, LEDGER_LINEAR, 1025, &reservation) &&
				ledger_reserve(0, LEDGER_LINEAR, 1024, &reservation);
		_exit(is_right ? 0 : 1);
	}
	MUST(waitpid(child, &status, 0) == child);
	MUST(status == 0);
	return true;
}

static void bytes_of_other_members_count(void **state)
{
	(void)state;
	start_other(take_1024);
	run_here(bytes_of_others_count);
}

static void quota_is_the_strictest_of_all_members(void **state)
{
	(void)state;
	start_other(tighten_to_2000);
	run_here(strictest_quota_holds);
}

static void sizes_that_are_no_multiples_add_up(void **state)
{
	(void)state;
	start_other(take_1024);
	run_here(odd_sizes_add_up);
}

static void more_than_any_device_has_is_refused(void **state)
{
	(void)state;
	start_other(take_1024);
	run_here(too_much_is_refused);
}

static void bytes_in_flight_are_those_of_all_members(void **state)
{
	(void)state;
	start_other(fly_512);
	run_here(bytes_in_flight_are_everybody_s);
}

static void forked_child_is_a_member_of_its_own(void **state)
{
	(void)state;
	start_other(take_1024);
	run_here(child_holds_nothing_and_obeys);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(bytes_of_other_members_count),
		TEST(quota_is_the_strictest_of_all_members),
		TEST(sizes_that_are_no_multiples_add_up),
		TEST(more_than_any_device_has_is_refused),
		TEST(bytes_in_flight_are_those_of_all_members),
		TEST(forked_child_is_a_member_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
