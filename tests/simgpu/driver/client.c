/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * One SOCK_SEQPACKET connection per process, and the two mappings that come with it.
 */
#include "client.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct {
	_Atomic int fd;
	struct wire_machine *machine;
	struct wire_ring *ring;
	pthread_mutex_t ask_lock;
} client = {.fd = -1, .ask_lock = PTHREAD_MUTEX_INITIALIZER};

static int connect_to_server(void)
{
	const char *dir = getenv("SIMGPU_DIR");
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (!dir || !*dir)
		return -1;
	const int length = snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", dir);

	if (length < 0 || (size_t)length >= sizeof(address.sun_path))
		return -1;
	const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

static bool send_packet(int fd, const struct wire_request *request, size_t bytes)
{
	ssize_t sent;

	do {
		sent = send(fd, request, bytes, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	return sent == (ssize_t)bytes;
}

/* fds  room for `count` that come with the answer, at most 2; left alone where they do not */
static bool receive_reply(int fd, struct wire_reply *ret_reply, int fds[], size_t count)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(2 * sizeof(int))];
	} control;
	struct iovec part = {.iov_base = ret_reply, .iov_len = sizeof(*ret_reply)};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	ssize_t received;

	if (count > 0) {
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
	}
	do {
		received = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	} while (received < 0 && errno == EINTR);
	if (received <= 0)
		return false;
	const struct cmsghdr *header = count > 0 ? CMSG_FIRSTHDR(&message) : NULL;

	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
		header->cmsg_len == CMSG_LEN(count * sizeof(int)))
		memcpy(fds, CMSG_DATA(header), count * sizeof(int));
	return true;
}

/* Maps and closes `fd`. */
static void *map_shared(int fd, size_t bytes)
{
	void *ptr = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	close(fd);
	if (ptr == MAP_FAILED)
		return NULL;
	/* A forked child must not touch the parent's ring. */
	madvise(ptr, bytes, MADV_DONTFORK);
	return ptr;
}

static bool say_hello(int fd)
{
	const struct wire_request hello = {
		.kind = WIRE_HELLO, .bytes = WIRE_VERSION, .pid = getpid()};
	struct wire_reply reply;
	int fds[2] = {-1, -1};

	if (!send_packet(fd, &hello, sizeof(hello)) || !receive_reply(fd, &reply, fds, 2) ||
		fds[0] < 0)
		return false;
	client.ring = map_shared(fds[0], sizeof(*client.ring));
	client.machine = map_shared(fds[1], sizeof(*client.machine));
	return reply.status == WIRE_OK && client.ring && client.machine &&
	       client.machine->version == WIRE_VERSION;
}

bool client_open(void)
{
	const int fd = connect_to_server();

	if (fd < 0)
		return false;
	atomic_store(&client.fd, fd);
	if (say_hello(fd))
		return true;
	client_close();
	return false;
}

void client_close(void)
{
	const int fd = atomic_exchange(&client.fd, -1);

	if (fd >= 0)
		close(fd);
	if (client.ring)
		munmap(client.ring, sizeof(*client.ring));
	if (client.machine)
		munmap(client.machine, sizeof(*client.machine));
	client.ring = NULL;
	client.machine = NULL;
}

struct wire_machine *client_machine(void)
{
	return client.machine;
}

struct wire_ring *client_ring(void)
{
	return client.ring;
}

bool client_send(const struct wire_request *request, size_t bytes)
{
	return send_packet(atomic_load(&client.fd), request, bytes);
}

static bool ask(
	const struct wire_request *request, struct wire_reply *ret_reply, int fds[], size_t count)
{
	const int fd = atomic_load(&client.fd);

	pthread_mutex_lock(&client.ask_lock);
	const bool answered = send_packet(fd, request, sizeof(*request)) &&
			      receive_reply(fd, ret_reply, fds, count);

	pthread_mutex_unlock(&client.ask_lock);
	return answered;
}

bool client_ask(const struct wire_request *request, struct wire_reply *ret_reply)
{
	return ask(request, ret_reply, NULL, 0);
}

/* The server obeys in the order in which it was sent to, so an answer to what came later says that
 * it has obeyed. */
bool client_tell(const struct wire_request *request)
{
	const struct wire_request question = {.kind = WIRE_MEM_INFO};
	struct wire_reply reply;

	return client_send(request, sizeof(*request)) && client_ask(&question, &reply);
}

bool client_ask_fd(const struct wire_request *request, struct wire_reply *ret_reply, int *ret_fd)
{
	*ret_fd = -1;
	return ask(request, ret_reply, ret_fd, 1);
}

bool client_is_alive(void)
{
	struct pollfd query = {.fd = atomic_load(&client.fd), .events = POLLRDHUP};

	return poll(&query, 1, 0) <= 0 ||
	       !(query.revents & (POLLHUP | POLLRDHUP | POLLERR | POLLNVAL));
}
