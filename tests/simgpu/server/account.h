/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Who holds how many bytes of which device, alive or dead. Bytes are granted here and nowhere else.
 * Pure bookkeeping; time is an argument.
 */
#ifndef SIMGPU_ACCOUNT_H
#define SIMGPU_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sm_set.h"

/* What one process has of one device. The last two are written when it ends; until then the engine
 * knows them. */
struct account_line {
	uint64_t held_bytes, peak_bytes;
	uint64_t kept_bytes; /* of those held: others keep them when the process is dead */
	uint32_t contexts;
	uint64_t gpu_time_ns, kernels;
};

struct account {
	int32_t pid;
	bool is_alive;
	bool is_closed;     /* dead, and its bytes were given back */
	uint64_t return_ns; /* when they are, once it is dead */
	struct account_line lines[WIRE_MAX_DEVICES];
	struct sm_set *sms[WIRE_MAX_DEVICES]; /* on which it ran, once it is dead; or NULL */
};

struct account_device {
	uint64_t memory_bytes, granularity_bytes;
	uint64_t used_bytes, peak_bytes;
};

/* Accounts stay for as long as the machine does, in the order in which their processes came. */
struct accounts {
	struct account_device devices[WIRE_MAX_DEVICES];
	struct account **all;
	size_t count, capacity;
	size_t returning; /* accounts that are dead and not closed */
};

/* Frees all accounts. One that is all zeros is a good start. */
void accounts_finish(struct accounts *accounts);

/* A new account of a process that is alive; it belongs to `accounts`. */
struct account *accounts_open(struct accounts *accounts, int32_t pid);

/* Takes `bytes`, rounded up to the granularity of the device.
 * Returns false, with nothing changed, if the device has not so much left. */
bool account_reserve(
	struct accounts *accounts, struct account *account, uint32_t device, uint64_t bytes);

/* Gives `bytes` back, rounded in the same way. False, with nothing changed, if it has not so much.
 */
bool account_release(
	struct accounts *accounts, struct account *account, uint32_t device, uint64_t bytes);

/* The process is dead: what it holds is given back at `return_ns`, by accounts_return_due. */
void account_close(struct accounts *accounts, struct account *account, uint64_t return_ns);
void accounts_return_due(struct accounts *accounts, uint64_t now_ns);

/* Keeps what the engine knows of a process that ends: the SMs on which it ran (NULL: none). */
void account_keep_sms(struct account *account, uint32_t device, const struct sm_set *sms);

/* Says of `bytes` of a process that is dying, or dead, that others keep them, and that nobody does
 * any more: they are given back with all others, or now if those were. */
void account_keep(
	struct accounts *accounts, struct account *account, uint32_t device, uint64_t bytes);
void account_unkeep(
	struct accounts *accounts, struct account *account, uint32_t device, uint64_t bytes);

/* The earliest time at which something is given back, UINT64_MAX if nothing is. */
uint64_t accounts_next_return(const struct accounts *accounts);

#endif
