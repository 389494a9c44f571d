/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Connections to the server: reading, writing, their life and death. What they ask is in
 * requests.c.
 */
#include "server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "alloc.h"
#include "control.h"

#define BATCH     64 /* packets that are read by one system call */
#define NS_PER_US UINT64_C(1000)

union packet {
	struct wire_request request;
	struct control_request control;
};

static void watch(struct client *client, int operation, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = client};
	epoll_ctl(client->server->epoll_fd, operation, client->fd, &event);
}

void client_open(struct server *server, int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size)) {
		close(fd);
		return;
	}
	struct client *client = alloc_zeroed(sizeof(*client));
	client->server = server;
	client->fd = fd;
	client->pid = peer.pid;
	client->next = server->clients;
	client->link = &server->clients;
	if (client->next)
		client->next->link = &client->next;
	server->clients = client;
	watch(client, EPOLL_CTL_ADD, EPOLLIN);
}

static void end_process(struct client *client)
{
	struct server *server = client->server;
	struct account *account = client->account;
	engine_advance(server->engine, server->now_ns);
	for (uint32_t i = 0; i < server->settings.device_count; i++) {
		struct engine_usage usage = engine_process_usage(client->process, i);
		account->lines[i].gpu_time_ns = usage.gpu_time_ns;
		account->lines[i].kernels = usage.kernels;
		account_keep_sms(account, i, engine_process_sms(client->process, i));
	}
	engine_process_destroy(server->engine, client->process, server->now_ns);
	blocks_drop_client(&server->blocks, &server->accounts, client, account);
	for (uint32_t i = 0; i < WIRE_MAX_DEVICES; i++) {
		if (client->arena_fds[i])
			close(client->arena_fds[i] - 1);
	}
	account_close(&server->accounts, account,
		server->now_ns + server->settings.reclaim_us * NS_PER_US);
	accounts_return_due(&server->accounts, server->now_ns);
	ring_finish(&client->ring);
}

static void leave_dirty(struct client *client)
{
	struct client **link = &client->server->dirty;
	if (!client->is_dirty)
		return;
	while (*link != client)
		link = &(*link)->next_dirty;
	*link = client->next_dirty;
}

void client_close(struct client *client)
{
	if (client->process)
		end_process(client);
	leave_dirty(client);
	*client->link = client->next;
	if (client->next)
		client->next->link = client->link;
	close(client->fd);
	free(client);
}

void client_on_end(void *owner, const struct wire_ring_entry *entry, const struct sm_set *sms)
{
	struct client *client = owner;
	ring_push(&client->ring, entry, sms);
	if (client->is_dirty)
		return;
	client->is_dirty = true;
	client->next_dirty = client->server->dirty;
	client->server->dirty = client;
}

static size_t outstanding(const struct client *client)
{
	return engine_process_pending(client->process) + client->ring.backlog_count;
}

static void pause_or_resume(struct client *client)
{
	size_t count = outstanding(client);
	if (!client->is_paused && count >= CLIENT_MAX_OUTSTANDING) {
		client->is_paused = true;
		watch(client, EPOLL_CTL_MOD, 0);
	} else if (client->is_paused && count <= CLIENT_MAX_OUTSTANDING / 2) {
		client->is_paused = false;
		watch(client, EPOLL_CTL_MOD, EPOLLIN);
	}
}

void client_flush_all(struct server *server)
{
	struct client **link = &server->dirty, *client;
	while ((client = *link)) {
		if (ring_flush(&client->ring)) {
			client->is_dirty = false;
			*link = client->next_dirty;
		} else {
			link = &client->next_dirty;
		}
		pause_or_resume(client);
	}
}

/* Returns the number of packets in `packets`, their sizes in `sizes`; 0 for none, -1 for the end.
 */
static int receive(int fd, union packet packets[BATCH], size_t sizes[BATCH])
{
	struct mmsghdr messages[BATCH];
	struct iovec parts[BATCH];
	for (int i = 0; i < BATCH; i++) {
		parts[i] = (struct iovec){&packets[i], sizeof(packets[i])};
		messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1}};
	}
	int count = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
	if (count < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	for (int i = 0; i < count; i++) {
		sizes[i] = messages[i].msg_len;
		/* A packet that was cut was too long for anything that is understood. */
		if (messages[i].msg_hdr.msg_flags & MSG_TRUNC)
			sizes[i] = SIZE_MAX;
	}
	return count;
}

/* Whether the connection goes on. The end of it reads as an empty packet. */
static bool obey(struct client *client, union packet *packet, size_t size)
{
	if (size == 0)
		return false;
	if (size < sizeof(packet->request.kind) || size > sizeof(*packet)) {
		client->server->malformed++;
		return true;
	}
	/* What was not sent is zero, not what an earlier packet left; a SUBMIT checks its length.
	 */
	if (packet->request.kind != WIRE_SUBMIT)
		memset((char *)packet + size, 0, sizeof(*packet) - size);
	if (packet->request.kind >= CONTROL_SET)
		return control_obey(client, &packet->control);
	return request_obey(client, &packet->request, size);
}

void client_serve(struct client *client, bool has_ended)
{
	static union packet packets[BATCH]; /* one thread, and no request leads back here */
	struct server *server = client->server;
	size_t sizes[BATCH];

	/* A client that is paused and has ended would not be read again. */
	int count = client->is_paused ? 0 : receive(client->fd, packets, sizes);
	bool goes_on = count >= 0 && !(has_ended && client->is_paused);
	server->now_ns = server_clock_ns();
	engine_advance(server->engine, server->now_ns);
	for (int i = 0; goes_on && i < count; i++)
		goes_on = obey(client, &packets[i], sizes[i]);
	client_flush_all(server);
	if (!goes_on)
		client_close(client);
	else if (client->process)
		pause_or_resume(client);
}
