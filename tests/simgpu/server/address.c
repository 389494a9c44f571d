/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Addresses of sockets.
 */
#include "address.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool address_of_machine(const char *dir, struct sockaddr_un *ret_address)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = strlen(dir) + strlen("/socket");
	if (len >= sizeof(address.sun_path)) {
		fprintf(stderr,
			"simgpu: \"%s\": the path of the socket there would have %zu characters, "
			"at most %zu work\n",
			dir, len, sizeof(address.sun_path) - 1);
		return false;
	}
	snprintf(address.sun_path, sizeof(address.sun_path), "%.100s/socket", dir);
	*ret_address = address;
	return true;
}

bool address_of_mps(const char *dir, struct sockaddr_un *ret_address)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int len = snprintf(address.sun_path, sizeof(address.sun_path), "%s/control", dir);
	if (len < 0 || (size_t)len >= sizeof(address.sun_path)) {
		fprintf(stderr, "simgpu: \"%s\": the path of the directory is too long for MPS\n",
			dir);
		return false;
	}
	*ret_address = address;
	return true;
}

int address_connect(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
		return fd;
	int error = errno;
	close(fd);
	errno = error;
	return -1;
}

bool address_accepts(const struct sockaddr_un *address)
{
	int fd = address_connect(address);
	if (fd < 0)
		return false;
	close(fd);
	return true;
}
