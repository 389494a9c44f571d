/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "unit.h"
#include "puppet.h"

#include "base/clock.h"
#include "group/segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

struct order {
	enum puppet_order order;
	unsigned device;
	uint64_t value;
};

struct puppet_stage *puppet_stage;
static const char *path;

void puppet_set_stage(void)
{
	if (puppet_stage == NULL)
		puppet_stage = mmap(NULL, sizeof(*puppet_stage), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(puppet_stage, MAP_FAILED);
	atomic_store(&puppet_stage->is_over, false);
	atomic_store(&puppet_stage->arrived, 0);
	atomic_store(&puppet_stage->granted, 0);
}

static uint64_t name_device(const struct order *order)
{
	unsigned char uuid[16];
	const char *reason;

	memset(uuid, (int)order->value, sizeof(uuid));
	return segment_name_device(order->device, uuid, &reason);
}

static uint64_t close_all(int own_fd)
{
	close(open(path, O_RDWR | O_CLOEXEC));
	/* By system calls: a sanitizer takes the thread's own table for this one. */
	for (int fd = 0; fd < 1024; fd++) {
		if (fd != own_fd)
			syscall(SYS_close, fd);
	}
	return 1;
}

static uint64_t deny(const struct order *order)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)order->value, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = 4, .filter = filter};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}

static uint64_t count_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	uint64_t count = 0;

	while (readdir(directory) != NULL)
		count++;
	closedir(directory);
	return count - 3; /* `.`, `..` and the directory itself */
}

static uint64_t fork_sleeper(int own_fd)
{
	pid_t child = fork();

	if (child == 0) {
		close(own_fd);
		alarm(60); /* should nobody end it */
		for (;;)
			pause();
	}
	return (uint64_t)child;
}

static uint64_t fork_and_take(const struct order *order)
{
	pid_t child = fork();
	int status;

	if (child == 0)
		_exit(segment_take(order->device, order->value) ? 1 : 0);
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? (uint64_t)WEXITSTATUS(status) : 1000;
}

static void execute(int own_fd)
{
	close(own_fd);
	execlp("sleep", "sleep", "1000", (char *)NULL);
	_exit(1);
}

static uint64_t hammer(const struct order *order)
{
	uint64_t random = (uint64_t)getpid(), held = 0;

	while (!atomic_load_explicit(&puppet_stage->is_over, memory_order_relaxed)) {
		uint64_t units = random_between(&random, 1, order->value);
		if (held >= units && random_next(&random) % 2 == 0) {
			segment_give(order->device, units);
			held -= units;
		} else if (segment_take(order->device, units)) {
			held += units;
		}
	}
	return held;
}

/* A timer's signal ends it, at whatever instruction it is then. */
static uint64_t hammer_and_die(const struct order *order)
{
	uint64_t random = (uint64_t)getpid() * clock_now_ns();
	struct itimerval never = {0}, soon = {0};

	soon.it_value.tv_usec = (suseconds_t)random_between(&random, 1, 5000);
	setitimer(ITIMER_REAL, &soon, NULL);
	uint64_t held = hammer(order);
	setitimer(ITIMER_REAL, &never, NULL);
	return held;
}

/* Waits until as many have come here as two have on their way to this barrier. */
static void wait_at(uint64_t barrier)
{
	atomic_fetch_add(&puppet_stage->arrived, 1);
	while (atomic_load(&puppet_stage->arrived) < 2 * barrier)
		sched_yield();
}

static uint64_t race(const struct order *order)
{
	uint64_t mistakes = 0;

	for (uint64_t round = 0; round < order->value; round++) {
		wait_at(3 * round + 1);
		bool is_granted = segment_take(order->device, 1);
		if (is_granted)
			atomic_fetch_add(&puppet_stage->granted, 1);
		wait_at(3 * round + 2);
		mistakes += atomic_load(&puppet_stage->granted) != round + 1;
		wait_at(3 * round + 3);
		if (is_granted)
			segment_give(order->device, 1);
	}
	return mistakes;
}

