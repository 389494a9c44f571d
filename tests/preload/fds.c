/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "fds.h"
#include "client.h"

#include <string.h>
#include <sys/socket.h>

void send_fd(int socket_fd, int fd)
{
	char byte = 'f';
	struct iovec part = {&byte, 1};
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};

	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	must_be(sendmsg(socket_fd, &message, 0) == 1, "sendmsg");
}

int receive_fd(int socket_fd)
{
	char byte;
	struct iovec part = {&byte, 1};
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};
	int fd;

	must_be(recvmsg(socket_fd, &message, 0) == 1 && CMSG_FIRSTHDR(&message) != NULL, "recvmsg");
	memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
	return fd;
}
