/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The segment of a device between real processes: who gets a slot, who loses it, and who is woken.
 */
#include "unit.h"
#include "base/clock.h"
#include "token/token.h"
#include "token/token_view.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEVICE 3

static char folder[] = "/dev/shm/cuslice-test-XXXXXX";
static char path[sizeof(folder) + 60];
static const struct token_request request = {.entitlement = {.guarantee_ppm = 300000, .weight = 7}};

/* Each test in a process of its own: a process has one slot at a device for good. */
static void in_a_process(void (*test)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		test();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static int setup(void **state)
{
	(void)state;
	strcpy(folder + strlen(folder) - 6, "XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/device-00000000000000000000000000000001", folder);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

/* In a process that is there to end by a failed check as any program would. */
static void must(bool is_true, int line)
{
	if (!is_true) {
		fprintf(stderr, "line %d\n", line);
		_exit(1);
	}
}
#define MUST(claim) must(claim, __LINE__)

static struct token_seat *join(void)
{
	MUST(token_init());
	token_name_device(DEVICE, path, &request);
	struct token_seat *seat = token_join(DEVICE);
	MUST(seat != NULL);
	return seat;
}

static void alone(void)
{
	struct stat info;
	unsigned ring;

	MUST(token_init());
	MUST(token_join(DEVICE) == NULL);
	struct token_seat *seat = join();
	MUST(stat(path, &info) == 0 && info.st_size == sizeof(struct token_segment));
	MUST((info.st_mode & 0777) == 0600); /* also of root */
	MUST(token_join(DEVICE) == seat && seat->slot == 0 && !token_has_others(seat));
	MUST(!token_sees_others(seat));
	MUST(token_rate_ppm(seat) == 300000);
	MUST(token_ask(seat, TOKEN_ENTITLED, 0, clock_now_ns(), &ring) == 0 && token_is_held(seat));
	struct token_entitlement wanted = {200000, 9, TOKEN_LATENCY, true}, found;
	token_agree(seat, &wanted, 2 * NS_PER_MS);
	MUST(token_rate_ppm(seat) == 200000 && seat->quantum_ns == 2 * NS_PER_MS);
	wanted.guarantee_ppm = 1000000;
	token_agree(seat, &wanted, 0);
	found = token_unpack(word_load(&seat->segment->slots[0].entitlement));
	MUST(found.guarantee_ppm == 0 && found.weight == 9 && found.class == TOKEN_LATENCY &&
		found.may_borrow && seat->quantum_ns == TOKEN_QUANTUM_NS);
	token_agree(seat, &request.entitlement, request.quantum_ns);
	MUST(token_rate_ppm(seat) == 300000);
}

static void member_alone_has_it_all(void **state)
{
	(void)state;
	in_a_process(alone);
}

static void refused(void)
{
	FILE *file = fopen(path, "w");

	MUST(file != NULL && fputs("no segment\n", file) >= 0 && fclose(file) == 0);
	MUST(freopen("/dev/null", "w", stderr) != NULL); /* it is said once */
	MUST(token_init());
	token_name_device(DEVICE, path, &request);
	MUST(token_join(DEVICE) == NULL && token_join(DEVICE) == NULL);
}

static void file_that_is_no_segment_is_refused(void **state)
{
	(void)state;
	in_a_process(refused);
}

/* The thread has its own descriptors, and begins to count anew. */
static void redirected(void)
{
	char file[sizeof(path)];
	struct stat info;

	snprintf(file, sizeof(file), "%s/input", folder);
	int fd = open(file, O_RDWR | O_CREAT | O_TRUNC, 0600);
	MUST(fd >= 0 && dup2(fd, 0) == 0 && dup2(fd, 1) == 1);
	(void)join();
	MUST(fstat(fd, &info) == 0 && info.st_nlink == 1 && info.st_size == 0);
	unlink(file);
}

static void descriptors_of_the_program_are_not_its_file(void **state)
{
	(void)state;
	in_a_process(redirected);
}

static void write_header_to(const char *file, uint32_t version, uint32_t bytes)
{
	struct segment_header header = {.version = version,
		.size = sizeof(struct token_segment),
		.slot_count = TOKEN_SLOTS,
		.device_count = 1};

	memcpy(header.magic, "cuslice\t", sizeof(header.magic));
	int fd = open(file, O_RDWR | O_CREAT | O_TRUNC, 0600);
	MUST(fd >= 0 && ftruncate(fd, bytes) == 0);
	MUST(pwrite(fd, &header, sizeof(header), 0) == (ssize_t)sizeof(header) && close(fd) == 0);
}

static void write_header(uint32_t version, uint32_t bytes)
{
	write_header_to(path, version, bytes);
}

static uint32_t version_there(void)
{
	struct segment_header header = {0};
	int fd = open(path, O_RDONLY);

	MUST(fd >= 0 && pread(fd, &header, sizeof(header), 0) == (ssize_t)sizeof(header));
	close(fd);
	return header.version;
}

/* As a process of the other version has one: in any slot of its own. */
static int hold(off_t slot)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = slot, .l_len = 1};
	int fd = open(path, O_RDWR);

	MUST(fd >= 0 && fcntl(fd, F_OFD_SETLK, &lock) == 0);
	return fd;
}

