/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The governor at a device's segment, in real time and with the real thread: whatever others write
 * there or the thread does meanwhile, launches go on. The driver answers that it has no events, so
 * nothing is measured.
 */
#include "unit.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/units.h"
#include "governor/governor.h"
#include "group/helper.h"
#include "slice/slice.h"
#include "slice/watch.h"
#include "token/token.h"
#include "token/token_seat.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define KERNEL 0x100ull
#define HALF   500000u
/* A test that hangs is ended by a signal. */
#define PATIENCE_S 60

static char folder[] = "/dev/shm/cuslice-test-XXXXXX";
static char path[sizeof(folder) + 60];

struct driver driver;
_Atomic unsigned slice_device_count;
atomic_bool watch_has_news;

void watch_tell_news(void)
{
}

bool slice_exists_unknown(CUdevice device)
{
	return device == 0;
}

static CUresult ctx_get_device(CUdevice *ret_device)
{
	*ret_device = 0;
	return CUDA_SUCCESS;
}

static CUresult ctx_get_current(CUcontext *ret_context)
{
	*ret_context = (CUcontext)0x2000;
	return CUDA_SUCCESS;
}

static CUresult stream_get_contexts(CUstream stream, CUcontext *ret_context, CUgreenCtx *ret_green)
{
	(void)stream;
	*ret_green = NULL;
	return ctx_get_current(ret_context);
}

static CUresult stream_is_capturing(CUstream stream, CUstreamCaptureStatus *ret_status)
{
	(void)stream;
	*ret_status = CU_STREAM_CAPTURE_STATUS_NONE;
	return CUDA_SUCCESS;
}

static CUresult exchange_mode(CUstreamCaptureMode *mode)
{
	(void)mode;
	return CUDA_SUCCESS;
}

