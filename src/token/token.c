/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "token/token.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/units.h"
#include "base/wait.h"
#include "base/wipe.h"
#include "group/helper.h"
#include "token/token_seat.h"

#include <string.h>

#define MAX_DEVICES 64
#define MAX_PATH    512

/* Of slots whose process spends its share alone. */
#define ALONE (UINT64_C(1) << 63)

/* Wiped at fork, for a slot is a process's own. */
static struct device_token {
	struct lock lock;
	atomic_bool is_in, has_failed;
	struct token_place place;
	struct token_seat seat;
} * tokens;

/* What passes to children. */
static struct named {
	atomic_bool is_named;
	char path[MAX_PATH];
	struct token_request request;
} named[MAX_DEVICES];
static atomic_flag has_told = ATOMIC_FLAG_INIT;

bool token_init(void)
{
	tokens = wipe_alloc(MAX_DEVICES * sizeof(*tokens));
	return tokens != NULL && helper_init();
}

void token_name_device(unsigned device, const char *path, const struct token_request *request)
{
	if (device >= MAX_DEVICES || strlen(path) >= MAX_PATH)
		return;
	strcpy(named[device].path, path);
	named[device].request = *request;
	/* release: pairs with the acquire in token_join() */
	atomic_store_explicit(&named[device].is_named, true, memory_order_release);
}

/* With the lock held. */
static bool join(struct device_token *token, const struct named *name)
{
	const char *reason;

	if (!token_place_take(name->path, &token->place, &reason)) {
		if (!atomic_flag_test_and_set(&has_told))
			log_at(LOG_WARN, "token",
				"%s: %s; this process is held to its share, but cannot take turns "
				"with others on the GPU",
				name->path, reason);
		return false;
	}
	const struct token_request *request = &name->request;
	token->seat = (struct token_seat){
		.segment = token->place.segment,
		.slot = token->place.slot,
		.quantum_ns = request->quantum_ns != 0 ? request->quantum_ns : TOKEN_QUANTUM_NS,
	};
	token_enter(&token->seat,
		request->group != 0 ? request->group & ~ALONE : ALONE | (token->place.slot + 1),
		&request->entitlement);
	return true;
}

struct token_seat *token_join(unsigned device)
{
	/* acquire: pairs with the release in token_name_device() */
	if (device >= MAX_DEVICES ||
		!atomic_load_explicit(&named[device].is_named, memory_order_acquire))
		return NULL;
	struct device_token *token = &tokens[device];
	/* acquire: pairs with the release below */
	if (!atomic_load_explicit(&token->is_in, memory_order_acquire) &&
		!atomic_load_explicit(&token->has_failed, memory_order_relaxed)) {
		lock_take(&token->lock);
		if (!atomic_load(&token->is_in) && !join(token, &named[device]))
			atomic_store(&token->has_failed, true);
		else
			atomic_store_explicit(&token->is_in, true, memory_order_release);
		lock_drop(&token->lock);
	}
	return atomic_load_explicit(&token->is_in, memory_order_acquire) ? &token->seat : NULL;
}

static struct token_slot *slot_of(struct token_seat *seat)
{
	return &seat->segment->slots[seat->slot];
}

void token_agree(
	struct token_seat *seat, const struct token_entitlement *entitlement, uint64_t quantum_ns)
{
	struct token_entitlement now = *entitlement;

	if (now.guarantee_ppm >= PPM_WHOLE)
		now.guarantee_ppm = 0;
	token_change(seat, &now);
	seat->quantum_ns = quantum_ns != 0 ? quantum_ns : TOKEN_QUANTUM_NS;
}

_Atomic int64_t *token_credit(struct token_seat *seat)
{
	return &slot_of(seat)->credit_ns;
}

uint32_t token_bell(const struct token_seat *seat)
{
	return atomic_load_explicit(&seat->segment->slots[seat->slot].bell, memory_order_relaxed);
}

void token_sleep(struct token_seat *seat, uint32_t seen, uint64_t ns)
{
	wait_shared_at_most(&slot_of(seat)->bell, seen, ns);
}

void token_ring(struct token_seat *seat, unsigned slot)
{
	if (slot < TOKEN_SLOTS)
		wait_shared_wake_all(&seat->segment->slots[slot].bell);
}
