/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The requests of control.h.
 */
#include "control.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "machine.h"
#include "server.h"

static bool reply(struct client *client, const struct control_reply *answer)
{
	return send(client->fd, answer, sizeof(*answer), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

static void set(struct server *server, const char *assignment, struct control_reply *answer)
{
	static_assert(CONTROL_TEXT_LEN >= SETTINGS_ERROR_LEN, "an error fits into the reply");
	if (settings_set(&server->settings, assignment, true, answer->text))
		server_apply_settings(server);
	else
		answer->status = WIRE_BAD_REQUEST;
}

static void fail(
	struct server *server, const struct control_request *request, struct control_reply *answer)
{
	const char *reason = NULL;
	size_t len = strlen(request->text);
	if (len == 0 || len >= WIRE_NAME_LEN)
		reason = "a symbol has 1 to 63 characters";
	else if (request->count < 0)
		reason = "the count is negative";
	else if (!machine_fail(server->machine, request->text, request->result, request->count))
		reason = "too many symbols fail already";
	if (!reason)
		return;
	answer->status = WIRE_BAD_REQUEST;
	snprintf(answer->text, sizeof(answer->text), "\"%.128s\": %s", request->text, reason);
}

struct account_line server_account_line(
	const struct server *server, const struct account *account, uint32_t device)
{
	struct account_line line = account->lines[device];
	for (const struct client *client = server->clients; client; client = client->next) {
		if (client->account != account)
			continue;
		struct engine_usage usage = engine_process_usage(client->process, device);
		line.gpu_time_ns = usage.gpu_time_ns;
		line.kernels = usage.kernels;
	}
	return line;
}

const struct sm_set *server_account_sms(
	const struct server *server, const struct account *account, uint32_t device)
{
	for (const struct client *client = server->clients; client; client = client->next) {
		if (client->account == account)
			return engine_process_sms(client->process, device);
	}
	return account->sms[device];
}

static void tell_device(const struct server *server, uint32_t device, struct control_reply *answer)
{
	answer->line = CONTROL_LINE_DEVICE;
	answer->device = device;
	answer->held_bytes = server->accounts.devices[device].used_bytes;
	answer->peak_bytes = server->accounts.devices[device].peak_bytes;
	answer->gpu_time_ns = engine_busy_ns(server->engine, device);
	answer->count = server->accounts.devices[device].memory_bytes;
	snprintf(
		answer->text, sizeof(answer->text), "%.63s", server->settings.devices[device].name);
}

/* The first use of a device by a process from number `at` on, all processes and devices being
 * numbered through. Returns the number after it, or 0 if there is none. */
static uint64_t tell_process(const struct server *server, uint64_t at, struct control_reply *answer)
{
	uint64_t count = server->accounts.count * WIRE_MAX_DEVICES;
	for (; at < count; at++) {
		const struct account *account = server->accounts.all[at / WIRE_MAX_DEVICES];
		uint32_t device = (uint32_t)(at % WIRE_MAX_DEVICES);
		struct account_line line = server_account_line(server, account, device);
		if (line.peak_bytes == 0 && line.contexts == 0 && line.kernels == 0)
			continue;
		answer->line = CONTROL_LINE_PROCESS;
		answer->device = device;
		answer->pid = account->pid;
		answer->is_alive = account->is_alive;
		answer->contexts = line.contexts;
		answer->held_bytes = line.held_bytes;
		answer->peak_bytes = line.peak_bytes;
		answer->gpu_time_ns = line.gpu_time_ns;
		answer->count = line.kernels;
		const struct sm_set *sms = server_account_sms(server, account, device);
		if (sms)
			memcpy(answer->sms, sms->words, sizeof(answer->sms));
		return at + 1;
	}
	return 0;
}

/* The calls follow the processes, whose number may grow between two requests: they are numbered
 * from here. */
#define FIRST_CALL (UINT64_C(1) << 62)

static void tell_call(const struct server *server, uint64_t at, struct control_reply *answer)
{
	const struct unsupported_call *call = &server->calls[at];
	if (at > SERVER_MAX_CALLS || call->count == 0) {
		answer->line = CONTROL_LINE_END;
		answer->count = server->malformed;
		return;
	}
	answer->line = CONTROL_LINE_CALL;
	answer->count = call->count;
	answer->next_index = FIRST_CALL + at + 1;
	snprintf(answer->text, sizeof(answer->text), "%.63s", call->name);
}

static void tell_account(const struct server *server, uint64_t index, struct control_reply *answer)
{
	uint32_t devices = server->settings.device_count;
	answer->next_index = index + 1;
	answer->now_ns = server->now_ns;
	if (index < devices) {
		tell_device(server, (uint32_t)index, answer);
		return;
	}
	if (index < FIRST_CALL) {
		uint64_t next = tell_process(server, index - devices, answer);
		answer->next_index = devices + next;
		if (next)
			return;
		index = FIRST_CALL;
	}
	tell_call(server, index - FIRST_CALL, answer);
}

void control_answer_idle(struct server *server)
{
	const struct control_reply answer = {.status = WIRE_OK};
	if (!server->has_waiters || !engine_is_idle(server->engine))
		return;
	server->has_waiters = false;
	for (struct client *client = server->clients; client; client = client->next) {
		if (client->waits_for_idle)
			reply(client, &answer); /* who is gone needs no answer */
		client->waits_for_idle = false;
	}
}

bool control_obey(struct client *client, struct control_request *request)
{
	struct server *server = client->server;
	struct control_reply answer = {.status = WIRE_OK};

	blocks_reap(&server->blocks, &server->accounts);
	request->text[sizeof(request->text) - 1] = '\0';
	switch (request->kind) {
	case CONTROL_SET:
		set(server, request->text, &answer);
		break;
	case CONTROL_FAIL:
		fail(server, request, &answer);
		break;
	case CONTROL_ACCOUNT:
		tell_account(server, request->index, &answer);
		break;
	case CONTROL_WAIT_IDLE:
		client->waits_for_idle = true;
		server->has_waiters = true;
		return true;
	case CONTROL_STOP:
		server->is_stopping = true;
		break;
	default:
		answer.status = WIRE_BAD_REQUEST;
		break;
	}
	return reply(client, &answer);
}
