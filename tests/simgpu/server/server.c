/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The loop of the server: sleep until something arrives or ends, bring the machine up to date,
 * serve.
 */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "address.h"
#include "machine.h"
#include "shared.h"

#define NS_PER_US UINT64_C(1000)
#define NS_PER_S  UINT64_C(1000000000)

/* A full ring is looked at this often: its client says nothing when it has made room. */
#define FULL_RING_POLL_NS UINT64_C(1000000)

#define EVENTS_PER_WAKE 64

static volatile sig_atomic_t got_signal;

static void on_signal(int signal_number)
{
	(void)signal_number;
	got_signal = 1;
}

uint64_t server_clock_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

void server_apply_settings(struct server *server)
{
	const struct settings *settings = &server->settings;
	for (uint32_t i = 0; i < settings->device_count; i++) {
		struct account_device *device = &server->accounts.devices[i];
		uint64_t limit_bytes = settings->devices[i].limit_bytes;
		device->memory_bytes = settings->devices[i].memory_bytes;
		if (limit_bytes != 0 && limit_bytes < device->memory_bytes)
			device->memory_bytes = limit_bytes;
		device->granularity_bytes = settings->devices[i].granularity_bytes;
	}
	engine_set_slices(
		server->engine, settings->slice_us * NS_PER_US, settings->switch_us * NS_PER_US);
	machine_write(server->machine, settings);
}

/* Signals come through only while the server sleeps: nothing else need expect them. */
static void set_up_process(sigset_t *ret_while_asleep)
{
	struct sigaction action = {.sa_handler = on_signal};
	sigset_t blocked;
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGINT);
	sigaddset(&blocked, SIGHUP);
	sigprocmask(SIG_BLOCK, &blocked, ret_while_asleep);
	sigdelset(ret_while_asleep, SIGTERM);
	sigdelset(ret_while_asleep, SIGINT);
	sigdelset(ret_while_asleep, SIGHUP);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	/* The kernel adds 50 us to every sleep by default. */
	prctl(PR_SET_TIMERSLACK, 1UL);
	/* Every block is a file. */
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

static int listen_at(const struct sockaddr_un *address)
{
	unlink(address->sun_path);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (const struct sockaddr *)address, sizeof(*address)) ||
		listen(fd, SOMAXCONN)) {
		fprintf(stderr, "simgpu: \"%s\": %s\n", address->sun_path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

static int open_listener(const char *dir)
{
	struct sockaddr_un address;
	if (!address_of_machine(dir, &address))
		return -1;
	if (address_accepts(&address)) {
		fprintf(stderr, "simgpu: \"%s\": a server runs there already\n", dir);
		return -1;
	}
	return listen_at(&address);
}

/* Nothing is said there: that one can connect is all that programs want to know. */
static int open_mps_listener(const char *dir)
{
	struct sockaddr_un address;
	return address_of_mps(dir, &address) ? listen_at(&address) : -1;
}

static bool server_init(struct server *server, const struct settings *settings,
	const struct server_options *options)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
	*server = (struct server){
		.settings = *settings, .machine_fd = -1, .epoll_fd = -1, .mps_fd = -1};
	server->listen_fd = open_listener(options->dir);
	if (server->listen_fd >= 0 && settings->mps)
		server->mps_fd = open_mps_listener(options->dir);
	if (server->listen_fd < 0 || (settings->mps && server->mps_fd < 0))
		return false;
	server->machine_fd = shared_create(
		"simgpu-machine", sizeof(*server->machine), (void **)&server->machine);
	server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (server->machine_fd < 0 || server->epoll_fd < 0 ||
		epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, server->listen_fd, &event)) {
		perror("simgpu");
		return false;
	}
	server->engine = engine_create(client_on_end);
	for (uint32_t i = 0; i < settings->device_count; i++)
		engine_add_device(server->engine, settings->devices[i].sm_count);
	if (settings->mps)
		engine_share(server->engine);
	server_apply_settings(server);
	return true;
}

