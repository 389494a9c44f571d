/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The requests of ../wire.h.
 */
#include "server.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "machine.h"

#define SUBMIT_HEAD_SIZE (offsetof(struct wire_request, op) + offsetof(struct wire_op, deps))

/* Counts a request that has no reply and cannot be obeyed. */
static bool drop(struct client *client)
{
	client->server->malformed++;
	return true;
}

/* A client that leaves so many replies unread that the socket is full has lost its mind. */
static bool reply(struct client *client, const struct wire_reply *answer)
{
	return send(client->fd, answer, sizeof(*answer), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

static bool reply_status(struct client *client, enum wire_status status)
{
	const struct wire_reply answer = {.status = status};
	return reply(client, &answer);
}

static bool reply_with_fds(
	struct client *client, struct wire_reply answer, const int fds[], size_t count)
{
	struct iovec part = {&answer, sizeof(answer)};
	union {
		struct cmsghdr header; /* for its alignment */
		char bytes[CMSG_SPACE(2 * sizeof(int))];
	} control = {0};
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = CMSG_SPACE(count * sizeof(int))};
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(&control.header), fds, count * sizeof(int));
	return sendmsg(client->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

static bool hello(struct client *client, const struct wire_request *request)
{
	struct server *server = client->server;
	if (client->process || request->bytes != WIRE_VERSION)
		return reply_status(client, WIRE_BAD_REQUEST);
	int ring_fd = ring_init(&client->ring, machine_sm_words(&server->settings));
	if (ring_fd < 0)
		return reply_status(client, WIRE_NO_MEMORY);
	client->account = accounts_open(&server->accounts, client->pid);
	client->process = engine_process_create(server->engine, client);
	const struct wire_reply answer = {.status = WIRE_OK};
	const int fds[] = {ring_fd, server->machine_fd};
	bool is_sent = reply_with_fds(client, answer, fds, 2);
	close(ring_fd);
	return is_sent;
}

static bool mem_reserve(struct client *client, const struct wire_request *request)
{
	bool is_granted = account_reserve(&client->server->accounts, client->account,
		(uint32_t)request->device, request->bytes);
	return reply_status(client, is_granted ? WIRE_OK : WIRE_NO_MEMORY);
}

static bool mem_release(struct client *client, const struct wire_request *request)
{
	if (account_release(&client->server->accounts, client->account, (uint32_t)request->device,
		    request->bytes))
		return true;
	return drop(client);
}

static bool mem_info(struct client *client, const struct wire_request *request)
{
	const struct account_device *device = &client->server->accounts.devices[request->device];
	const struct account_line *line = &client->account->lines[request->device];
	const struct wire_reply answer = {
		.free_bytes = device->memory_bytes > device->used_bytes
				      ? device->memory_bytes - device->used_bytes
				      : 0,
		.total_bytes = device->memory_bytes,
		.held_bytes = line->held_bytes,
		.peak_bytes = line->peak_bytes,
	};
	return reply(client, &answer);
}

static bool context_create(struct client *client, const struct wire_request *request)
{
	struct server *server = client->server;
	uint32_t device = (uint32_t)request->device;
	uint64_t bytes = server->settings.devices[device].context_bytes;
	struct wire_reply answer = {.status = WIRE_NO_MEMORY};

	if (!account_reserve(&server->accounts, client->account, device, bytes))
		return reply(client, &answer);
	answer.context =
		engine_partition_create(client->process, device, NULL, request->partition.sm_limit);
	if (answer.context) {
		answer.status = WIRE_OK;
		client->account->lines[device].contexts++;
	} else {
		account_release(&server->accounts, client->account, device, bytes);
	}
	return reply(client, &answer);
}

static bool partition_create(struct client *client, const struct wire_request *request)
{
	struct wire_reply answer = {.status = WIRE_BAD_REQUEST};
	struct sm_set sms;

	memcpy(sms.words, request->partition.sms, sizeof(sms.words));
	answer.context = engine_partition_create(
		client->process, (uint32_t)request->device, &sms, request->partition.sm_limit);
	if (answer.context)
		answer.status = WIRE_OK;
	return reply(client, &answer);
}

static bool context_destroy(struct client *client, const struct wire_request *request)
{
	struct server *server = client->server;
	int device = engine_context_device(client->process, request->context);
	bool is_partition = engine_context_is_partition(client->process, request->context);
	if (device < 0)
		return reply_status(client, WIRE_BAD_REQUEST);
	engine_context_destroy(server->engine, client->process, request->context, server->now_ns);
	if (is_partition)
		return reply_status(client, WIRE_OK);
	/* A client that gave back more than its allocations has nothing left for its context. */
	if (!account_release(&server->accounts, client->account, (uint32_t)device,
		    server->settings.devices[device].context_bytes))
		server->malformed++;
	client->account->lines[device].contexts--;
	return reply_status(client, WIRE_OK);
}

static bool submit(struct client *client, const struct wire_request *request, size_t size)
{
	struct server *server = client->server;
	if (size < SUBMIT_HEAD_SIZE || request->op.dep_count > WIRE_MAX_DEPS ||
		size < SUBMIT_HEAD_SIZE + request->op.dep_count * sizeof(request->op.deps[0]))
		return drop(client);
	if (!engine_submit(server->engine, client->process, &request->op, server->now_ns))
		return drop(client);
	return true;
}

/* A process may have been several in a row: one for each image that it executed. */
static bool tell_account(struct client *client, const struct wire_request *request)
{
	struct server *server = client->server;
	int64_t pid = request->pid ? request->pid : client->pid;
	struct wire_reply answer = {.status = WIRE_BAD_REQUEST};

	for (size_t i = 0; i < server->accounts.count; i++) {
		const struct account *account = server->accounts.all[i];
		if (account->pid != pid)
			continue;
		struct account_line line =
			server_account_line(server, account, (uint32_t)request->device);
		answer.status = WIRE_OK;
		answer.held_bytes += line.held_bytes;
		answer.gpu_time_ns += line.gpu_time_ns;
		answer.kernels += line.kernels;
		if (line.peak_bytes > answer.peak_bytes)
			answer.peak_bytes = line.peak_bytes;
	}
	return reply(client, &answer);
}

static bool unsupported(struct client *client, const struct wire_request *request)
{
	struct server *server = client->server;
	char name[WIRE_NAME_LEN] = {0};
	uint32_t at = 0;
	if (request->name[0] == '\0')
		return drop(client);
	for (size_t i = 0; i < sizeof(name) - 1 && request->name[i]; i++)
		name[i] = request->name[i] > ' ' && request->name[i] < 127 ? request->name[i] : '?';
	while (at < server->call_count && strcmp(server->calls[at].name, name) != 0)
		at++;
	if (at == SERVER_MAX_CALLS)
		strcpy(name, "(others)");
	if (at == server->call_count && at < SERVER_MAX_CALLS)
		server->call_count++;
	memcpy(server->calls[at].name, name, sizeof(name));
	server->calls[at].count++;
	return true;
}

static void list_process(struct wire_reply *answer, int32_t pid, uint64_t bytes)
{
	uint32_t at = 0;
	while (at < answer->process_count && answer->processes[at].pid != pid)
		at++;
	if (at == WIRE_MAX_LISTED)
		return;
	if (at == answer->process_count)
		answer->process_count++;
	answer->processes[at].pid = pid;
	answer->processes[at].bytes += bytes;
}

static bool nvml_processes(struct client *client, const struct wire_request *request)
{
	const struct accounts *accounts = &client->server->accounts;
	struct wire_reply answer = {.status = WIRE_OK};
	for (size_t i = 0; i < accounts->count; i++) {
		const struct account_line *line = &accounts->all[i]->lines[request->device];
		if (line->contexts > 0)
			list_process(&answer, accounts->all[i]->pid, line->held_bytes);
	}
	return reply(client, &answer);
}

/* A process asks once for each device. */
static bool arena(struct client *client, const struct wire_request *request)
{
	const struct wire_reply answer = {.status = WIRE_OK};
	int fd = client->arena_fds[request->device] - 1;

	if (fd < 0)
		fd = block_file_create(request->bytes);
	if (fd < 0)
		return reply_status(client, WIRE_NO_MEMORY);
	client->arena_fds[request->device] = fd + 1;
	return reply_with_fds(client, answer, &fd, 1);
}

static bool tell_block(struct client *client, const struct block *block)
{
	const struct wire_reply answer = {
		.status = WIRE_OK,
		.block = block->wire,
		.block_bytes = block->bytes,
		.block_device = (int32_t)block->device,
	};
	return reply(client, &answer);
}

static bool block_create_or_share(struct client *client, const struct wire_request *request)
{
	struct server *server = client->server;
	const bool is_new = request->kind == WIRE_BLOCK_CREATE;
	const bool is_paid = is_new && !request->block.is_free;
	const int arena_fd = client->arena_fds[request->device] - 1;

	if (!is_new && arena_fd < 0)
		return reply_status(client, WIRE_BAD_REQUEST);
	if (is_paid && !account_reserve(&server->accounts, client->account,
			       (uint32_t)request->device, request->bytes))
		return reply_status(client, WIRE_NO_MEMORY);
	const int fd = is_new ? block_file_create(request->bytes) : arena_fd;
	const struct block *block =
		blocks_add(&server->blocks, client, client->account, request, fd);
	if (is_new && fd >= 0)
		close(fd);
	if (block)
		return tell_block(client, block);
	if (is_paid)
		account_release(&server->accounts, client->account, (uint32_t)request->device,
			request->bytes);
	return reply_status(client, WIRE_NO_MEMORY);
}

static bool block_refer(struct client *client, const struct wire_request *request)
{
	struct block *block = blocks_find(&client->server->blocks, &request->block);
	if (!block)
		return reply_status(client, WIRE_BAD_REQUEST);
	block_refer_by(&client->server->blocks, block, client);
	return tell_block(client, block);
}

static bool block_file(struct client *client, const struct wire_request *request)
{
	const struct wire_reply answer = {.status = WIRE_OK};
	struct block *block = blocks_find(&client->server->blocks, &request->block);
	if (!block)
		return reply_status(client, WIRE_BAD_REQUEST);
	if (request->kind == WIRE_BLOCK_FILE)
		return reply_with_fds(client, answer, &block->fd, 1);
	const int fd = block_export(block);
	if (fd < 0)
		return reply_status(client, WIRE_NO_MEMORY);
	const bool is_sent = reply_with_fds(client, answer, &fd, 1);
	close(fd);
	return is_sent;
}

static bool block_drop(struct client *client, const struct wire_request *request)
{
	struct server *server = client->server;
	struct block *block = blocks_find(&server->blocks, &request->block);
	if (!block || !block_drop_by(&server->blocks, &server->accounts, block, client))
		return drop(client);
	return true;
}

static const struct {
	bool (*obey)(struct client *client, const struct wire_request *request);
	bool has_device, has_reply;
} requests[] = {
	[WIRE_HELLO] = {hello, false, true},
	[WIRE_MEM_RESERVE] = {mem_reserve, true, true},
	[WIRE_MEM_RELEASE] = {mem_release, true, false},
	[WIRE_MEM_INFO] = {mem_info, true, true},
	[WIRE_CONTEXT_CREATE] = {context_create, true, true},
	[WIRE_CONTEXT_DESTROY] = {context_destroy, false, true},
	[WIRE_PARTITION_CREATE] = {partition_create, true, true},
	[WIRE_ACCOUNT] = {tell_account, true, true},
	[WIRE_UNSUPPORTED] = {unsupported, false, false},
	[WIRE_NVML_PROCESSES] = {nvml_processes, true, true},
	[WIRE_ARENA] = {arena, true, true},
	[WIRE_BLOCK_CREATE] = {block_create_or_share, true, true},
	[WIRE_BLOCK_SHARE] = {block_create_or_share, true, true},
	[WIRE_BLOCK_REFER] = {block_refer, false, true},
	[WIRE_BLOCK_FILE] = {block_file, false, true},
	[WIRE_BLOCK_EXPORT] = {block_file, false, true},
	[WIRE_BLOCK_DROP] = {block_drop, false, false},
};
#define REQUEST_COUNT (sizeof(requests) / sizeof(requests[0]))

bool request_obey(struct client *client, const struct wire_request *request, size_t size)
{
	uint32_t kind = request->kind;
	bool is_process = client->process != NULL;
	if (kind == WIRE_SUBMIT)
		return is_process ? submit(client, request, size) : drop(client);
	if (kind >= REQUEST_COUNT || !requests[kind].obey)
		return reply_status(client, WIRE_BAD_REQUEST);
	bool device_exists = request->device >= 0 &&
			     (uint32_t)request->device < client->server->settings.device_count;
	if ((!is_process && kind != WIRE_HELLO) || (requests[kind].has_device && !device_exists))
		return requests[kind].has_reply ? reply_status(client, WIRE_BAD_REQUEST)
						: drop(client);
	blocks_reap(&client->server->blocks, &client->server->accounts);
	return requests[kind].obey(client, request);
}