/* All slots are taken by living processes, until they are not. What is said of it is said once. */
static void crowded(void)
{
	struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char said[400];

	snprintf(said, sizeof(said), "%s/said", folder);
	write_header(TOKEN_VERSION, sizeof(struct token_segment));
	int fd = open(path, O_RDWR);
	MUST(fd >= 0 && fcntl(fd, F_OFD_SETLK, &all) == 0);
	MUST(freopen(said, "w+", stderr) != NULL && unlink(said) == 0);
	MUST(token_init());
	token_name_device(DEVICE, path, &request);
	uint64_t begin_ns = clock_now_ns(), first_ns = 0;
	while (clock_now_ns() < begin_ns + 2500 * NS_PER_MS) {
		MUST(token_join(DEVICE) == NULL && token_joined(DEVICE) == NULL);
		first_ns = first_ns == 0 ? clock_now_ns() - begin_ns : first_ns;
		clock_sleep_ns(10 * NS_PER_MS);
	}
	MUST(first_ns < 20 * NS_PER_S);
	close(fd);
	while (token_join(DEVICE) == NULL && clock_now_ns() < begin_ns + 30 * NS_PER_S)
		clock_sleep_ns(10 * NS_PER_MS);
	MUST(token_joined(DEVICE) != NULL && token_joined(DEVICE) == token_join(DEVICE));
	long length = lseek(STDERR_FILENO, 0, SEEK_END);
	MUST(length > 0 && length < (long)sizeof(said));
	MUST(pread(STDERR_FILENO, said, (size_t)length, 0) == length);
	said[length] = '\0';
	MUST(strstr(said, "256 slots are taken") != NULL);
	MUST(strchr(said, '\n') == said + length - 1);
}

static void one_too_many_comes_in_later(void **state)
{
	(void)state;
	in_a_process(crowded);
}

static void left_by_another_version(void)
{
	write_header(TOKEN_VERSION - 1, sizeof(struct token_segment));
	(void)join();
	MUST(version_there() == TOKEN_VERSION);
}

static void left_cut(void)
{
	write_header(TOKEN_VERSION, 4096);
	(void)join();
}

static void used_by_another_version(void)
{
	write_header(TOKEN_VERSION + 1, sizeof(struct token_segment));
	(void)hold(200);
	MUST(freopen("/dev/null", "w", stderr) != NULL); /* it is said once */
	MUST(token_init());
	token_name_device(DEVICE, path, &request);
	MUST(token_join(DEVICE) == NULL && version_there() == TOKEN_VERSION + 1);
}

static void what_another_version_left_is_replaced(void **state)
{
	(void)state;
	in_a_process(left_by_another_version);
	in_a_process(left_cut);
}

