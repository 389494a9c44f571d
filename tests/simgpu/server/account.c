/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Bytes of devices.
 */
#include "account.h"

#include <stdlib.h>

#include "alloc.h"

void accounts_finish(struct accounts *accounts)
{
	for (size_t i = 0; i < accounts->count; i++) {
		for (uint32_t device = 0; device < WIRE_MAX_DEVICES; device++)
			free(accounts->all[i]->sms[device]);
		free(accounts->all[i]);
	}
	free(accounts->all);
	*accounts = (struct accounts){0};
}

struct account *accounts_open(struct accounts *accounts, int32_t pid)
{
	struct account *account = alloc_zeroed(sizeof(*account));
	account->pid = pid;
	account->is_alive = true;
	if (accounts->count == accounts->capacity) {
		accounts->capacity = accounts->capacity ? 2 * accounts->capacity : 16;
		accounts->all =
			alloc_resized(accounts->all, accounts->capacity, sizeof(struct account *));
	}
	accounts->all[accounts->count++] = account;
	return account;
}

/* False if no device could ever have so much. */
static bool round_up(const struct account_device *device, uint64_t bytes, uint64_t *ret_rounded)
{
	uint64_t rest = bytes % device->granularity_bytes;
	uint64_t missing = rest ? device->granularity_bytes - rest : 0;
	return !__builtin_add_overflow(bytes, missing, ret_rounded);
}

bool account_reserve(
	struct accounts *accounts, struct account *account, uint32_t device_idx, uint64_t bytes)
{
	struct account_device *device = &accounts->devices[device_idx];
	struct account_line *line = &account->lines[device_idx];
	uint64_t rounded;

	/* The memory of a device may have been set below what is used. */
	if (!round_up(device, bytes, &rounded) || device->used_bytes > device->memory_bytes ||
		rounded > device->memory_bytes - device->used_bytes)
		return false;
	device->used_bytes += rounded;
	if (device->used_bytes > device->peak_bytes)
		device->peak_bytes = device->used_bytes;
	line->held_bytes += rounded;
	if (line->held_bytes > line->peak_bytes)
		line->peak_bytes = line->held_bytes;
	return true;
}

bool account_release(
	struct accounts *accounts, struct account *account, uint32_t device_idx, uint64_t bytes)
{
	struct account_device *device = &accounts->devices[device_idx];
	struct account_line *line = &account->lines[device_idx];
	uint64_t rounded;

	if (!round_up(device, bytes, &rounded) || rounded > line->held_bytes)
		return false;
	device->used_bytes -= rounded;
	line->held_bytes -= rounded;
	return true;
}

void account_close(struct accounts *accounts, struct account *account, uint64_t return_ns)
{
	account->is_alive = false;
	account->return_ns = return_ns;
	accounts->returning++;
}

void account_keep_sms(struct account *account, uint32_t device, const struct sm_set *sms)
{
	if (!sms)
		return;
	account->sms[device] = alloc_zeroed(sizeof(*sms));
	*account->sms[device] = *sms;
}

/* A client may share what it never had. */
void account_keep(
	struct accounts *accounts, struct account *account, uint32_t device_idx, uint64_t bytes)
{
	struct account_line *line = &account->lines[device_idx];
	uint64_t rounded = 0;

	if (round_up(&accounts->devices[device_idx], bytes, &rounded) &&
		rounded <= line->held_bytes - line->kept_bytes)
		line->kept_bytes += rounded;
}

void account_unkeep(
	struct accounts *accounts, struct account *account, uint32_t device_idx, uint64_t bytes)
{
	struct account_device *device = &accounts->devices[device_idx];
	struct account_line *line = &account->lines[device_idx];
	uint64_t rounded = 0;

	if (!round_up(device, bytes, &rounded) || rounded > line->kept_bytes)
		return;
	line->kept_bytes -= rounded;
	if (!account->is_closed)
		return;
	line->held_bytes -= rounded;
	device->used_bytes -= rounded;
}

static bool is_returning(const struct account *account)
{
	return !account->is_alive && !account->is_closed;
}

void accounts_return_due(struct accounts *accounts, uint64_t now_ns)
{
	for (size_t i = 0; accounts->returning > 0 && i < accounts->count; i++) {
		struct account *account = accounts->all[i];
		if (!is_returning(account) || account->return_ns > now_ns)
			continue;
		for (uint32_t device = 0; device < WIRE_MAX_DEVICES; device++) {
			struct account_line *line = &account->lines[device];
			accounts->devices[device].used_bytes -= line->held_bytes - line->kept_bytes;
			line->held_bytes = line->kept_bytes;
			line->contexts = 0;
		}
		account->is_closed = true;
		accounts->returning--;
	}
}

uint64_t accounts_next_return(const struct accounts *accounts)
{
	uint64_t next_ns = UINT64_MAX;
	for (size_t i = 0; accounts->returning > 0 && i < accounts->count; i++) {
		const struct account *account = accounts->all[i];
		if (is_returning(account) && account->return_ns < next_ns)
			next_ns = account->return_ns;
	}
	return next_ns;
}
