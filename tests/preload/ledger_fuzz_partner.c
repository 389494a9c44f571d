/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The partner of the random programs: a process that hands out linear and physical memory by a
 * socket, and lives until its stdin ends.
 */
#include "ledger_fuzz.h"

#include "../simgpu/server/control.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct partner partner;

size_t partner_opened_bytes(unsigned i)
{
	return (i + 1) * 300 * KIB;
}

size_t partner_exported_bytes(unsigned i)
{
	return (i + 1) * PARTNER_UNIT;
}

union control {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(partner.fds))];
};

static void hand_out(int fd)
{
	struct iovec part = {partner.handles, sizeof(partner.handles)};
	union control control = {0};
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};

	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(partner.fds));
	memcpy(CMSG_DATA(&control.header), partner.fds, sizeof(partner.fds));
	(void)!sendmsg(fd, &message, MSG_NOSIGNAL); /* who was killed needs none */
	close(fd);
}

static void allocate(void)
{
	struct functions cu;
	CUcontext context;

	functions_from_link(&cu);
	must(cu.cuInit(0), "cuInit");
	must(cu.cuCtxCreate_v2(&context, 0, 0), "cuCtxCreate");
	for (unsigned i = 0; i < PARTNER_OPENED; i++) {
		CUdeviceptr address;
		must(cu.cuMemAlloc_v2(&address, partner_opened_bytes(i)), "cuMemAlloc");
		must(cu.cuIpcGetMemHandle(&partner.handles[i], address), "cuIpcGetMemHandle");
	}
	for (unsigned i = 0; i < PARTNER_EXPORTED; i++) {
		const CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
			.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
			.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0}};
		CUmemGenericAllocationHandle handle;
		must(cu.cuMemCreate(&handle, partner_exported_bytes(i), &prop, 0), "cuMemCreate");
		must(cu.cuMemExportToShareableHandle(
			     &partner.fds[i], handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0),
			"export");
	}
}

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%.100s", path);
	return address;
}

int partner_serve(const char *path)
{
	const struct sockaddr_un address = address_of(path);
	int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct pollfd waits[2] = {
		{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = listener, .events = POLLIN}};

	allocate();
	must_be(bind(listener, (const struct sockaddr *)&address, sizeof(address)) == 0 &&
			listen(listener, SOMAXCONN) == 0,
		"listen");
	say("ready");
	while (waits[0].revents == 0) {
		poll(waits, 2, -1);
		if (waits[1].revents != 0)
			hand_out(accept(listener, NULL, NULL));
	}
	return 0;
}

void partner_meet(const char *path)
{
	const struct sockaddr_un address = address_of(path);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct iovec part = {partner.handles, sizeof(partner.handles)};
	union control control = {0};
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};

	must_be(connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0, "connect");
	must_be(recvmsg(fd, &message, MSG_CMSG_CLOEXEC) == sizeof(partner.handles) &&
			CMSG_FIRSTHDR(&message) != NULL,
		"what the partner hands out");
	memcpy(partner.fds, CMSG_DATA(&control.header), sizeof(partner.fds));
	close(fd);
}

static int account_fd;

void account_open(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *folder = getenv("SIMGPU_DIR");

	snprintf(address.sun_path, sizeof(address.sun_path), "%.90s/socket",
		folder != NULL ? folder : "");
	account_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	must_be(connect(account_fd, (const struct sockaddr *)&address, sizeof(address)) == 0,
		"the machine");
}

uint64_t account_used(void)
{
	const struct control_request request = {.kind = CONTROL_ACCOUNT};
	struct control_reply reply;

	must_be(send(account_fd, &request, sizeof(request), MSG_NOSIGNAL) == sizeof(request) &&
			recv(account_fd, &reply, sizeof(reply), 0) == sizeof(reply),
		"the account");
	return reply.held_bytes;
}