static void what_another_version_uses_is_respected(void **state)
{
	(void)state;
	in_a_process(used_by_another_version);
}

static bool becomes(bool (*is_so)(struct token_seat *seat), struct token_seat *seat, bool wanted,
	uint64_t within_ns)
{
	uint64_t end_ns = clock_now_ns() + within_ns;

	while (is_so(seat) != wanted && clock_now_ns() < end_ns)
		clock_sleep_ns(NS_PER_MS / 2);
	return is_so(seat) == wanted;
}

/* A child takes the token, says that it has an hour of work on the device, and is killed. */
static void killed(void)
{
	struct token_seat *seat = join();
	int status;
	unsigned ring, slot = seat->slot;

	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		struct token_seat *own = token_join(DEVICE);
		MUST(own != NULL && own->slot != slot && token_has_others(own));
		MUST(token_sees_others(own));
		MUST(token_ask(own, TOKEN_ENTITLED, 0, clock_now_ns(), &ring) == 0);
		token_publish(own, 0, clock_now_ns() + 3600 * NS_PER_S, clock_now_ns());
		for (;;)
			pause();
	}
	MUST(becomes(token_has_others, seat, true, 20 * NS_PER_S));
	while (word_load(&seat->segment->slots[1].drained_at_ns) == 0)
		clock_sleep_ns(NS_PER_MS);
	MUST(!token_is_held(seat));
	MUST(token_ask(seat, TOKEN_ENTITLED, 0, clock_now_ns(), &ring) > 0);
	MUST(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child);
	uint64_t killed_at_ns = clock_now_ns();
	MUST(becomes(token_has_others, seat, false, 20 * NS_PER_S));
	/* The thread may still be about to take the token from the slot. */
	while (token_ask(seat, TOKEN_ENTITLED, 0, clock_now_ns(), &ring) > 0 &&
		clock_now_ns() < killed_at_ns + 21 * NS_PER_S)
		clock_sleep_ns(NS_PER_MS / 2);
	MUST(token_is_held(seat));
	MUST(token_others_drain_ns(seat, clock_now_ns()) == 0);
}

static void dead_holder_is_cleared_by_the_others_thread(void **state)
{
	(void)state;
	in_a_process(killed);
}

/* A slot with a tenant and without an owner, and fewer slots in use than there are. */
static void haunted(void)
{
	struct token_seat *seat = join();
	struct token_segment *segment = seat->segment;

	word_store(&segment->slots_used, 0);
	word_store(&segment->slots[5].group, 77);
	word_store(&segment->slots[5].drained_at_ns, UINT64_MAX);
	uint64_t end_ns = clock_now_ns() + 20 * NS_PER_S;
	while ((word_load(&segment->slots[5].group) != 0 || word_load(&segment->slots_used) == 0) &&
		clock_now_ns() < end_ns)
		clock_sleep_ns(NS_PER_MS);
	MUST(word_load(&segment->slots[5].group) == 0);
	MUST(word_load(&segment->slots_used) > seat->slot);
	MUST(word_load(&segment->slots[seat->slot].group) != 0);
}

static void damage_of_one_that_has_gone_is_mended(void **state)
{
	(void)state;
	in_a_process(haunted);
}

static struct token_seat *sleeper_seat;

static void *sleep_long(void *ret_ns)
{
	uint64_t begin_ns = clock_now_ns();
	uint32_t seen = token_bell(sleeper_seat);

	atomic_store((atomic_int *)ret_ns, 1);
	token_sleep(sleeper_seat, seen, 30 * NS_PER_S);
	atomic_store((atomic_int *)ret_ns, clock_now_ns() - begin_ns < 20 * NS_PER_S ? 2 : 3);
	return NULL;
}

