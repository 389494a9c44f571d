/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The wire protocol, for a client that submits no work: the completion ring is not even mapped.
 */
#include "link.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int connect_to_server(void)
{
	const char *dir = getenv("SIMGPU_DIR");
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (!dir || !*dir)
		return -1;
	int length = snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", dir);
	if (length < 0 || (size_t)length >= sizeof(address.sun_path))
		return -1;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

static bool send_packet(int fd, const struct wire_request *request, size_t size)
{
	ssize_t sent;

	do {
		sent = send(fd, request, size, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	return sent == (ssize_t)size;
}

/* Receive a reply, and with it the two descriptors that come with the answer to HELLO: -1 where
 * none came. */
static bool receive_packet(int fd, struct wire_reply *ret_reply, int ret_fds[2])
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(2 * sizeof(int))];
	} control;
	struct iovec part = {.iov_base = ret_reply, .iov_len = sizeof(*ret_reply)};
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};
	ssize_t received;

	ret_fds[0] = ret_fds[1] = -1;
	do {
		received = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	} while (received < 0 && errno == EINTR);
	if (received <= 0)
		return false;
	const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_type == SCM_RIGHTS &&
		header->cmsg_len == CMSG_LEN(2 * sizeof(int)))
		memcpy(ret_fds, CMSG_DATA(header), 2 * sizeof(int));
	return received == sizeof(*ret_reply);
}

/* Greet the server and map the machine that it answers with. */
static const struct wire_machine *greet(int fd)
{
	const struct wire_request hello = {.kind = WIRE_HELLO, .bytes = WIRE_VERSION};
	struct wire_reply reply;
	int fds[2] = {-1, -1};
	void *machine = MAP_FAILED;

	bool is_welcome = send_packet(fd, &hello, sizeof(hello)) &&
			  receive_packet(fd, &reply, fds) && reply.status == WIRE_OK;
	if (is_welcome)
		machine = mmap(NULL, sizeof(struct wire_machine), PROT_READ, MAP_SHARED, fds[1], 0);
	for (unsigned int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return machine == MAP_FAILED ? NULL : machine;
}

bool link_open(struct link *ret_link)
{
	struct link link = {.fd = connect_to_server(), .owner = getpid()};

	if (link.fd >= 0)
		link.machine = greet(link.fd);
	bool is_open = link.machine && link.machine->version == WIRE_VERSION;
	if (!is_open)
		link_close(&link);
	*ret_link = link;
	return is_open;
}

void link_close(struct link *link)
{
	if (link->fd >= 0)
		close(link->fd);
	if (link->machine)
		munmap((void *)link->machine, sizeof(*link->machine));
	*link = (struct link){.fd = -1};
}

/* The mapping of the machine is the same in a child, so pointers into it stay. */
static bool reconnect_after_fork(struct link *link)
{
	struct link fresh;

	if (link->owner == getpid())
		return true;
	if (!link_open(&fresh))
		return false;
	close(link->fd);
	link->fd = fresh.fd;
	link->owner = fresh.owner;
	munmap((void *)fresh.machine, sizeof(*fresh.machine));
	return true;
}

bool link_ask(struct link *link, const struct wire_request *request, struct wire_reply *ret_reply)
{
	int fds[2];

	return link->fd >= 0 && reconnect_after_fork(link) &&
	       send_packet(link->fd, request, sizeof(*request)) &&
	       receive_packet(link->fd, ret_reply, fds);
}

bool link_tell(struct link *link, const struct wire_request *request, size_t size)
{
	return link->fd >= 0 && reconnect_after_fork(link) && send_packet(link->fd, request, size);
}