static void server_finish(struct server *server, const struct server_options *options)
{
	struct sockaddr_un address;
	if (server->mps_fd >= 0 && address_of_mps(options->dir, &address)) {
		unlink(address.sun_path);
		close(server->mps_fd);
	}
	/* The connections go last: that they close says that the machine is gone. */
	if (server->listen_fd >= 0 && address_of_machine(options->dir, &address)) {
		unlink(address.sun_path);
		close(server->listen_fd);
	}
	if (server->listen_fd >= 0 && options->is_temporary && rmdir(options->dir))
		fprintf(stderr, "simgpu: \"%s\": %s\n", options->dir, strerror(errno));
	while (server->clients)
		client_close(server->clients);
	if (server->engine)
		engine_destroy(server->engine);
	blocks_finish(&server->blocks);
	accounts_finish(&server->accounts);
	if (server->machine_fd >= 0) {
		munmap(server->machine, sizeof(*server->machine));
		close(server->machine_fd);
	}
	if (server->epoll_fd >= 0)
		close(server->epoll_fd);
}

/* How long to sleep; NULL: until something arrives. */
static struct timespec *time_to_sleep(const struct server *server, struct timespec *storage)
{
	uint64_t wake_ns = engine_next(server->engine);
	uint64_t return_ns = accounts_next_return(&server->accounts);
	if (return_ns < wake_ns)
		wake_ns = return_ns;
	if (server->has_waiters && engine_is_idle(server->engine))
		wake_ns = 0;
	uint64_t now_ns = server_clock_ns();
	if (server->dirty && now_ns + FULL_RING_POLL_NS < wake_ns)
		wake_ns = now_ns + FULL_RING_POLL_NS;
	if (wake_ns == NEVER_NS)
		return NULL;
	uint64_t sleep_ns = wake_ns > now_ns ? wake_ns - now_ns : 0;
	storage->tv_sec = (time_t)(sleep_ns / NS_PER_S);
	storage->tv_nsec = (long)(sleep_ns % NS_PER_S);
	return storage;
}

static void bring_up_to_date(struct server *server)
{
	server->now_ns = server_clock_ns();
	engine_advance(server->engine, server->now_ns);
	accounts_return_due(&server->accounts, server->now_ns);
	client_flush_all(server);
}

static void accept_all(struct server *server)
{
	int fd;
	while ((fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
		client_open(server, fd);
}

static void serve(struct server *server, const sigset_t *while_asleep)
{
	struct epoll_event events[EVENTS_PER_WAKE];
	struct timespec storage;
	while (!got_signal && !server->is_stopping) {
		struct pollfd epoll = {.fd = server->epoll_fd, .events = POLLIN};
		ppoll(&epoll, 1, time_to_sleep(server, &storage), while_asleep);
		bring_up_to_date(server);
		int count = epoll_wait(server->epoll_fd, events, EVENTS_PER_WAKE, 0);
		/* Not while there may be operations that wait to be read. */
		if (count == 0)
			control_answer_idle(server);
		for (int i = 0; i < count; i++) {
			if (!events[i].data.ptr)
				accept_all(server);
			else
				client_serve(events[i].data.ptr,
					(events[i].events & (EPOLLHUP | EPOLLERR)) != 0);
		}
	}
}

static void announce(const struct server_options *options)
{
	if (options->is_detached) {
		int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
		for (int fd = 0; fd <= 2; fd++)
			dup2(null_fd, fd);
		close(null_fd);
	}
	if (options->ready_fd >= 0) {
		ssize_t written = write(options->ready_fd, "", 1);
		(void)written; /* who does not wait any more need not know */
		close(options->ready_fd);
	}
}

int server_run(const struct settings *settings, const struct server_options *options)
{
	static struct server server;
	sigset_t while_asleep;
	set_up_process(&while_asleep);
	bool is_good = server_init(&server, settings, options);
	if (is_good) {
		announce(options);
		serve(&server, &while_asleep);
	}
	server_finish(&server, options);
	return is_good ? 0 : 1;
}