/* By another process, for the bell is shared. */
static void rung(void)
{
	atomic_int state = 0;
	pthread_t thread;

	sleeper_seat = join();
	unsigned slot = sleeper_seat->slot;
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		struct token_seat *own = token_join(DEVICE);
		MUST(own != NULL);
		token_ring(own, TOKEN_NO_SLOT);
		for (;; clock_sleep_ns(NS_PER_MS))
			token_ring(own, slot);
	}
	MUST(becomes(token_has_others, sleeper_seat, true, 20 * NS_PER_S));
	MUST(pthread_create(&thread, NULL, sleep_long, &state) == 0);
	pthread_join(thread, NULL);
	MUST(atomic_load(&state) == 2);
	MUST(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
}

static void bell_wakes_who_sleeps_on_it(void **state)
{
	(void)state;
	in_a_process(rung);
}

static void seen(void)
{
	static struct token_view view;
	const char *reason;

	MUST(!token_peek(path, &view, &reason) && strcmp(reason, "it does not exist") == 0);
	struct token_seat *seat = join();
	token_bill(seat, 12345);
	MUST(token_peek(path, &view, &reason) && view.count == 1);
	MUST(view.tenants[0].processes == 1 && view.tenants[0].used_ns == 12345);
	MUST(view.tenants[0].entitlement.guarantee_ppm == 300000 && !view.tenants[0].has_token);
}

static void peek_tells_who_is_there(void **state)
{
	(void)state;
	in_a_process(seen);
}

/* What nobody uses and is old goes when a new device comes; what somebody uses stays, and so does
 * what is no segment. */
static void cleaned(void)
{
	static const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	static const char text[100] = "{}";
	char other[sizeof(path)], used[sizeof(path)], users[sizeof(path)];

	snprintf(other, sizeof(other), "%s/device-1", folder);
	snprintf(used, sizeof(used), "%s/device-2", folder);
	snprintf(users, sizeof(users), "%s/device-map.json", folder);
	MUST(token_init());
	token_name_device(0, used, &request);
	MUST(token_join(0) != NULL);
	write_header_to(other, TOKEN_VERSION - 1, 4096);
	int fd = open(users, O_RDWR | O_CREAT, 0600);
	MUST(fd >= 0 && write(fd, text, sizeof(text)) == sizeof(text) && close(fd) == 0);
	MUST(utimensat(AT_FDCWD, other, old, 0) == 0 && utimensat(AT_FDCWD, used, old, 0) == 0 &&
		utimensat(AT_FDCWD, users, old, 0) == 0);
	token_name_device(DEVICE, path, &request);
	MUST(token_join(DEVICE) != NULL);
	MUST(access(other, F_OK) != 0 && access(used, F_OK) == 0 && access(users, F_OK) == 0);
	unlink(used);
	unlink(users);
}

static void unused_files_are_removed(void **state)
{
	(void)state;
	in_a_process(cleaned);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static void entitlement_survives_packing_and_is_clamped(void **state)
{
	struct token_entitlement in = {300000, 10000, TOKEN_LATENCY, true}, out;

	(void)state;
	out = token_unpack(token_pack(&in));
	assert_int_equal(out.guarantee_ppm, 300000);
	assert_int_equal(out.weight, 10000);
	assert_int_equal(out.class, TOKEN_LATENCY);
	assert_true(out.may_borrow);
	out = token_unpack(UINT64_MAX);
	assert_int_equal(out.guarantee_ppm, 1000000);
	assert_int_equal(out.weight, 10000);
	assert_int_equal(token_unpack(0).weight, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entitlement_survives_packing_and_is_clamped),
		CASE(member_alone_has_it_all),
		CASE(file_that_is_no_segment_is_refused),
		CASE(descriptors_of_the_program_are_not_its_file),
		CASE(one_too_many_comes_in_later),
		CASE(what_another_version_left_is_replaced),
		CASE(what_another_version_uses_is_respected),
		CASE(dead_holder_is_cleared_by_the_others_thread),
		CASE(damage_of_one_that_has_gone_is_mended),
		CASE(bell_wakes_who_sleeps_on_it),
		CASE(peek_tells_who_is_there),
		CASE(unused_files_are_removed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