static uint64_t follow(const struct order *order, int own_fd)
{
	const char *reason;

	switch (order->order) {
	case PUPPET_ATTACH:
		return segment_attach(path, &reason);
	case PUPPET_NAME:
		return name_device(order);
	case PUPPET_TAKE:
		return segment_take(order->device, order->value);
	case PUPPET_ANYWAY:
		segment_take_anyway(order->device, order->value);
		return 0;
	case PUPPET_GIVE:
		segment_give(order->device, order->value);
		return 0;
	case PUPPET_USED:
		return segment_used(order->device);
	case PUPPET_LIMIT:
		return segment_limit(order->device);
	case PUPPET_ALLOW:
		segment_allow(order->device, order->value);
		return 0;
	case PUPPET_ALLOW_SHARE:
		segment_allow_share(order->device, (uint32_t)order->value);
		return 0;
	case PUPPET_SHARE:
		return segment_share(order->device);
	case PUPPET_SET_BUCKET:
		atomic_store(&segment_bucket(0)[order->device], order->value);
		return 0;
	case PUPPET_BUCKET:
		return atomic_load(&segment_bucket(0)[order->device]);
	case PUPPET_UNBILLED:
		segment_note_in_flight_ns(order->device, order->value, 0);
		return 0;
	case PUPPET_DRAINED_AT:
		segment_note_in_flight_ns(order->device, 0, order->value);
		return 0;
	case PUPPET_SUM_UNBILLED:
		return segment_unbilled_ns(order->device);
	case PUPPET_EXPECTS:
		return segment_expects_memory(order->device);
	case PUPPET_FLY:
		return segment_take_in_flight(order->device, 0, order->value);
	case PUPPET_IN_FLIGHT:
		return segment_in_flight(order->device);
	case PUPPET_SET_USER:
		return setgid((gid_t)order->value) == 0 && setuid((uid_t)order->value) == 0;
	case PUPPET_CLOSE_ALL:
		return close_all(own_fd);
	case PUPPET_DESCRIPTORS:
		return count_descriptors();
	case PUPPET_DENY:
		return deny(order);
	case PUPPET_LOOK_AFTER:
		segment_look_after();
		return 0;
	case PUPPET_FORK:
		return fork_sleeper(own_fd);
	case PUPPET_FORK_TAKE:
		return fork_and_take(order);
	case PUPPET_EXECUTE:
		execute(own_fd);
		return 0;
	case PUPPET_HAMMER:
		return hammer(order);
	case PUPPET_HAMMER_AND_DIE:
		return hammer_and_die(order);
	case PUPPET_RACE:
		return race(order);
	}
	return 0;
}

static void live(int fd)
{
	struct order order;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(fd, &order, sizeof(order)) == (ssize_t)sizeof(order)) {
		uint64_t answer = follow(&order, fd);
		if (write(fd, &answer, sizeof(answer)) != (ssize_t)sizeof(answer))
			break;
	}
	_exit(0);
}

struct puppet puppet_start(const char *segment_path)
{
	struct puppet puppet;
	int fds[2];

	path = segment_path;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	puppet.pid = fork();
	assert_true(puppet.pid >= 0);
	if (puppet.pid == 0) {
		/* Others' ends, too: a puppet must not keep another from seeing the end. */
		for (int fd = 3; fd < 1024; fd++) {
			if (fd != fds[1])
				close(fd);
		}
		live(fds[1]);
	}
	close(fds[1]);
	puppet.fd = fds[0];
	return puppet;
}

void puppet_tell(
	const struct puppet *puppet, enum puppet_order order, unsigned device, uint64_t value)
{
	struct order message;

	memset(&message, 0, sizeof(message));
	message = (struct order){order, device, value};
	assert_int_equal(write(puppet->fd, &message, sizeof(message)), sizeof(message));
}

bool puppet_has_answered(const struct puppet *puppet, uint64_t *ret_answer)
{
	return read(puppet->fd, ret_answer, sizeof(*ret_answer)) == (ssize_t)sizeof(*ret_answer);
}

uint64_t puppet_hear(const struct puppet *puppet)
{
	uint64_t answer;

	assert_true(puppet_has_answered(puppet, &answer));
	return answer;
}

uint64_t puppet_do(
	const struct puppet *puppet, enum puppet_order order, unsigned device, uint64_t value)
{
	puppet_tell(puppet, order, device, value);
	return puppet_hear(puppet);
}

struct puppet puppet_member(const char *segment_path)
{
	struct puppet puppet = puppet_start(segment_path);

	assert_int_equal(puppet_do(&puppet, PUPPET_ATTACH, 0, 0), 1);
	assert_int_equal(puppet_do(&puppet, PUPPET_NAME, 0, 1), 1);
	return puppet;
}

void puppet_kill(struct puppet *puppet)
{
	kill(puppet->pid, SIGKILL);
	waitpid(puppet->pid, NULL, 0);
	close(puppet->fd);
}
