/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "protocol.h"

#include <sys/socket.h>

bool protocol_send(int fd, const void *message, size_t size)
{
	/* A child that has died is an answer too, not a signal. */
	return send(fd, message, size, MSG_NOSIGNAL) == (ssize_t)size;
}

bool protocol_receive(int fd, void *ret_message, size_t size)
{
	return recv(fd, ret_message, size, MSG_WAITALL) == (ssize_t)size;
}