static CUresult event_create(CUevent *ret_event, unsigned int flags)
{
	(void)ret_event;
	(void)flags;
	return CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult stream_query(CUstream stream)
{
	(void)stream;
	return CUDA_SUCCESS;
}

static int setup(void **state)
{
	const struct token_request request = {.entitlement = {.guarantee_ppm = HALF, .weight = 1}};

	(void)state;
	strcpy(folder + strlen(folder) - 6, "XXXXXX");
	driver = (struct driver){
		.cuCtxGetDevice = ctx_get_device,
		.cuCtxGetCurrent = ctx_get_current,
		.cuStreamGetCtx_v2 = stream_get_contexts,
		.cuStreamIsCapturing = stream_is_capturing,
		.cuStreamQuery = stream_query,
		.cuThreadExchangeStreamCaptureMode = exchange_mode,
		.cuEventCreate = event_create,
	};
	if (mkdtemp(folder) == NULL || !governor_init() || !token_init())
		return -1;
	snprintf(path, sizeof(path), "%s/device-00000000000000000000000000000001", folder);
	token_name_device(0, path, &request);
	governor_set_device_count(1);
	governor_set_share(0, HALF);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

/* In a process of its own, as a program has one slot at a device for good. */
static void in_a_process(void (*test)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(PATIENCE_S);
		test();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void must(bool is_true, int line)
{
	if (!is_true) {
		print_error("line %d\n", line);
		_exit(1);
	}
}
#define MUST(claim) must(claim, __LINE__)

static void launch(unsigned count)
{
	struct ticket ticket;

	for (unsigned i = 0; i < count; i++) {
		governor_admit(KERNEL, NULL, NULL, &ticket);
		governor_submitted(&ticket, CUDA_SUCCESS);
	}
}

static atomic_bool is_about_to_launch;

/* As the watch does when a policy changes. The launch is waiting for the thread by now. */
static uint64_t change_share(void *unused)
{
	(void)unused;
	while (!atomic_load(&is_about_to_launch))
		clock_sleep_ns(NS_PER_MS);
	clock_sleep_ns(100 * NS_PER_MS);
	governor_set_share(0, HALF / 2);
	return NS_PER_S;
}

static void watch(void *unused)
{
	(void)helper_watch(change_share, unused);
}

static void launch_first(void)
{
	helper_do(watch, NULL);
	clock_sleep_ns(50 * NS_PER_MS); /* it is looking now */
	atomic_store(&is_about_to_launch, true);
	launch(1);
	MUST(governor_share(0) == HALF / 2);
}

static void first_launch_and_change_of_the_share_go_on(void **state)
{
	(void)state;
	in_a_process(launch_first);
}

static void damage_credit(void)
{
	static const int64_t damage[] = {INT64_MIN, INT64_MIN / 2, INT64_MIN / 2 - 1, INT64_MIN / 4,
		INT64_MIN / 4 - 1, -1, INT64_MAX / 2, INT64_MAX};

	launch(1);
	for (unsigned i = 0; i < ARRAY_LEN(damage); i++) {
		int64_t before_ns = (int64_t)governor_billed_ns(0);
		atomic_store(token_credit(token_join(0)), damage[i]);
		int64_t billed_ns = (int64_t)governor_billed_ns(0) - before_ns;
		MUST(billed_ns >= -2 * (int64_t)NS_PER_S && billed_ns <= 10 * (int64_t)NS_PER_MS);
		launch(10);
	}
}

/* More than was ever given is not spent, or one write would turn the share off for good. */
static void write_credit(void)
{
	_Atomic int64_t *credit_ns;

	launch(100);
	credit_ns = token_credit(token_join(0));
	for (int64_t written_ns = INT64_MAX; written_ns > 20 * (int64_t)NS_PER_MS;
		written_ns /= 2) {
		atomic_store(credit_ns, written_ns);
		launch(1);
		MUST(atomic_load(credit_ns) <= (int64_t)NS_PER_MS);
	}
	launch(100);
}

static void written_credit_does_not_turn_the_share_off(void **state)
{
	(void)state;
	in_a_process(write_credit);
}

static void damaged_credit_makes_no_bill_that_is_never_paid(void **state)
{
	(void)state;
	in_a_process(damage_credit);
}

static struct token_entitlement entitlement(void)
{
	const struct token_seat *seat = token_join(0);

	return token_unpack(word_load(&seat->segment->slots[seat->slot].entitlement));
}

static void change_terms(void)
{
	const struct governor_terms terms = {.has_turns = true,
		.may_borrow = true,
		.is_latency = true,
		.weight = 7,
		.quantum_ns = 2 * NS_PER_MS};

	launch(1);
	MUST(entitlement().guarantee_ppm == HALF && entitlement().class == TOKEN_BATCH);
	governor_set_terms(0, &terms);
	MUST(entitlement().weight == 7 && entitlement().class == TOKEN_LATENCY);
	MUST(entitlement().may_borrow && entitlement().guarantee_ppm == HALF);
	MUST(token_join(0)->quantum_ns == 2 * NS_PER_MS);
	governor_set_share(0, HALF / 2);
	MUST(entitlement().guarantee_ppm == HALF / 2 && entitlement().weight == 7);
	governor_set_share(0, PPM_WHOLE);
	MUST(entitlement().guarantee_ppm == 0);
	launch(1);
	governor_set_terms(0, &(struct governor_terms){0});
	MUST(entitlement().class == TOKEN_BATCH && !entitlement().may_borrow);
	launch(100);
}

static void what_is_asked_for_changes_at_once(void **state)
{
	(void)state;
	in_a_process(change_terms);
}

static void *begin_to_borrow(void *unused)
{
	(void)unused;
	clock_sleep_ns(100 * NS_PER_MS);
	governor_set_terms(0, &(struct governor_terms){.may_borrow = true});
	return NULL;
}

/* All of its time is spent, and a millionth of the device makes a microsecond in a second. */
static void wait_for_time(void)
{
	pthread_t thread;

	governor_set_burst(0, NS_PER_MS);
	governor_set_share(0, 1);
	MUST(pthread_create(&thread, NULL, begin_to_borrow, NULL) == 0);
	uint64_t begin_ns = clock_now_ns();
	launch(100000);
	MUST(clock_now_ns() - begin_ns >= 50 * NS_PER_MS);
	pthread_join(thread, NULL);
}

static void launch_that_waits_goes_when_it_may_borrow(void **state)
{
	(void)state;
	in_a_process(wait_for_time);
}

/* Without a seat launches are held to the share alone. What was billed until there is one is not
 * held against it. */
static void wait_for_a_seat(void)
{
	struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd;

	MUST(freopen("/dev/null", "w", stderr) != NULL); /* it is said once */
	MUST(segment_file_open(path, &token_kind, &fd, &(const char *){NULL}));
	MUST(fcntl(fd, F_OFD_SETLK, &all) == 0);
	launch(1);
	MUST(token_joined(0) == NULL);
	launch(200);
	close(fd);
	uint64_t begin_ns = clock_now_ns();
	while (token_joined(0) == NULL && clock_now_ns() < begin_ns + 20 * NS_PER_S)
		launch(1);
	struct token_seat *seat = token_joined(0);
	MUST(seat != NULL);
	uint64_t billed_ns = governor_billed_ns(0);
	launch(10);
	uint64_t more_ns = governor_billed_ns(0) - billed_ns;
	MUST(more_ns > 0 && more_ns < NS_PER_S / 10);
	MUST(entitlement().guarantee_ppm == HALF);
	MUST(word_load(&seat->segment->slots[seat->slot].used_ns) <= more_ns + 10 * NS_PER_MS);
}

static void seat_that_comes_later_is_taken(void **state)
{
	(void)state;
	in_a_process(wait_for_a_seat);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(first_launch_and_change_of_the_share_go_on),
		CASE(what_is_asked_for_changes_at_once),
		CASE(launch_that_waits_goes_when_it_may_borrow),
		CASE(seat_that_comes_later_is_taken),
		CASE(written_credit_does_not_turn_the_share_off),
		CASE(damaged_credit_makes_no_bill_that_is_never_paid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
